"""Dialling somebody who may be at several places."""

from collections.abc import Iterable

from connet_trio.errors import DialFailed
from connet_trio.quic.connection import Connection
from connet_trio.quic.handshake import Dialing
from connet_trio.quic.surroundings import Surroundings
from connet_trio.quic.transport import Transport
from connet_trio.records.model import AddressPort, HostPort


async def dial_first(
    transport: Transport, surroundings: Surroundings, places: Iterable[HostPort], dialing: Dialing
) -> Connection:
    """The first connection that any address of any place leads to, tried in order; names are looked up each time.

    Raises:
      DialFailed: none does; the text says of each why.
    """
    failures: list[str] = []
    addresses: dict[AddressPort, None] = {}
    for place in places:
        try:
            addresses |= dict.fromkeys(await surroundings.resolve(place))
        except DialFailed as exc:
            failures.append(str(exc))
    for address in addresses:
        try:
            return await transport.dial(address, dialing)
        except DialFailed as exc:
            failures.append(str(exc))
    raise DialFailed("; ".join(failures) or "no address to dial")
