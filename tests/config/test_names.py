"""Names of endpoints, as files and flags give them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connet_trio.cli.check import check
from connet_trio.config import Loaded

Load = Callable[..., Loaded[Any]]
LoadError = Callable[..., str]

CLIENT = '[client]\ntoken = "t"\n'
URL = 'url = "tcp://:1"\n'
ENVIRONMENT = {"CONNET_CACHE_DIR": "/cache"}


@pytest.mark.parametrize("kind", ["destinations", "sources"])
@pytest.mark.parametrize(
    ("key", "error"),
    [
        ('""', 'client.{kind}."": a name of 0 bytes, expected 1 to 1000'),
        ('" "', 'client.{kind}." ": a blank name, expected more than spaces'),
        (
            r'"a\u001b[31mb"',
            r'client.{kind}."a\u001b[31mb": a name with the control character U+001B, expected printable text',
        ),
        (r'"a\nb"', r'client.{kind}."a\u000ab": a name with the control character U+000A'),
        (r'"\u2028x"', r'client.{kind}."\u2028x": a name with the control character U+2028'),
        ("x" * 1001, "client.{kind}." + '"' + "x" * 100 + '…": a name of 1001 bytes, expected 1 to 1000'),
    ],
)
def test_a_name_that_cannot_be_used_is_told_with_file_line_and_key(
    load_error: LoadError, kind: str, key: str, error: str
) -> None:
    text = load_error("client", f"{CLIENT}\n[client.{kind}.{key}]\n{URL}")
    assert text.startswith(f"a.toml:4: {error.format(kind=kind)}")
    assert text.isprintable()


def test_a_flag_is_named_as_such(load_error: LoadError) -> None:
    text = load_error("client", CLIENT, flags={'client.destinations." ".url': "tcp://:1"})
    assert text == 'command line: client.destinations." ": a blank name, expected more than spaces'


def test_names_of_any_script_are_kept_byte_for_byte(load: Load) -> None:
    names = ["café", "cafe\u0301", "日本語", "my db", "x" * 1000]
    text = "".join(f"[client.destinations.'{name}']\n{URL}" for name in names)
    loaded = load("client", CLIENT + text)
    assert [destination.name for destination in loaded.settings.destinations] == names


def test_a_name_that_a_peer_may_never_meet_is_warned_of(load: Load, tmp_path: Path) -> None:
    text = f"{CLIENT}[client.sources.'cafe\u0301']\n{URL}[client.destinations.'db ']\n{URL}"
    loaded = load("client", text)
    composed, spaces = loaded.warnings
    assert composed.startswith('a.toml:3: client.sources."cafe\u0301": the name has accents')
    assert "(it is not in Unicode's composed form, NFC)" in composed
    assert spaces.startswith('a.toml:5: client.destinations."db ": the name begins or ends with a space')
    assert check([Path("a.toml")], ENVIRONMENT) == loaded.warnings


def test_one_name_twice_in_a_file_is_an_error_with_both_lines(load_error: LoadError) -> None:
    text = load_error("client", f"{CLIENT}[client.destinations.db]\n{URL}\n[client.destinations.db]\n{URL}")
    assert text == "a.toml:6: is not TOML: client.destinations.db is set twice, first on line 3"


def test_one_name_in_two_files_is_one_endpoint(load: Load) -> None:
    earlier = f"{CLIENT}[client.destinations.db]\n{URL}"
    (destination,) = load("client", earlier, '[client.destinations.db]\nroute = "relay"\n').settings.destinations
    assert (destination.name, destination.target.port, destination.route.value) == ("db", 1, "relay")
