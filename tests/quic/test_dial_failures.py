"""What is said when nobody could be reached at any address: bounded, grouped, fit for a terminal."""

from ipaddress import ip_address

from connet_trio.engine import Candidate
from connet_trio.errors import ConnetError, DialFailed, Refused
from connet_trio.quic import NoAnswer
from connet_trio.quic.dial_failures import MAX_FAILURE_CHARS, describe_failures
from connet_trio.records.model import AddressPort


def candidate(text: str, zone: int = 0) -> Candidate:
    return Candidate(AddressPort(ip_address(text), 4000), zone)


MANY = [candidate(f"192.0.2.{number}") for number in range(100, 140)]


def test_a_zone_is_part_of_a_name() -> None:
    place = candidate("fe80::1", zone=3)
    assert describe_failures({place: NoAnswer(place, 5.0)}) == "no answer from [fe80::1%3]:4000 within 5 s"


def test_an_error_of_many_reasons_is_bounded_and_says_how_many_it_leaves_out() -> None:
    failures: dict[Candidate, ConnetError] = {place: DialFailed(f"{place}: reason {place}") for place in MANY}
    text = describe_failures(failures)
    assert text.startswith("192.0.2.100:4000: reason 192.0.2.100:4000; 192.0.2.101:4000: ")
    assert len(text) <= MAX_FAILURE_CHARS
    shown = text.count(": reason")
    assert text.endswith(f"; and {len(MANY) - shown} more reasons")
    assert shown >= 5


def test_long_and_hostile_reasons_are_cut_and_escaped() -> None:
    failures: dict[Candidate, ConnetError] = {
        place: Refused(100 + number, "two\nlines \x1b[31m" * 1000) for number, place in enumerate(MANY)
    }
    text = describe_failures(failures)
    assert text.isprintable()
    assert 100 < len(text) <= MAX_FAILURE_CHARS
