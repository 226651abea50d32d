"""How an `AddressPort` nests in messages (protocol section 3.2), where the record itself is flat."""

from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from types import MappingProxyType

import attrs

from connet_trio.errors import RemoteProtocolError
from connet_trio.records.model import AddressPort, numbered

V4_BYTES, V6_BYTES = 4, 16


@attrs.frozen(kw_only=True)
class Addr:
    """4 bytes in `v4` or 16 in `v6`; with both present, `v6` counts."""

    v4: bytes = numbered(1, default=b"")
    v6: bytes = numbered(2, default=b"")


@attrs.frozen(kw_only=True)
class AddrPort:
    """An address and a port; only the low 16 bits of the port count."""

    addr: Addr | None = numbered(1, default=None)
    port: int = numbered(2, default=0)


WRITTEN_AS: Mapping[type, type] = MappingProxyType({AddressPort: AddrPort})
"""Records whose fields are not those of their message, and the record that is shaped like the message."""


class UnusableAddress(RemoteProtocolError):
    """An address of neither 4 nor 16 bytes: alone it is fatal, in a list or an optional field it is left out."""


def low_16_bits(port: int) -> int:
    """The part of a port number on the wire that counts."""
    return port & 0xFFFF


def nest_address(place: AddressPort) -> AddrPort:
    """The message for `place`. An IPv6 zone is not carried; an IPv4-mapped address stays IPv6 (trap T15)."""
    packed = place.address.packed
    addr = Addr(v4=packed) if isinstance(place.address, IPv4Address) else Addr(v6=packed)
    return AddrPort(addr=addr, port=place.port)


def flatten_address(message: AddrPort) -> AddressPort:
    """The address and port in `message`.

    Raises:
      UnusableAddress: there is no address, or it has a length no address has.
    """
    addr = message.addr or Addr()
    packed, expected = (addr.v6, V6_BYTES) if addr.v6 else (addr.v4, V4_BYTES)
    if len(packed) != expected:
        raise UnusableAddress(f"address of {len(packed)} bytes, not {expected}")
    return AddressPort(ip_address(packed), low_16_bits(message.port))
