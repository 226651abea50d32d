#!/bin/sh
# Hands the port of a hole over to the kernel's WireGuard. On both peers, as root, in a loop that survives everything:
#
#   while true; do
#     connet-trio punch --secret-file punch.secret --peer a --remote CONTROL:7777 --local :10000 --exec ./wireguard.sh
#     sleep 30
#   done
#
# (`--peer b` on the other one.) The local port has to be a fixed one. When three minutes have passed without a handshake
# the other side has gone, or one of the NATs has a new address: the interface is removed, and the loop punches anew.
#
# Keys: `wg genkey > tunnel.key` (readable by root only), and `wg pubkey < tunnel.key` for tunnel.peer of the other peer.
set -e

interface="punch-$PUNCH_LOCAL_PORT"
case "$PUNCH_PEER" in
    *[acegikmoqsuwy]) own=192.168.2.1 other=192.168.2.2 ;;
    *) own=192.168.2.2 other=192.168.2.1 ;;
esac
case "$PUNCH_REMOTE_IP" in
    *:*) endpoint="[$PUNCH_REMOTE_IP]:$PUNCH_REMOTE_PORT" ;;
    *) endpoint="$PUNCH_REMOTE_IP:$PUNCH_REMOTE_PORT" ;;
esac

trap 'ip link delete dev "$interface"' EXIT
trap 'exit 0' INT TERM HUP
ip link add dev "$interface" type wireguard
wg set "$interface" listen-port "$PUNCH_LOCAL_PORT" private-key tunnel.key \
    peer "$(cat tunnel.peer)" endpoint "$endpoint" allowed-ips "$other/32" persistent-keepalive 20
ip address add "$own/32" peer "$other/32" dev "$interface"
ip link set dev "$interface" up

started=$(date +%s)
while true; do
    sleep 20 &
    wait $! # a signal ends this wait, and would not end the sleep
    latest=$(wg show "$interface" latest-handshakes | cut -f 2)
    [ "$latest" -gt "$started" ] || latest=$started
    [ $(($(date +%s) - latest)) -lt 180 ] || exit 1
done
