"""What the environment says where the configuration does not (protocol sections 12.5 and 12.6)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from connet_trio.config import Loaded
from connet_trio.config.environment import reset_key_directory, state_directory

Load = Callable[..., Loaded[Any]]

SOURCE = '[client.sources.db]\nurl = "tcp://:1"\n'
RELAY = '[relay]\ntoken = "t"\n[[relay.ingress]]\nhostports = ["example.com"]\n'


def test_a_client_without_token_takes_that_of_the_environment(load: Load) -> None:
    environment = {"CONNET_TOKEN": " from-environment\n", "CONNET_CACHE_DIR": "/c"}
    assert load("client", environment=environment).settings.token == "from-environment"
    assert load("client", '[client]\ntoken = "t"', environment=environment).settings.token == "t"
    assert (
        load("client", '[client]\ntoken-file = "client.token"', environment=environment).settings.token == "file-token"
    )
    assert load("client", flags={"client.token": "flag"}, environment=environment).settings.token == "flag"


def test_an_empty_variable_is_no_token(load_error: Callable[..., str]) -> None:
    assert "has no token" in load_error("client", environment={"CONNET_TOKEN": "", "CONNET_CACHE_DIR": "/c"})


def test_a_relay_takes_no_token_from_the_environment(load_error: Callable[..., str]) -> None:
    assert "has no token" in load_error("relay", environment={"CONNET_TOKEN": "x"})


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"CONNET_CACHE_DIR": "/1", "CACHE_DIRECTORY": "/2", "XDG_CACHE_HOME": "xdg"}, Path("/1")),
        ({"CONNET_CACHE_DIR": "", "CACHE_DIRECTORY": "/2:/3", "XDG_CACHE_HOME": "xdg"}, Path("/2")),
        ({"XDG_CACHE_HOME": "xdg", "HOME": "home"}, Path("xdg/connet")),
        ({"HOME": "home"}, Path("home/.cache/connet")),
        ({"XDG_CACHE_HOME": "missing", "HOME": "home"}, Path("missing/connet")),
        ({"HOME": "missing"}, Path("missing/.cache/connet")),
        ({"HOME": "file"}, None),
        ({}, None),
    ],
)
def test_where_a_reset_key_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], directory: Path | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("xdg").mkdir()
    Path("home/.cache").mkdir(parents=True)
    Path("file").touch()
    assert reset_key_directory(environment) == directory


def test_a_home_that_may_not_be_looked_into_is_no_place_for_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert state_directory({"HOME": "/somebody"}) is None
    assert reset_key_directory({"HOME": "/somebody"}) is None


def test_a_client_without_a_place_for_its_reset_key_is_warned(load: Load) -> None:
    loaded = load("client", f'[client]\ntoken = "t"\n{SOURCE}', environment={})
    assert loaded.settings.stateless_reset_key_directory is None
    assert loaded.warnings == (
        "a.toml:1: client: no directory for a stateless reset key, so peers notice a restart late: "
        "set CONNET_CACHE_DIR",
    )


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"CONNET_STATE_DIR": "/1", "STATE_DIRECTORY": "/2", "XDG_STATE_HOME": "xdg"}, Path("/1")),
        ({"STATE_DIRECTORY": "/2:/3", "XDG_STATE_HOME": "xdg"}, Path("/2")),
        ({"XDG_STATE_HOME": "xdg", "HOME": "home"}, Path("xdg/connet-trio/relay")),
        ({"HOME": "home"}, Path("home/.local/state/connet-trio/relay")),
        ({"HOME": "a-file"}, None),
        ({}, None),
    ],
)
def test_where_a_server_keeps_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], directory: Path | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert state_directory(environment, "relay") == directory


def test_a_combined_server_has_the_directories_of_control_and_relay_inside_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    together = state_directory({"XDG_STATE_HOME": "xdg"})
    assert together is not None
    assert state_directory({"XDG_STATE_HOME": "xdg"}, "relay") == together / "relay"


def test_a_server_without_a_place_for_its_state_is_warned(load: Load) -> None:
    loaded = load("relay", RELAY, environment={})
    assert loaded.settings.store_directory is None
    assert loaded.warnings == (
        "a.toml:1: relay: no directory to keep state in, so its identity is lost on restart: "
        "set store-dir or CONNET_STATE_DIR",
    )


def test_the_configured_directory_is_not_asked_of_the_environment(load: Load) -> None:
    text = RELAY.replace('"t"', '"t"\nstore-dir = "here"')
    assert load("relay", text, environment={"CONNET_STATE_DIR": "/1"}).settings.store_directory == Path("here")
