#!/bin/sh
# Hands the port of a hole over to OpenVPN 2.6. On both peers, in a loop that survives everything:
#
#   while true; do
#     connet-trio punch --secret-file punch.secret --peer a --remote CONTROL:7777 --local :10000 --exec ./openvpn.sh
#     sleep 30
#   done
#
# (`--peer b` on the other one.) The local port has to be a fixed one. OpenVPN starts a moment after the hole is open, while
# the NATs still know of it, and ends 40 s after the other side has gone, so that the loop punches anew.
#
# Keys: each peer has a certificate of its own, and knows the other's by its fingerprint:
#   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -keyout tunnel.key -out tunnel.crt -subj /CN=peer
#   openssl x509 -in tunnel.crt -noout -sha256 -fingerprint     (for tunnel.fingerprint of the other peer, behind the `=`)
#
# OpenVPN needs root, or CAP_NET_ADMIN; put `sudo` before it if the loop does not have that.

case "$PUNCH_PEER" in
    *[acegikmoqsuwy]) role="--tls-server --dh none" own=192.168.2.1 other=192.168.2.2 ;;
    *) role="--tls-client" own=192.168.2.2 other=192.168.2.1 ;;
esac
case "$PUNCH_REMOTE_IP" in
    *:*) protocol=udp6 ;;
    *) protocol=udp4 ;;
esac

# shellcheck disable=SC2086  # the role is several words
exec openvpn \
    --dev tun --ifconfig "$own" "$other" \
    --proto "$protocol" --lport "$PUNCH_LOCAL_PORT" --remote "$PUNCH_REMOTE_IP" "$PUNCH_REMOTE_PORT" \
    $role --cert tunnel.crt --key tunnel.key --peer-fingerprint "$(cat tunnel.fingerprint)" \
    --ping 10 --ping-exit 40 --auth-nocache --verb 3 >&2
