"""The control node: introduces the peers of any number of pairs to each other.

control node ─┬─ first entrance
              └─ second entrance, which only looks where peers of our own come from
"""

import logging
from contextlib import ExitStack, closing

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.engine.punch_control import Entrance, PunchControl
from connet_trio.punch.mailbox import FromStranger, Mailbox, Received, Signed
from connet_trio.punch.peer import resolve_local
from connet_trio.quic import DatagramSocket, Surroundings
from connet_trio.records.model import HostPort
from connet_trio.records.punch import Registration, ToControl
from connet_trio.wire.punch import decode_for_control, encode_body
from connet_trio.wire.punch_seal import check_secret

logger = logging.getLogger(__name__)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@attrs.frozen(kw_only=True)
class PunchControlSettings:
    """A control node."""

    local: HostPort
    """Where peers register; an empty host is every address of both families."""
    secret: bytes = attrs.field(repr=False)
    second: HostPort | None = None
    """Another UDP address of this machine, by which symmetric NATs are recognized: best of all on another IP address.
    None: only suspected."""
    answers_strangers: bool = True
    """Whether a peer whose secret is another one is told that there is a control node at all."""
    logs_signatures: bool = False
    """Whether whole datagrams are logged, and bodies otherwise."""


async def run_punch_control(
    settings: PunchControlSettings,
    *,
    surroundings: Surroundings | None = None,
    task_status: trio.TaskStatus[tuple[HostPort, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a control node until cancelled; starts with the addresses it is bound to.

    Raises:
      ConfigError: the secret has bad luck, and another has to be taken.
      BindFailed, DialFailed: an address cannot be had, or its name does not resolve.
    """
    around = surroundings or Surroundings()
    check_secret(settings.secret, [encode_body(Registration(letter)) for letter in LETTERS])
    with ExitStack() as sockets, single_error():
        wanted = {Entrance.FIRST: settings.local, Entrance.SECOND: settings.second}
        entrances: dict[Entrance, DatagramSocket] = {}
        for entrance, place in wanted.items():
            if place is not None:
                socket = await around.open_udp_socket(await resolve_local(place, around))
                entrances[entrance] = sockets.enter_context(closing(socket))
        node = _Node(settings, entrances)
        async with trio.open_nursery() as nursery:
            for entrance in entrances:
                nursery.start_soon(node.serve, entrance)
            bound = (socket.local_address for socket in entrances.values())
            task_status.started(tuple(HostPort(str(place.address), place.port) for place in bound))


class _Node:
    """One engine, and its entrances."""

    def __init__(self, settings: PunchControlSettings, sockets: dict[Entrance, DatagramSocket]) -> None:
        self._control = PunchControl(second=_told(sockets), answers_strangers=settings.answers_strangers)
        self._sockets = sockets
        self._mailboxes = {
            entrance: Mailbox(
                socket,
                secret=settings.secret,
                decode=decode_for_control,
                log=logger,
                logs_signatures=settings.logs_signatures,
            )
            for entrance, socket in sockets.items()
        }

    async def serve(self, entrance: Entrance) -> None:
        """Answer what comes in. Never returns."""
        mailbox = self._mailboxes[entrance]
        while True:
            await self._sockets[entrance].wait_readable()
            now = trio.current_time()
            for received in mailbox.receive(now):
                self._answer(mailbox, received, now, entrance)

    def _answer(
        self, mailbox: Mailbox[ToControl], received: Received[ToControl], now: float, entrance: Entrance
    ) -> None:
        match received:
            case Signed(message, source):
                for reply in self._control.handle_message(message, source, now, entrance):
                    self._mailboxes[reply.entrance].send(reply.message, reply.to)
            case FromStranger(source):
                for reply in self._control.handle_stranger(source, now):
                    mailbox.send(reply.message, reply.to)


def _told(sockets: dict[Entrance, DatagramSocket]) -> HostPort | None:
    """The second entrance as peers are told: its port, and its address where that is known and another."""
    second = sockets.get(Entrance.SECOND)
    if second is None:
        return None
    address = second.local_address.address
    is_other = not address.is_unspecified and address != sockets[Entrance.FIRST].local_address.address
    return HostPort(str(address) if is_other else "", second.local_address.port)
