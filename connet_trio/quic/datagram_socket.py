"""The batching socket of Linux: many datagrams per system call, and answers from the address that was asked.

- Segmentation (`UDP_SEGMENT`, GSO): a run of equal datagrams to one path leaves in one `sendmsg`; the last one of a
  run may be shorter.
- Coalescing (`UDP_GRO`): one `recvmsg` may bring such a run, with the size to split it at.
- Packet info (`IP_PKTINFO`, `IPV6_PKTINFO`): a socket on the wildcard address learns to which of the host's addresses
  a datagram came and answers from that one; another one would not pass the NAT on the way. `NetworkPath.local` is that
  record, ready to be sent: 12 bytes are an `in_pktinfo`, 20 bytes an `in6_pktinfo`.

Which of these the kernel has is asked once; what it refuses later (a driver without checksums, an address that went
away) falls back to one plain datagram per call.
"""

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

from connet_trio.quic.datagram_run import Batch, DatagramRun
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.plain_socket import PlainSocket

# linux/udp.h, linux/in.h, linux/in6.h; the socket module lacks most of them
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50

RECEIVE_CALLS = 8
"""Reads per turn. Each may bring 64 datagrams, so this is already more than the engine does in a millisecond."""

RECEIVE_BYTES = 65_536
"""What one coalesced read can hold; a smaller buffer would lose the rest of the run."""

MAX_SEGMENTS = 64
MAX_SEGMENTED_BYTES = 65_000
"""An IP packet of 64 KiB less its headers: 54 datagrams of 1200 bytes, 44 of 1452."""

_SEGMENT_SIZE = struct.Struct("=H")

_SEGMENTATION_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE})
"""EIO: no checksum offload here; EINVAL: something in the way; EMSGSIZE: segments larger than the interface's MTU."""

_SOURCE_REFUSED = frozenset({errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV})
"""What kernels say, varying with family and version, when the address to send from is no longer ours."""

_Ancillary = list[tuple[int, int, bytes]]


class BatchingSocket(PlainSocket):
    """A `DatagramSocket` over a bound UDP socket of Linux, which it owns from now on."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._ancillary_bytes = sum(socket.CMSG_SPACE(size) for size in (4, 12, 20))
        # older kernels ignore the record and would send the whole run as one fragmented datagram
        self._segmentation = _has_segmentation(sock)
        _enable(sock, SOL_UDP, UDP_GRO)
        if self.local_address.address.is_unspecified:
            _enable(sock, socket.IPPROTO_IP, IP_PKTINFO)
            if self._reaches_ipv6:
                _enable(sock, socket.IPPROTO_IPV6, IPV6_RECVPKTINFO)

    def receive_batch(self) -> Batch:
        """Take what has arrived, from at most `RECEIVE_CALLS` reads; empty datagrams and failed reads are skipped."""
        batch: Batch = []
        count = 0
        if self._closed:
            return batch
        for _ in range(RECEIVE_CALLS):
            try:
                data, ancillary, flags, address = self._socket.recvmsg(RECEIVE_BYTES, self._ancillary_bytes)
            except BlockingIOError:
                break
            except OSError as exc:
                self.counters.receive_errors[exc.errno or 0] += 1
                continue
            if flags & socket.MSG_TRUNC:
                self.counters.receive_errors[errno.EMSGSIZE] += 1
                continue
            segment, local = _read_ancillary(ancillary)
            path = self._paths.get((address, local)) or self._remember(address, local)
            if segment and len(data) > segment:
                batch.append(DatagramRun(data, segment, path))
                count += -(-len(data) // segment)
                self.counters.coalesced_receives += 1
            elif data:
                batch.append((data, path))
                count += 1
        self.counters.received += count
        return batch

    def send_batch(self, batch: Sequence[Datagram | DatagramRun]) -> None:
        """Send what the kernel takes, each run of equal datagrams at once; the rest is lost and counted."""
        row: list[Datagram] = []
        for item in batch:
            if isinstance(item, DatagramRun):
                self._send_row(row)
                row = []
                self._send_run(item)
            else:
                row.append(item)
        self._send_row(row)

    def _send_row(self, datagrams: list[Datagram]) -> None:
        start, count = 0, len(datagrams)
        while start < count:
            data, path = datagrams[start]
            end = _end_of_run(datagrams, start) if self._segmentation else start + 1
            if end - start == 1:
                self._send_one(data, path)
            else:
                self._send_segmented([data for data, _ in datagrams[start:end]], len(data), end - start, path)
            start = end

    def _send_run(self, run: DatagramRun) -> None:
        data, size, path = run.data, run.size, run.path
        most = min(MAX_SEGMENTS, max(MAX_SEGMENTED_BYTES // size, 1)) * size
        for start in range(0, len(data), most):
            part = data[start : start + most]
            if len(part) <= size:
                self._send_one(part, path)
            elif self._segmentation:
                self._send_segmented([part], size, -(-len(part) // size), path)
            else:
                self._send_each(part, size, path)

    def _send_segmented(self, buffers: Sequence[bytes | memoryview], size: int, count: int, path: NetworkPath) -> None:
        """Send in one call what is in `buffers`: `count` datagrams of `size` bytes, the last may be shorter."""
        if self._closed:
            return
        ancillary = [(SOL_UDP, UDP_SEGMENT, _SEGMENT_SIZE.pack(size)), *_source_record(path)]
        try:
            self._socket.sendmsg(buffers, ancillary, 0, path.remote)
        except OSError as exc:
            refused = exc.errno or 0
            if refused not in _SEGMENTATION_REFUSED and (path.local is None or refused not in _SOURCE_REFUSED):
                self.counters.send_errors[refused] += 1
                return
            went = self._send_each(memoryview(b"".join(buffers)), size, path)
            # the same bytes leave one by one: it is the segmentation that is refused, not the path or its size
            if refused in (errno.EIO, errno.EINVAL) and went:
                self._segmentation = False
        else:
            self.counters.sent += count
            self.counters.segmented_sends += 1

    def _send_each(self, data: memoryview, size: int, path: NetworkPath) -> bool:
        """Send datagrams one by one; whether the kernel took the first."""
        went = [self._send_one(data[at : at + size], path) for at in range(0, len(data), size)]
        return went[0]

    def _send_one(self, data: bytes | memoryview, path: NetworkPath) -> bool:
        """Send one datagram; False when the kernel refused it, or sent it from another address than the path's."""
        if path.local is None or self._closed:
            return super()._send_one(data, path)
        try:
            self._socket.sendmsg([data], _source_record(path), 0, path.remote)
        except OSError as exc:
            self.counters.send_errors[exc.errno or 0] += 1
            if exc.errno in _SOURCE_REFUSED:
                super()._send_one(data, path)
            return False
        self.counters.sent += 1
        return True


def _end_of_run(datagrams: Sequence[Datagram], start: int) -> int:
    """Index behind the datagrams from `start` on that may leave in one call."""
    data, path = datagrams[start]
    size = len(data)
    if size == 0:
        return start + 1
    end = start + 1
    stop = min(len(datagrams), start + min(MAX_SEGMENTS, MAX_SEGMENTED_BYTES // size))
    while end < stop:
        following, other = datagrams[end]
        if other is not path and other != path:
            break
        if len(following) != size:
            return end + 1 if 0 < len(following) < size else end
        end += 1
    return end


def _read_ancillary(records: Sequence[tuple[int, int, bytes]]) -> tuple[int, bytes | None]:
    """The size to split at (0: one datagram) and the record that answers from the address it came to.

    A dual-stack socket gets both kinds of packet info for an IPv4 datagram; the IPv4 one wins, as it knows the
    address to answer from also where the datagram was a broadcast.
    """
    segment, local = 0, None
    for level, kind, value in records:
        if level == SOL_UDP and kind == UDP_GRO:
            segment = int.from_bytes(value, sys.byteorder)
        elif level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(value) == 12:
            local = b"\0\0\0\0" + value[4:8] + b"\0\0\0\0"  # ifindex 0: the route decides, it may have changed
        elif level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO and len(value) == 20 and local is None:
            is_link_local = value[0] == 0xFE and value[1] & 0xC0 == 0x80  # means nothing without its interface
            local = value if is_link_local else value[:16] + b"\0\0\0\0"
    return segment, local


def _source_record(path: NetworkPath) -> _Ancillary:
    local = path.local
    if local is None:
        return []
    if len(local) == 12:
        return [(socket.IPPROTO_IP, IP_PKTINFO, local)]
    return [(socket.IPPROTO_IPV6, IPV6_PKTINFO, local)]


def _has_segmentation(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


def _enable(sock: socket.socket, level: int, option: int) -> None:
    with suppress(OSError):  # an older kernel, or a sandbox that imitates one
        sock.setsockopt(level, option, 1)
