"""From what TOML can say to what settings hold, one value at a time.

Each function takes a value as tomlkit read it and returns its meaning, or raises ValueError with a text that says what
is wrong and what is accepted. Texts quote the value, except where it may be a secret.
"""

import base64
import re
from collections.abc import Callable
from pathlib import Path

from connet_trio.engine.admission import IPNetwork, Restriction, parse_networks
from connet_trio.engine.balancing import BalancePolicy, BalanceRetry
from connet_trio.quic import PACKET_SIZES, CongestionControl, QuicEngine
from connet_trio.records.model import Role, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption

_DURATION_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONGEST_DURATION_SECONDS = 2**63 / 1e9  # what the original can hold

_LARGEST_RETRY_MAX = 2**31 - 1

_BASE58_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RESET_KEY_BYTES = 32


def kind_of(raw: object) -> str:
    """What a TOML value is, in words."""
    kinds: tuple[tuple[type, str], ...] = (
        (str, "text"),
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((word for kind, word in kinds if isinstance(raw, kind)), "a date or time")


def text(raw: object, expected: str = "text") -> str:
    """Any text; `expected` is what to ask for instead of anything else."""
    if not isinstance(raw, str):
        raise ValueError(f"is {kind_of(raw)}, expected {expected}")  # noqa: TRY004 (a ValueError by contract)
    return raw


def boolean(raw: object) -> bool:
    """`true` or `false`."""
    if not isinstance(raw, bool):
        raise ValueError(f"is {kind_of(raw)}, expected true or false")  # noqa: TRY004
    return raw


def path(raw: object) -> Path:
    """A path, relative to the working directory."""
    return Path(text(raw, "a path"))


def one_of(what: str, *choices: str) -> Callable[[object], str]:
    """A parser of one of a few words."""

    def parse(raw: object) -> str:
        expected = f"one of {', '.join(choices)}"
        if text(raw, expected) not in choices:
            raise ValueError(f'"{raw}" is not {what}, expected {expected}')
        return str(raw)

    return parse


def route(raw: object) -> Route:
    """Which paths an endpoint may use."""
    return Route(one_of("a route", *(choice.value for choice in Route))(raw))


def role(raw: object) -> Role:
    """The only role a token may take."""
    return Role[one_of("a role", "source", "destination")(raw).upper()]


def congestion_control(raw: object) -> CongestionControl:
    """What reacts to loss."""
    choices = (choice.value for choice in CongestionControl)
    return CongestionControl(one_of("a congestion control", *choices)(raw))


def quic_engine(raw: object) -> QuicEngine:
    """What drives connections."""
    return QuicEngine(one_of("an engine", *(choice.value for choice in QuicEngine))(raw))


def packet_size(raw: object) -> int:
    """Bytes of UDP payload."""
    expected = f"a number of bytes from {PACKET_SIZES[0]} to {PACKET_SIZES[-1]}"
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"is {kind_of(raw)}, expected {expected}")  # noqa: TRY004
    if raw not in PACKET_SIZES:
        raise ValueError(f"{raw} is not a packet size, expected {expected}")
    return int(raw)


def duration(raw: object) -> float:
    """Seconds, from Go's notation: `500ms`, `1m30s`."""
    expected = 'a duration such as "500ms", "2s" or "1m30s"'
    written = text(raw, expected)
    if written == "0":
        return 0.0
    parts = _DURATION_PART.findall(written)
    seconds = sum(float(number) * _DURATION_SECONDS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise ValueError(f'"{written}" is not a duration, expected {expected}')
    if seconds > _LONGEST_DURATION_SECONDS:
        raise ValueError(f'"{written}" is too long a duration, expected {expected}')
    return seconds


def expiry(raw: object) -> float:
    """Seconds, more than none: the original would take 0 for its default of 30 seconds."""
    seconds = duration(raw)
    if seconds == 0:
        raise ValueError("is no time at all, expected a duration, or endpoint-expiry-disable = true instead")
    return seconds


def network(raw: object) -> IPNetwork:
    """An IP network, or one address."""
    return parse_networks((text(raw, "an IP address or a network such as 10.0.0.0/8"),))[0]


def name_pattern(raw: object) -> str:
    """An RE2 regular expression."""
    return Restriction(name_matches=text(raw, "an RE2 regular expression")).name_matches


def token(raw: object) -> str:
    """A token of a list; an empty one would let in whoever presents none (trap T21)."""
    if not text(raw).strip():
        raise ValueError("is empty, expected a token")
    return str(raw)


def reset_key(raw: object) -> bytes:
    """32 bytes in base32hex, as `gen-key` writes keys, or in base58, as before 0.10."""
    expected = f"{_RESET_KEY_BYTES} bytes in base32hex (52 characters)"
    written = text(raw, expected)
    try:
        key = _base58(written) if len(written) < 52 else base64.b32hexdecode(written.upper() + "====")
    except ValueError:
        raise ValueError(f"is not base32hex, expected {expected}") from None
    if len(key) != _RESET_KEY_BYTES:
        raise ValueError(f"holds {len(key)} bytes, expected {expected}")
    return key


def relay_encryption(raw: object) -> RelayEncryption:
    """How streams may be kept from a relay."""
    choices = (choice.name.lower() for choice in RelayEncryption)
    return RelayEncryption[one_of("a relay encryption", *choices)(raw).upper()]


def proxy_version(raw: object) -> ProxyVersion:
    """A version of the PROXY protocol; none is said by leaving the key out."""
    return ProxyVersion[one_of("a version of the PROXY protocol", "v1", "v2")(raw).upper()]


def balance_policy(raw: object) -> BalancePolicy:
    """How destinations are ordered."""
    return BalancePolicy(one_of("a policy", *(choice.value for choice in BalancePolicy))(raw))


def balance_retry(raw: object) -> BalanceRetry:
    """How many destinations are asked; one is said by leaving the key out."""
    choices = (choice.value for choice in BalanceRetry if choice is not BalanceRetry.NEVER)
    return BalanceRetry(one_of("a way to try again", *choices)(raw))


def balance_retry_max(raw: object) -> int:
    """Destinations or milliseconds; 0 is like leaving the key out."""
    expected = "a whole number of destinations (lb-retry = count) or of milliseconds (timed)"
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError(f"is {kind_of(raw)}, expected {expected}")  # noqa: TRY004
    if not 0 <= raw <= _LARGEST_RETRY_MAX:
        raise ValueError(f"{raw} is out of range, expected {expected} up to {_LARGEST_RETRY_MAX}")
    return raw


def not_supported(raw: object) -> None:
    """Refuse a key that a later release will know, and this one must not ignore; 0 is like leaving it out."""
    if raw != 0:
        raise ValueError("is not supported in this release, expected to be left out")


def _base58(written: str) -> bytes:
    number = 0
    for letter in written:
        number = number * 58 + _BASE58_ALPHABET.index(letter)
    leading_zeros = len(written) - len(written.lstrip("1"))
    return bytes(leading_zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
