"""Words that several conversations share (protocol section 3.2)."""

import enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import attrs

from connet_trio.records.error_code import ErrorCode

FIELD_NUMBER = "number"
"""Key under which a field's protobuf number lives in its attrs metadata."""

MAX_ITEMS = "max-items"
"""Key under which it is written how many items of a list are read at most; None reads any number."""


def numbered(number: int, *, default: Any = attrs.NOTHING, secret: bool = False, max_items: int | None = None) -> Any:
    """An attrs field that travels as protobuf field `number`.

    Args:
      secret: keeps it out of `repr`.
      max_items: a list with more is refused before any of it becomes a record, since two bytes on the wire are
        microseconds to build. A guard, well above what is made use of: who exceeds that is still told so in words.
    """
    metadata = {FIELD_NUMBER: number, MAX_ITEMS: max_items}
    return attrs.field(default=default, metadata=metadata, repr=not secret)


class Role(enum.IntEnum):
    """What an endpoint does with a service: offers it or consumes it."""

    UNKNOWN = 0
    DESTINATION = 1
    SOURCE = 2

    @property
    def opposite(self) -> "Role":
        """The role this one is paired with; `UNKNOWN` has none and stays."""
        match self:
            case Role.DESTINATION:
                return Role.SOURCE
            case Role.SOURCE:
                return Role.DESTINATION
            case Role.UNKNOWN:
                return Role.UNKNOWN


class Route(enum.Enum):
    """Which kinds of path an endpoint may use."""

    ANY = "any"
    DIRECT = "direct"
    RELAY = "relay"

    @property
    def allows_direct(self) -> bool:
        return self is not Route.RELAY

    @property
    def allows_relay(self) -> bool:
        return self is not Route.DIRECT


@attrs.frozen
class AddressPort:
    """An IP address and a UDP port: `AddrPort` on the wire, which nests the address one level deeper."""

    address: IPv4Address | IPv6Address
    port: int = attrs.field(validator=[attrs.validators.ge(0), attrs.validators.le(65_535)])

    @property
    def unmapped(self) -> "AddressPort":
        """The same place with an IPv4-mapped IPv6 address written as IPv4 (trap T15)."""
        if isinstance(self.address, IPv6Address) and self.address.ipv4_mapped is not None:
            return AddressPort(self.address.ipv4_mapped, self.port)
        return self

    def __str__(self) -> str:
        if isinstance(self.address, IPv6Address):
            return f"[{self.address}]:{self.port}"
        return f"{self.address}:{self.port}"


@attrs.frozen
class HostPort:
    """A host name or address and a UDP port; the host of an IPv6 address has no brackets (trap T20)."""

    host: str = numbered(1, default="")
    port: int = numbered(2, default=0)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Endpoint:
    """The name under which destinations and sources find each other; equal bytes, equal name."""

    name: str = numbered(1, default="")


@attrs.frozen
class Error:
    """A refusal: the only answer that says no. An unknown code keeps its number."""

    code: ErrorCode | int = numbered(1, default=ErrorCode.UNKNOWN)
    message: str = numbered(2, default="")


@attrs.frozen
class Unrecognized:
    """A record that holds none of the variants its conversation knows; answered with `REQUEST_UNKNOWN`."""
