"""The file of a client's stateless reset key."""

import os
import stat
from pathlib import Path

import pytest

from connet_trio.client.reset_key import load_reset_key
from connet_trio.records.model import HostPort


def entropy(count: int) -> bytes:
    return os.urandom(count)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (HostPort("", 19_192), "stateless-reset-19192.key"),
        (HostPort("10.0.0.1", 4000), "stateless-reset-10.0.0.1-4000.key"),
        (HostPort("::1", 4000), "stateless-reset-[--1]-4000.key"),
    ],
)
def test_the_file_is_named_after_the_direct_address(tmp_path: Path, address: HostPort, name: str) -> None:
    load_reset_key(tmp_path, address, entropy)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_key_is_made_once(tmp_path: Path) -> None:
    address = HostPort("", 19_192)
    key = load_reset_key(tmp_path / "new", address, entropy)
    assert len(key) == 32
    assert load_reset_key(tmp_path / "new", address, entropy) == key


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_file_is_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load_reset_key(tmp_path / "cache", HostPort("", 1), entropy)
    finally:
        os.umask(before)
    (path,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) & 0o077 == 0


def test_a_file_of_the_wrong_length_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "stateless-reset-1.key").write_bytes(b"short")
    assert len(load_reset_key(tmp_path, HostPort("", 1), entropy)) == 32
