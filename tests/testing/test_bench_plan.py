import pytest
from click.testing import CliRunner

from connet_trio.records.model import HostPort
from connet_trio.testing.bench.__main__ import main
from connet_trio.testing.bench.plan import Foreign, parse_foreign, parse_only, parse_size


@pytest.mark.parametrize(("text", "size"), [("5", 5), ("3KiB", 3072), ("256MiB", 1 << 28), ("1GiB", 1 << 30)])
def test_a_size_is_a_number_of_bytes_with_or_without_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5GiB", "3 MiB", "3MB", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_our_entrances_keep_their_order() -> None:
    assert parse_only("plain,direct") == ("direct", "plain")


def test_an_unknown_entrance_is_named() -> None:
    with pytest.raises(ValueError, match="'', 'fast': expected some of direct, relayed, plain"):
        parse_only("plain,fast,")


def test_entrances_of_others_are_read_with_their_processes() -> None:
    found = parse_foreign(["frp=localhost:7000", "ssh-L=[::1]:22"], ["frp=12,345"])
    assert found == (
        Foreign(name="frp", place=HostPort("localhost", 7000), pids=(12, 345)),
        Foreign(name="ssh-L", place=HostPort("::1", 22)),
    )


@pytest.mark.parametrize(
    ("entrances", "pids", "reason"),
    [
        (["localhost:7000"], [], "no entrance, expected NAME=HOST:PORT"),
        (["a b=localhost:7000"], [], "no entrance, expected NAME=HOST:PORT"),
        (["frp=localhost"], [], "has no port"),
        (["frp=localhost:0"], [], "its port is 0"),
        (["plain=localhost:7000"], [], "'plain' is taken"),
        (["frp=localhost:7000", "frp=localhost:7001"], [], "'frp' is taken"),
        (["frp=localhost:7000"], ["ssh=1"], "'ssh' is none of the other entrances"),
        (["frp=localhost:7000"], ["frp=1,"], "names no processes"),
    ],
)
def test_what_names_no_entrance_or_no_process_is_refused(entrances: list[str], pids: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_foreign(entrances, pids)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--also", "frp=localhost:7000"], "--also needs --target-port"),
        (["--also-pid", "frp=1"], "'frp' is none of the other entrances"),
        (["--bytes", "much"], "'much' is no size"),
        (["--bytes", "7"], "'transfer_bytes' must be >= 8"),
        (["--only", "none"], "'none': expected some of"),
    ],
)
def test_the_command_line_says_what_it_cannot_use(arguments: list[str], reason: str) -> None:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 2
    assert reason in ran.output
