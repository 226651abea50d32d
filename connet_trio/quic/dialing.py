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
    """The first connection that any address of any place leads to, tried in order.

    A name is looked up each time, and only when its turn has come; an address that two places share is tried once.

    Raises:
      DialFailed: none does; the text says of each why.
    """
    failures: list[str] = []
    tried: set[AddressPort] = set()
    for place in places:
        try:
            addresses = await surroundings.resolve(place)
        except DialFailed as exc:
            failures.append(str(exc))
            continue
        for address in addresses:
            if address in tried:
                continue
            tried.add(address)
            try:
                return await transport.dial(address, dialing)
            except DialFailed as exc:
                failures.append(str(exc))
    raise DialFailed("; ".join(failures) or "no address to dial")
