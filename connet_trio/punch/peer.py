"""A peer: opens a hole from one local UDP port, and closes its socket so that another program can have that port."""

import logging
from collections.abc import Sequence
from contextlib import closing

import attrs
import trio

from connet_trio.engine import host_addresses
from connet_trio.engine.punch_diagnosis import Cause, Diagnosis
from connet_trio.engine.punching import GivenUp, Hole, Puncher, Send
from connet_trio.errors import ConnetError, DialFailed
from connet_trio.nat import read_interfaces
from connet_trio.punch.mailbox import FromStranger, Log, Mailbox, Received, Signed, WronglySigned
from connet_trio.quic import DatagramSocket, Surroundings
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import Close, Ping, Pong, PunchName, Registration, ToPeer
from connet_trio.wire.punch import MAX_CANDIDATES, decode_for_peer, encode_body
from connet_trio.wire.punch_seal import check_secret

logger = logging.getLogger(__name__)

SESSION_BYTES = 8


@attrs.frozen(kw_only=True)
class PunchSettings:
    """One side of one hole."""

    name: PunchName
    local: HostPort
    """The port to make the hole from; an empty host is every address of both families, port 0 any free one."""
    control: HostPort
    secret: bytes = attrs.field(repr=False)
    time_limit: float | None = None
    """Seconds after which to give up; None never does."""
    logs_signatures: bool = False
    """Whether whole datagrams are logged, and bodies otherwise."""


@attrs.frozen(kw_only=True)
class OpenHole:
    """What the program that takes the port over needs to know."""

    name: PunchName
    local: HostPort
    """As configured, a name resolved."""
    port: int
    """The local port that was really used."""
    remote: AddressPort
    """Where the partner is, seen from that port."""


class PunchFailed(ConnetError):
    """The time limit has passed without a hole; `diagnosis` says why."""

    def __init__(self, name: PunchName, diagnosis: Diagnosis) -> None:
        super().__init__(f"no hole for {name}: {diagnosis.text}")
        self.name = name
        self.diagnosis = diagnosis


async def punch(settings: PunchSettings, *, surroundings: Surroundings | None = None) -> OpenHole:
    """Open a hole; the socket that made it is closed on return.

    Raises:
      PunchFailed: not within the time limit.
      ConfigError: the secret has bad luck, and another has to be taken.
      BindFailed, DialFailed: the local address cannot be had, or the control node's name does not resolve.
    """
    around = surroundings or Surroundings()
    check_secret(settings.secret, [encode_body(each) for each in _foreseen(settings.name)])
    local = await resolve_local(settings.local, around)
    addresses = await around.resolve(attrs.evolve(settings.control, host=settings.control.host or "localhost"))
    log = logging.LoggerAdapter(logger, {"punch_name": str(settings.name)})
    with closing(await around.open_udp_socket(local)) as socket:
        puncher = Puncher(
            name=settings.name,
            control=_reachable(addresses, socket),
            session=around.entropy(SESSION_BYTES).hex(),
            candidates=_candidates(socket, around),
            now=trio.current_time(),
            time_limit=settings.time_limit,
        )
        mailbox = Mailbox(
            socket, secret=settings.secret, decode=decode_for_peer, log=log, logs_signatures=settings.logs_signatures
        )
        outcome = await _run(puncher, socket, mailbox, log)
        port = socket.local_address.port
    log.info("close: ok")
    if isinstance(outcome, GivenUp):
        raise PunchFailed(settings.name, outcome.diagnosis)
    return OpenHole(name=settings.name, local=local, port=port, remote=outcome.remote)


async def resolve_local(local: HostPort, surroundings: Surroundings) -> HostPort:
    """The local address with a name replaced by its first address, IPv4 before IPv6 as netpunch has it.

    Raises:
      DialFailed: the name does not resolve.
    """
    if not local.host:
        return local
    address = (await surroundings.resolve(local))[0]
    return HostPort(str(address.address), address.port)


async def _run(puncher: Puncher, socket: DatagramSocket, mailbox: Mailbox[ToPeer], log: Log) -> Hole | GivenUp:
    reported, rounds = "", 0
    while True:
        now = trio.current_time()
        for received in mailbox.receive(now):
            _send(mailbox, _handle(puncher, received, now))
        _send(mailbox, puncher.handle_timer(now))
        outcome = puncher.outcome(now)
        if outcome is not None:
            return outcome
        if puncher.failed_rounds > rounds:
            rounds, found = puncher.failed_rounds, puncher.diagnosis(now)
            if found.text != reported:
                level = logging.INFO if found.cause is Cause.PARTNER_ABSENT else logging.WARNING
                log.log(level, "no hole yet: %s; trying on", found.text)
            reported = found.text
        with trio.move_on_at(puncher.next_deadline()):
            await socket.wait_readable()


def _handle(puncher: Puncher, received: Received[ToPeer], now: float) -> Sequence[Send]:
    match received:
        case Signed(message, source):
            return puncher.handle_message(message, source, now)
        case FromStranger(source):
            puncher.handle_stranger_answer(source)
        case WronglySigned(source):
            puncher.handle_wrong_signature(source)
    return ()


def _send(mailbox: Mailbox[ToPeer], sends: Sequence[Send]) -> None:
    for send in sends:
        mailbox.send(send.message, send.to)


def _foreseen(name: PunchName) -> list[Registration | Ping | Pong | Close]:
    """What a peer will have to say, whatever happens."""
    return [Registration(name.letter), Ping(), Pong(), Close()]


def _candidates(socket: DatagramSocket, surroundings: Surroundings) -> tuple[AddressPort, ...]:
    interfaces = (surroundings.interfaces or read_interfaces)()
    bound = socket.local_address
    found = host_addresses(interfaces, bound.port, bound.address)
    return tuple(place for place in found if not place.address.is_link_local)[:MAX_CANDIDATES]


def _reachable(addresses: Sequence[AddressPort], socket: DatagramSocket) -> AddressPort:
    """The first address of control that the socket has the family for.

    Raises:
      DialFailed: there is none.
    """
    failure = DialFailed("the control node has no address")
    for address in addresses:
        try:
            socket.path_to(address)
        except DialFailed as exc:
            failure = exc
        else:
            return address.unmapped
    raise failure
