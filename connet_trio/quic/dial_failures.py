"""Why nobody could be dialled, in words for people."""

from collections.abc import Mapping, Sequence

from connet_trio.engine import Candidate
from connet_trio.errors import ConnetError, DialFailed
from connet_trio.records.text import printable

MAX_FAILURE_CHARS = 400
MAX_REASON_CHARS = 200
PLACES_NAMED = 3
LISTENER = "the listener "


class NoAnswer(DialFailed):
    """Nobody answered a dial for `seconds`."""

    def __init__(self, place: Candidate, seconds: float) -> None:
        hint = "is something listening there, and is UDP open on the way?"
        super().__init__(f"{place}: no answer within {seconds:.0f} s ({hint})")
        self.seconds = seconds


def describe_failures(failures: Mapping[Candidate, ConnetError]) -> str:
    """Why none of several candidates could be reached, in at most `MAX_FAILURE_CHARS` characters."""
    silent = {place: failure.seconds for place, failure in failures.items() if isinstance(failure, NoAnswer)}
    places: dict[str, list[Candidate]] = {}
    for place, failure in failures.items():
        if place not in silent:
            places.setdefault(_reason(place, failure), []).append(place)
    parts = [_name_reason(reason, those) for reason, those in places.items()]
    if silent:
        parts.insert(0, f"no answer from {_name(list(silent))} within {max(silent.values()):.0f} s")
    return _join(parts) or "no address to dial"


def _reason(place: Candidate, failure: ConnetError) -> str:
    """Why, without where, so that equal reasons are equal."""
    text = str(failure).removeprefix(f"cannot reach {place.address}: ").removeprefix(f"{place}: ")
    return printable(text, MAX_REASON_CHARS)


def _name_reason(reason: str, places: Sequence[Candidate]) -> str:
    if len(places) == 1 and reason.startswith(LISTENER):
        return f"{places[0]} {reason.removeprefix(LISTENER)}"
    return f"{_name(places)}: {reason}"


def _name(places: Sequence[Candidate]) -> str:
    named = ", ".join(map(str, places[:PLACES_NAMED]))
    return named if len(places) <= PLACES_NAMED else f"{named} and {len(places) - PLACES_NAMED} more"


def _join(parts: Sequence[str]) -> str:
    """As many parts as there is room for, with a word about the others."""
    for count in range(len(parts), 0, -1):
        left = len(parts) - count
        text = "; ".join([*parts[:count], *([f"and {left} more reasons"] if left else [])])
        if len(text) <= MAX_FAILURE_CHARS:
            return text
    return printable(parts[0], MAX_FAILURE_CHARS - 1) if parts else ""
