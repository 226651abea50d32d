import os
import stat
import tempfile
from pathlib import Path

import pytest

from connet_trio.errors import StoreError
from connet_trio.store import fallback_directory, open_store


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made during the test."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def test_the_preferred_directory_is_created_private_and_used(tmp_path: Path, temporary: Path) -> None:
    preferred = tmp_path / "state" / "connet-trio"
    assert fallback_directory(preferred, "connet-relay-") == (preferred, None)
    assert stat.S_IMODE(preferred.stat().st_mode) == 0o700
    assert list(preferred.iterdir()) == list(temporary.iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o777])
async def test_a_temporary_directory_takes_the_place_of_one_that_cannot_be_written(
    tmp_path: Path, temporary: Path, mask: int
) -> None:
    (tmp_path / "file").write_text("")
    preferred = tmp_path / "file" / "connet-trio"
    previous = os.umask(mask)
    try:
        directory, warning = fallback_directory(preferred, "connet-relay-")
    finally:
        os.umask(previous)
    assert directory.parent == temporary
    assert directory.name.startswith("connet-relay-")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert warning is not None
    assert warning.startswith(f"{preferred} cannot be written (Not a directory): state is in {directory}, ")
    assert "identity will be lost at its next start" in warning
    async with open_store(directory) as store:
        assert store.warnings == ()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a directory that not even root can write")
def test_a_directory_that_exists_and_cannot_be_written_is_not_used(temporary: Path) -> None:
    directory, warning = fallback_directory(Path("/proc/self"), "connet-control-")
    assert directory.parent == temporary
    assert warning is not None


def test_without_even_a_temporary_directory_the_error_says_what_to_do(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "file").write_text("")
    temporary.rmdir()
    with pytest.raises(StoreError, match="set store-dir to a directory that can"):
        fallback_directory(tmp_path / "file", "connet-relay-")
