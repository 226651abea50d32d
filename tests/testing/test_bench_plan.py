import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from connet_trio.records.model import HostPort
from connet_trio.testing.bench.__main__ import main
from connet_trio.testing.bench.plan import Foreign, parse_foreign, parse_only, parse_size
from connet_trio.testing.bench.plots import INSTALL


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
        (["--bytes", "7"], "7 bytes are too few for 8 streams"),
        (["--only", "none"], "'none': expected some of"),
        (["--packet-size", "1199"], "'1199': expected 1200 to 16384 bytes, or discovered"),
        (["tunnels", "--transfers", "1"], "1 is not in the range"),
        (["streams", "--engine", "slow"], "'slow' is not one of 'fast', 'stock'"),
        (["wan", "--loss", "100"], "100 % is no share of the datagrams"),
        (["wan", "--seeds", ""], "'seeds'"),
        (["goals", "--parts", "wan,speed"], "'speed': expected some of streams, tunnels, scale, failover, wan"),
        (["goals", "--also", "frp=localhost:1", "--target-port", "1"], "frp: expected original or original-relayed"),
        (["goals", "--also", "original=localhost:1"], "--also needs --target-port"),
    ],
)
def test_the_command_line_says_what_it_cannot_use(arguments: list[str], reason: str) -> None:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 2
    assert reason in ran.output


def test_every_command_is_listed_and_explains_itself() -> None:
    listed = CliRunner().invoke(main, ["--help"]).output
    for name in main.commands:
        assert f"\n  {name}  " in listed
        explained = CliRunner().invoke(main, [name, "--help"])
        assert explained.exit_code == 0
        assert "--json FILE" in explained.output
    assert list(main.commands) == ["tunnels", "streams", "packets", "wan", "scale", "goals"]


@pytest.mark.parametrize("command", ["tunnels", "streams", "wan"])
def test_plots_without_matplotlib_are_refused_before_anything_is_measured(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ran = CliRunner().invoke(main, [command, "--plot", str(tmp_path)])
    assert ran.exit_code == 1
    assert ran.output == f"\nFAILED: plots need matplotlib, of the extra `plot`: {INSTALL}\n"
