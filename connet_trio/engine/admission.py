"""Who may connect, and what they may announce: networks, tokens, names, roles (protocol sections 4.1, 4.2 and 12.4).

A token table never holds a token, only keyed digests of them; so no dump, `repr` or traceback of it can tell one.
A grant names its token by digest and asks the table each time, so that a reload binds clients already connected.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

import attrs
import re2

from connet_trio.errors import Refused
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Role

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# A name is repeated in every sealed token, status page and log line of its endpoint, at the cost of others.
MAX_ENDPOINT_NAME_BYTES = 1000


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Networks as written in `allow-cidrs` and `deny-cidrs`; a bare address is a network of one.

    Raises:
      ValueError: naming the text that is no network.
    """
    return tuple(_parse_network(text) for text in texts)


@attrs.frozen(kw_only=True)
class NetworkRule:
    """Which addresses are let in (section 12.4); without networks, all."""

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()

    def admits(self, address: IPAddress) -> bool:
        """Whether `address`, an IPv4-mapped one taken as IPv4, may connect: never if denied, else if allowed."""
        unmapped = _unmapped(address)
        if any(unmapped in network for network in self.deny):
            return False
        return not self.allow or any(unmapped in network for network in self.allow)


def _compile(restriction: "Restriction") -> Any:
    options = re2.Options()
    options.log_errors = False  # RE2 would write them to stderr by itself
    try:
        return re2.compile(restriction.name_matches, options)
    except re2.error as exc:
        reason = exc.args[0].decode(errors="replace")
        raise ValueError(f"{restriction.name_matches!r} is not an RE2 regular expression: {reason}") from None


@attrs.frozen(kw_only=True)
class Restriction:
    """What the bearer of a token may do; by default, anything from anywhere.

    Raises:
      ValueError: `name_matches` is not a regular expression.
    """

    networks: NetworkRule = NetworkRule()
    name_matches: str = ""
    """An RE2 regular expression to be found anywhere in an endpoint's name."""
    role: Role | None = None
    """The only role allowed; None allows both."""
    _name_pattern: Any = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(_compile, takes_self=True))

    def allows_name(self, name: str) -> bool:
        """Whether an endpoint may have this name."""
        return self._name_pattern.search(name) is not None

    def allows_role(self, role: Role) -> bool:
        """Whether an endpoint may have this role; nobody may have an unknown one."""
        return role is not Role.UNKNOWN and self.role in (None, role)


class TokenTable:
    """The tokens of one ingress of clients or relays, and what each allows."""

    def __init__(self, entries: Sequence[tuple[str, Restriction]], entropy: Callable[[int], bytes]) -> None:
        """Take the tokens in; of a token listed twice the last restriction wins, a blank one is never valid (trap T21).

        Args:
          entropy: gives that many unpredictable bytes.
        """
        self._key = entropy(hashlib.blake2b.MAX_KEY_SIZE)
        self._restrictions: dict[bytes, tuple[bytes, Restriction]] = {}
        self.handle_reload(entries)

    def handle_reload(self, entries: Sequence[tuple[str, Restriction]]) -> None:
        """Replace every token and restriction; grants already given are bound by the new ones from now on."""
        restrictions: dict[bytes, tuple[bytes, Restriction]] = {}
        for token, restriction in entries:
            if token.strip():
                digest = self._digest(token)
                restrictions[_slot(digest)] = (digest, restriction)
        self._restrictions = restrictions

    def authenticate(self, token: str, address: IPAddress) -> "TokenGrant":
        """Let in the bearer of `token`, who connects from `address`.

        Raises:
          Refused: the token is not in the table, or not for this address; the text is the one the wire carries.
        """
        grant = TokenGrant(self, self._digest(token), _unmapped(address))
        grant.check_connection()
        return grant

    def restriction_of(self, digest: bytes) -> Restriction | None:
        """What the token of this digest allows now; None when it is no longer listed."""
        # The dict compares what it finds in variable time; that half of a keyed digest tells nothing of the token.
        found = self._restrictions.get(_slot(digest))
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    def _digest(self, token: str) -> bytes:
        # A lone surrogate cannot come from the wire, but must not become a UnicodeEncodeError that quotes the token.
        return hashlib.blake2b(token.encode(errors="surrogatepass"), key=self._key).digest()


@attrs.frozen
class TokenGrant:
    """The bearer of a token, from one address, for the life of one connection."""

    _table: TokenTable = attrs.field(repr=False)
    _digest: bytes = attrs.field(repr=False)
    address: IPAddress

    def check_connection(self) -> Restriction:
        """The restriction that binds this connection now.

        Raises:
          Refused: a reload has taken the token away, or its right to this address.
        """
        restriction = self._table.restriction_of(self._digest)
        if restriction is None:
            raise Refused(ErrorCode.AUTHENTICATION_FAILED, "token not found")
        if not restriction.networks.admits(self.address):
            raise Refused(ErrorCode.AUTHENTICATION_FAILED, f"address not allowed: {self.address}")
        return restriction

    def check_endpoint(self, name: str, role: Role, fallback: ErrorCode) -> None:
        """Check an announce or relay request against the token's restriction as it is now.

        Args:
          fallback: the code for a name that nobody may have: 200 on an announce stream, 300 on a relay stream.

        Raises:
          Refused: the name or the role is not allowed, or `check_connection` refuses.
        """
        restriction = self.check_connection()
        if not name:
            raise Refused(fallback, "endpoint name is empty")
        name_bytes = len(name.encode(errors="surrogatepass"))
        if name_bytes > MAX_ENDPOINT_NAME_BYTES:
            raise Refused(fallback, f"endpoint name of {name_bytes} bytes, at most {MAX_ENDPOINT_NAME_BYTES}")
        if not restriction.allows_name(name):
            raise Refused(ErrorCode.ENDPOINT_NOT_ALLOWED, f"endpoint not allowed: {name}")
        if not restriction.allows_role(role):
            raise Refused(ErrorCode.ROLE_NOT_ALLOWED, f"role not allowed: {role.name.lower()}")


def _slot(digest: bytes) -> bytes:
    return digest[: len(digest) // 2]


def _unmapped(address: IPAddress) -> IPAddress:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _parse_network(text: str) -> IPNetwork:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address or a network such as 10.0.0.0/8") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        # Addresses are compared unmapped, so a mapped network would match none, and a mapped `deny` let all pass.
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network
