"""The bodies of punching datagrams (netpunch protocol section 3), and those that only our own nodes understand.

    a … z                     registration        i|LETTER|ADDR              introduction
    x      x|FROM             ping                n|NAME|FROM|ADDR,ADDR      enrolment
    y      y|FROM|TO          pong                m|TO|SEEN|MAPPING|SECOND|ADDR|SESSION|MAPPING|ADDR,ADDR   report
    z      z|FROM|TO          close               ?  and  !                  stranger's question and answer

Of what comes to a peer netpunch reads the first letter only, and control reads registrations of one byte only; so `x`
is a registration to the one and a ping to the other, and there is a decoder for each. Fields behind those listed
belong to a later release and are passed over.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from connet_trio.errors import RemoteProtocolError
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import (
    Close,
    Enrolment,
    Introduction,
    NatMapping,
    Partner,
    Ping,
    Pong,
    PunchMessage,
    PunchName,
    Registration,
    Report,
    StrangerAnswer,
    StrangerQuestion,
    ToControl,
    ToPeer,
)

MAX_CANDIDATES = 8
"""Of a peer's own addresses, in both directions: nobody makes us send to more places at its word."""

_SESSION = re.compile("[0-9a-f]{16}")
_PORT = re.compile("[0-9]{1,5}")


def encode_body(message: PunchMessage) -> bytes:
    """The body that says `message`."""
    match message:
        case Registration(letter):
            return letter.encode()
        case Introduction(letter, address):
            return f"i|{letter}|{address.unmapped}".encode()
        case Ping(sender):
            return _fields("x", sender)
        case Pong(sender, receiver):
            return _fields("y", sender, receiver)
        case Close(sender, receiver):
            return _fields("z", sender, receiver)
        case Enrolment():
            return _fields("n", str(message.name), message.session, _join(message.candidates))
        case Report():
            return _encode_report(message)
        case StrangerQuestion():
            return b"?"
        case StrangerAnswer():
            return b"!"


def decode_for_control(body: bytes) -> ToControl:
    """What a peer says to a control node.

    Raises:
      RemoteProtocolError: nothing that a control node listens to.
    """
    if len(body) == 1 and b"a" <= body <= b"z":
        return Registration(body.decode())
    if body == b"?":
        return StrangerQuestion()
    kind, *fields = _split(body)
    if kind != "n" or len(fields) < 3:
        raise RemoteProtocolError(f"a body of {len(body)} bytes that says nothing to a control node")
    name, session, candidates = fields[:3]
    try:
        return Enrolment(name=PunchName.parse(name), session=session, candidates=_addresses(candidates))
    except ValueError:
        raise RemoteProtocolError("an enrolment with a name or session that is none") from None


def decode_for_peer(body: bytes) -> ToPeer:
    """What control or the partner says to a peer.

    Raises:
      RemoteProtocolError: nothing that a peer listens to, or an address that is none.
    """
    match body[:1]:
        case b"x":
            return Ping(*_sessions(body, 1))
        case b"y":
            return Pong(*_sessions(body, 2))
        case b"z":
            return Close(*_sessions(body, 2))
        case b"!":
            return StrangerAnswer()
        case b"i":
            fields = _split(body)
            if len(fields) != 3:
                raise RemoteProtocolError(f"an introduction of {len(fields)} fields, not 3")
            return Introduction(fields[1], _address(fields[2]))
        case b"m":
            return _decode_report(_split(body)[1:])
    raise RemoteProtocolError(f"a body of {len(body)} bytes that says nothing to a peer")


def _encode_report(report: Report) -> bytes:
    partner = report.partner
    second = "" if report.second is None else str(report.second)
    told = ("", "", "", "")
    if partner is not None:
        told = (str(partner.address), partner.session, partner.mapping.value, _join(partner.candidates))
    return _fields("m", report.session, str(report.observed), report.mapping.value, second, *told, keep_empty=True)


def _decode_report(fields: Sequence[str]) -> Report:
    if len(fields) < 8 or not _SESSION.fullmatch(fields[0]):
        raise RemoteProtocolError(f"a report of {len(fields)} fields, of at least 8, or for no session")
    session, observed, mapping, second, address, partner_session, partner_mapping, candidates = fields[:8]
    partner = None
    if address:
        partner = Partner(
            address=_address(address),
            session=partner_session if _SESSION.fullmatch(partner_session) else "",
            mapping=_mapping(partner_mapping),
            candidates=_addresses(candidates),
        )
    return Report(
        session=session,
        observed=_address(observed),
        mapping=_mapping(mapping),
        second=_second(second),
        partner=partner,
    )


def _fields(kind: str, *fields: str, keep_empty: bool = False) -> bytes:
    """Kind and fields; netpunch's one letter when there is nothing in them."""
    return "|".join((kind, *fields)).encode() if keep_empty or any(fields) else kind.encode()


def _split(body: bytes) -> list[str]:
    try:
        return body.decode("ascii").split("|")
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"a body of {len(body)} bytes that is no text") from None


def _sessions(body: bytes, count: int) -> list[str]:
    """The sessions behind the first letter; whatever else is there, netpunch would not look at."""
    fields = body.decode("latin-1").split("|")[1 : 1 + count]
    valid = len(fields) == count and all(_SESSION.fullmatch(field) for field in fields)
    return fields if valid else [""] * count


def _mapping(text: str) -> NatMapping:
    return next((mapping for mapping in NatMapping if mapping.value == text), NatMapping.UNKNOWN)


def _join(addresses: Sequence[AddressPort]) -> str:
    return ",".join(str(address) for address in addresses[:MAX_CANDIDATES])


def _addresses(text: str) -> tuple[AddressPort, ...]:
    """Those of a list that can be used."""
    found: list[AddressPort] = []
    for entry in text.split(",")[:MAX_CANDIDATES]:
        try:
            found.append(_address(entry))
        except RemoteProtocolError:
            continue
    return tuple(found)


def _second(text: str) -> HostPort | None:
    host, _, port = text.rpartition(":")
    if not host and _PORT.fullmatch(port) and 0 < int(port) <= 65_535:
        return HostPort("", int(port))
    try:
        address = _address(text)
    except RemoteProtocolError:
        return None
    return HostPort(str(address.address), address.port)


def _address(text: str) -> AddressPort:
    """`1.2.3.4:5` or `[2001:db8::1]:5`. A name is looked up nowhere, and a zone means nothing on another host."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise RemoteProtocolError("an address that is none") from None
    if bracketed is not isinstance(address, IPv6Address) or not _PORT.fullmatch(port) or not 0 < int(port) <= 65_535:
        raise RemoteProtocolError("an address that is none")
    if address.is_unspecified or address.is_multicast or (isinstance(address, IPv6Address) and address.scope_id):
        raise RemoteProtocolError(f"an address that nobody can be reached at: {address}")
    return AddressPort(address, int(port)).unmapped
