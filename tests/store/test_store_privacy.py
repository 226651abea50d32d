import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connet_trio.store import open_store, run_inline
from connet_trio.store.database import DATABASE_NAME


@contextmanager
def umask(mask: int) -> Iterator[None]:
    previous = os.umask(mask)
    try:
        yield
    finally:
        os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
async def test_directories_are_0700_and_files_0600_under_any_umask(tmp_path: Path, mask: int) -> None:
    directory = tmp_path / "state" / "control"
    with umask(mask):
        async with open_store(directory) as store:
            await store.put("key", b"value")
            files = {path.name: mode(path) for path in directory.iterdir()}
    assert files == {DATABASE_NAME: 0o600, DATABASE_NAME + "-wal": 0o600, DATABASE_NAME + "-shm": 0o600}
    assert mode(directory) == mode(directory.parent) == 0o700
    assert store.warnings == ()


async def test_an_open_directory_is_left_alone_with_a_warning(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(0o755)
    async with open_store(directory) as store:
        assert store.warnings == (f"{directory} is open to other users (mode 755); run: chmod 700 {directory}",)
    assert mode(directory) == 0o755


async def test_an_open_database_is_made_private_with_a_warning(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        await store.put("key", b"value")
    database = tmp_path / "state" / DATABASE_NAME
    database.chmod(0o644)
    async with open_store(tmp_path / "state") as store:
        assert len(store.warnings) == 1
        assert f"{database} was open to other users (mode 644)" in store.warnings[0]
        assert mode(database) == mode(database.with_name(DATABASE_NAME + "-wal")) == 0o600
        assert await store.get("key") == b"value"


async def test_an_open_database_of_another_user_draws_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / DATABASE_NAME
    async with open_store(tmp_path):
        pass
    database.chmod(0o666)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(f"{path} {mode}")

    monkeypatch.setattr(Path, "chmod", refuse)  # the superuser, as whom tests may run, is refused nothing
    async with open_store(tmp_path) as store:
        assert store.warnings == (f"{database} is open to other users (mode 666) and belongs to one of them",)


async def test_the_database_that_replaces_a_damaged_one_is_private_too(tmp_path: Path) -> None:
    database = tmp_path / "state" / DATABASE_NAME
    database.parent.mkdir(0o700)
    database.write_bytes(b"garbage" * 1000)
    database.chmod(0o600)
    with umask(0):
        async with open_store(database.parent, run_sync=run_inline):
            assert {mode(path) for path in database.parent.iterdir()} == {0o600}
