"""Whether an interface may carry anything, which the list of addresses does not say."""

import socket
import struct
import sys

if sys.platform == "linux":
    import fcntl

_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_IFF_UP = 1
_REQUEST_BYTES = 40  # struct ifreq: the name, then the answer
_FLAGS_OFFSET = 16


def is_down(interface: str) -> bool:
    """Whether somebody has switched `interface` off; False also where the system does not tell.

    A missing carrier is not asked about: without a program that reacts to it, routes still lead there.
    """
    if sys.platform != "linux":
        return False
    request = struct.pack(f"{_REQUEST_BYTES}s", interface.encode())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            reply = fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
    except OSError:  # gone since it was listed, or no file descriptors left
        return False
    (flags,) = struct.unpack_from("H", reply, _FLAGS_OFFSET)
    return not flags & _IFF_UP
