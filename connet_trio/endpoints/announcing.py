"""The two streams that an endpoint holds on a session with control (protocol sections 4.2 and 4.3)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import trio

from connet_trio.concurrency import Watched
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.errors import DialFailed, Refused, RemoteProtocolError
from connet_trio.quic import RecordStream
from connet_trio.records.control import Announce, Peer, Peers, Relays, SubscribeRelays
from connet_trio.records.model import Endpoint, Error, Role
from connet_trio.records.text import printable
from connet_trio.wire import codecs

T = TypeVar("T")

FIRST_LIST_SECONDS = 5.0
"""Control answers both streams at once, even with an empty list (trap T16)."""
GOODBYE_SECONDS = 0.5
"""How long a clean stop waits for control to hear that the endpoint is gone."""


async def announce(
    link: ControlLink, name: str, role: Role, peer: Watched[Peer], handle_peers: Callable[[Peers], None]
) -> NoReturn:
    """Announce `peer`, again at each change, and hand over each list of remote peers. Cancelling it withdraws.

    Raises:
      Refused: control said no.
      DialFailed: control did not answer.
      PathLost, RemoteProtocolError: the stream or the session is over.
    """
    with _in_time("the announcement"):
        records = await link.open_records()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_announcements, records, name, role, peer)
            await _follow(records, "the announcement", Peers, handle_peers)
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
    with _in_time("the request for relays"):
        records = await link.open_records()
    try:
        request = SubscribeRelays(endpoint=Endpoint(name), role=role, client_certificate=certificate)
        await records.send(codecs.CONTROL_REQUEST, request)
        await _follow(records, "the request for relays", Relays, handle_relays)
    finally:
        records.stream.close()


async def _follow(records: RecordStream, what: str, kind: type[T], handle: Callable[[T], None]) -> NoReturn:
    with _in_time(what):
        handle(await _receive(records, what, kind))
    while True:
        handle(await _receive(records, what, kind))


async def _receive(records: RecordStream, what: str, kind: type[T]) -> T:
    response = await records.receive(codecs.CONTROL_RESPONSE)
    if isinstance(response, Error):
        raise Refused(response.code, printable(response.message))
    if not isinstance(response, kind):
        raise RemoteProtocolError(f"control answered {what} with something else")
    return response


@contextmanager
def _in_time(what: str) -> Iterator[None]:
    try:
        with trio.fail_after(FIRST_LIST_SECONDS):
            yield
    except trio.TooSlowError as exc:
        raise DialFailed(f"control did not answer {what} in {FIRST_LIST_SECONDS:g} s") from exc
