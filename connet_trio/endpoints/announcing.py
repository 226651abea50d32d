"""The two streams that an endpoint holds on a session with control (protocol sections 4.2 and 4.3)."""

from collections.abc import Callable
from typing import NoReturn

import trio

from connet_trio.concurrency import Watched
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.errors import Refused, RemoteProtocolError
from connet_trio.quic import RecordStream
from connet_trio.records.control import Announce, Peer, Peers, Relays, SubscribeRelays
from connet_trio.records.model import Endpoint, Error, Role
from connet_trio.wire import codecs

GOODBYE_SECONDS = 0.5
"""How long a clean stop waits for control to hear that the endpoint is gone."""


async def announce(
    link: ControlLink, name: str, role: Role, peer: Watched[Peer], handle_peers: Callable[[Peers], None]
) -> NoReturn:
    """Announce `peer`, again at each change, and hand over each list of remote peers. Cancelling it withdraws.

    Raises:
      Refused: control said no.
      PathLost, RemoteProtocolError: the stream or the session is over.
    """
    records = await link.open_records()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_announcements, records, name, role, peer)
            while True:
                match await records.receive(codecs.CONTROL_RESPONSE):
                    case Peers() as peers:
                        handle_peers(peers)
                    case Error(code, message):
                        raise Refused(code, message)
                    case _:
                        raise RemoteProtocolError("control answered an announcement with something else")
    finally:
        records.stream.close()
        with trio.move_on_after(GOODBYE_SECONDS, shield=True):
            await records.stream.wait_delivered()


async def _send_announcements(records: RecordStream, name: str, role: Role, peer: Watched[Peer]) -> None:
    async for latest in peer.changes():
        await records.send(codecs.CONTROL_REQUEST, Announce(endpoint=Endpoint(name), role=role, peer=latest))


async def subscribe_relays(
    link: ControlLink, name: str, role: Role, certificate: bytes, handle_relays: Callable[[Relays], None]
) -> NoReturn:
    """Ask for relays and hand over each list of them; raises as `announce`."""
    records = await link.open_records()
    try:
        request = SubscribeRelays(endpoint=Endpoint(name), role=role, client_certificate=certificate)
        await records.send(codecs.CONTROL_REQUEST, request)
        while True:
            match await records.receive(codecs.CONTROL_RESPONSE):
                case Relays() as relays:
                    handle_relays(relays)
                case Error(code, message):
                    raise Refused(code, message)
                case _:
                    raise RemoteProtocolError("control answered a request for relays with something else")
    finally:
        records.stream.close()
