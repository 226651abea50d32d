"""Who may connect, and what they may announce."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from operator import mul

import pytest

from connet_trio.engine.admission import (
    MAX_ENDPOINT_NAME_BYTES,
    NetworkRule,
    Restriction,
    TokenGrant,
    TokenTable,
    parse_networks,
)
from connet_trio.errors import Refused
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Role

HOME = IPv4Address("192.0.2.7")
AWAY = IPv4Address("198.51.100.9")
ANYTHING = Restriction()


def entropy(size: int) -> bytes:
    return bytes(range(size))


def table(*entries: tuple[str, Restriction]) -> TokenTable:
    return TokenTable(entries, entropy)


def grant(restriction: Restriction) -> TokenGrant:
    return table(("secret", restriction)).authenticate("secret", HOME)


def refusal(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code, caught.value.message


def rule(allow: Sequence[str] = (), deny: Sequence[str] = ()) -> NetworkRule:
    return NetworkRule(allow=parse_networks(allow), deny=parse_networks(deny))


@pytest.mark.parametrize(
    ("allow", "deny", "address", "admitted"),
    [
        ([], [], "192.0.2.7", True),
        (["192.0.2.0/24"], [], "192.0.2.7", True),
        (["192.0.2.0/24"], [], "198.51.100.9", False),
        (["198.51.100.0/24", "192.0.2.0/24"], [], "192.0.2.7", True),
        ([], ["192.0.2.0/24"], "192.0.2.7", False),
        ([], ["192.0.2.0/24"], "198.51.100.9", True),
        (["192.0.2.0/24"], ["192.0.2.7"], "192.0.2.7", False),
        (["192.0.2.7"], ["192.0.2.0/24"], "192.0.2.7", False),
        (["192.0.2.7"], [], "192.0.2.8", False),
        (["192.0.2.0/24"], [], "::ffff:192.0.2.7", True),
        ([], ["192.0.2.0/24"], "::ffff:192.0.2.7", False),
        ([], ["::ffff:192.0.2.0/120"], "192.0.2.7", False),
        (["192.0.2.0/24"], [], "2001:db8::1", False),
        (["2001:db8::/32"], [], "2001:db8::1", True),
        (["2001:db8::1"], [], "2001:db8::2", False),
        (["192.0.2.99/24"], [], "192.0.2.7", True),
    ],
)
def test_deny_comes_before_allow_and_an_empty_allow_admits_all(
    allow: list[str], deny: list[str], address: str, admitted: bool
) -> None:
    assert rule(allow, deny).admits(ip_address(address)) is admitted


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.0/33", "example.org", "10.0.0.0/8 ", "2001:db8::/129"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_networks(["192.0.2.0/24", text])
    assert str(caught.value) == f"{text!r} is not an IP address or a network such as 10.0.0.0/8"


def test_a_known_token_is_let_in_and_an_unknown_one_is_not() -> None:
    tokens = table(("secret", ANYTHING), ("other", ANYTHING))
    assert tokens.authenticate("secret", HOME).address == HOME
    for wrong in ("Secret", "secret ", "secre", "secrets"):
        assert refusal(partial(tokens.authenticate, wrong, HOME)) == (100, "token not found")


def test_a_blank_token_is_never_valid() -> None:
    tokens = table(("", ANYTHING), ("  ", ANYTHING), ("\t\r\n", ANYTHING))
    for blank in ("", "  ", "\t\r\n"):
        with pytest.raises(Refused, match="token not found"):
            tokens.authenticate(blank, HOME)


def test_of_a_token_listed_twice_the_last_restriction_wins() -> None:
    tokens = table(("secret", Restriction(role=Role.SOURCE)), ("secret", Restriction(role=Role.DESTINATION)))
    granted = tokens.authenticate("secret", HOME)
    granted.check_endpoint("db", Role.DESTINATION, ErrorCode.ANNOUNCE_VALIDATION_FAILED)
    with pytest.raises(Refused):
        granted.check_endpoint("db", Role.SOURCE, ErrorCode.ANNOUNCE_VALIDATION_FAILED)


def test_a_token_is_refused_from_outside_its_networks() -> None:
    tokens = table(("secret", Restriction(networks=rule(allow=["192.0.2.0/24"]))))
    tokens.authenticate("secret", HOME)
    assert refusal(lambda: tokens.authenticate("secret", AWAY)) == (100, "address not allowed: 198.51.100.9")
    mapped = IPv6Address("::ffff:198.51.100.9")
    assert refusal(lambda: tokens.authenticate("secret", mapped)) == (100, "address not allowed: 198.51.100.9")


@pytest.mark.reliability(line=25)
def test_no_token_appears_in_a_representation_or_an_error() -> None:
    tokens = table(("hunter2-secret", Restriction(networks=rule(deny=["198.51.100.0/24"]))))
    granted = tokens.authenticate("hunter2-secret", HOME)
    texts = [repr(tokens), repr(vars(tokens)), str(granted), repr(granted)]
    for token, address in (("hunter2-secret", AWAY), ("hunter2-secret\n", HOME), ("hunter2-secret\udcff", HOME)):
        with pytest.raises(Refused) as caught:
            tokens.authenticate(token, address)
        texts += [str(caught.value), repr(caught.value)]
    assert [text for text in texts if "hunter2" in text] == []


@pytest.mark.reliability(line=25)
def test_what_the_table_keeps_of_a_token_depends_on_the_key() -> None:
    kept = [repr(vars(TokenTable([("secret", ANYTHING)], partial(mul, fill)))) for fill in (b"a", b"b")]
    assert kept[0] != kept[1]
    assert repr(hashlib.blake2b(b"secret").digest()) not in kept[0] + kept[1]


@pytest.mark.reliability(line=25)
def test_a_digest_that_agrees_in_its_first_half_only_is_not_a_token() -> None:
    digest = hashlib.blake2b(b"secret", key=entropy(64)).digest()
    tokens = table(("secret", ANYTHING))
    assert tokens.restriction_of(digest) is ANYTHING
    assert tokens.restriction_of(digest[:-1] + bytes([digest[-1] ^ 1])) is None


def test_a_name_is_searched_for_the_expression_anywhere() -> None:
    granted = grant(Restriction(name_matches="db-[0-9]+"))
    granted.check_endpoint("my-db-17-copy", Role.SOURCE, ErrorCode.ANNOUNCE_VALIDATION_FAILED)
    assert refusal(lambda: granted.check_endpoint("web", Role.SOURCE, ErrorCode.ANNOUNCE_VALIDATION_FAILED)) == (
        101,
        "endpoint not allowed: web",
    )


def test_an_anchored_expression_holds_the_whole_name() -> None:
    anchored = Restriction(name_matches=r"\Adb\z")  # `\z` is RE2's, not Python's
    assert anchored.allows_name("db")
    assert not anchored.allows_name("db2")
    assert not anchored.allows_name("db\n")


def test_an_expression_matches_characters_not_bytes() -> None:
    assert Restriction(name_matches="^caf.$").allows_name("café")


@pytest.mark.parametrize("text", ["db(", "(?=db)", "a{1000}{1000}"])
def test_an_expression_that_re2_does_not_know_is_named(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError) as caught:
        Restriction(name_matches=text)
    assert str(caught.value).startswith(f"{text!r} is not an RE2 regular expression: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("only", "asked", "word"),
    [(Role.SOURCE, Role.DESTINATION, "destination"), (Role.DESTINATION, Role.SOURCE, "source")],
)
def test_a_token_of_one_role_is_refused_the_other(only: Role, asked: Role, word: str) -> None:
    granted = grant(Restriction(role=only))
    granted.check_endpoint("db", only, ErrorCode.ANNOUNCE_VALIDATION_FAILED)
    expected = (102, f"role not allowed: {word}")
    assert refusal(lambda: granted.check_endpoint("db", asked, ErrorCode.ANNOUNCE_VALIDATION_FAILED)) == expected


@pytest.mark.parametrize("restriction", [ANYTHING, Restriction(role=Role.SOURCE)])
def test_an_unknown_role_is_refused_to_everybody(restriction: Restriction) -> None:
    granted = grant(restriction)
    expected = (102, "role not allowed: unknown")
    assert refusal(lambda: granted.check_endpoint("db", Role.UNKNOWN, ErrorCode.RELAY_VALIDATION_FAILED)) == expected


@pytest.mark.parametrize("fallback", [ErrorCode.ANNOUNCE_VALIDATION_FAILED, ErrorCode.RELAY_VALIDATION_FAILED])
def test_a_name_nobody_may_have_is_refused_with_the_code_of_its_stream(fallback: ErrorCode) -> None:
    granted = grant(ANYTHING)
    assert refusal(lambda: granted.check_endpoint("", Role.SOURCE, fallback)) == (fallback, "endpoint name is empty")
    longest = "é" * (MAX_ENDPOINT_NAME_BYTES // 2)
    granted.check_endpoint(longest, Role.SOURCE, fallback)
    assert refusal(lambda: granted.check_endpoint(longest + "x", Role.SOURCE, fallback)) == (
        fallback,
        "endpoint name of 1001 bytes, at most 1000",
    )


def test_any_other_text_is_a_name() -> None:
    granted = grant(ANYTHING)
    for name in (" ", "a b", "\x00", "../..", "日本", "\x1b[31m"):
        granted.check_endpoint(name, Role.SOURCE, ErrorCode.ANNOUNCE_VALIDATION_FAILED)


@pytest.mark.reliability(line=26)
def test_a_reload_binds_clients_already_connected() -> None:
    tokens = table(("secret", ANYTHING))
    granted = tokens.authenticate("secret", HOME)

    def announce() -> None:
        granted.check_endpoint("db", Role.SOURCE, ErrorCode.ANNOUNCE_VALIDATION_FAILED)

    announce()
    tokens.handle_reload([("secret", Restriction(role=Role.DESTINATION))])
    assert refusal(announce) == (102, "role not allowed: source")
    tokens.handle_reload([("secret", Restriction(networks=rule(deny=["192.0.2.0/24"])))])
    assert refusal(announce) == (100, "address not allowed: 192.0.2.7")
    tokens.handle_reload([("another", ANYTHING)])
    assert refusal(announce) == (100, "token not found")
    tokens.handle_reload([("secret", ANYTHING)])
    announce()
