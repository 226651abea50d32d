import resource
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio

from connet_trio.errors import StoreError
from connet_trio.store import Runner, Store, control_identity, open_store, run_inline
from connet_trio.store.database import DATABASE_NAME, SCHEMA_VERSION


@pytest.fixture(params=["worker thread", "inline"])
def runner(request: pytest.FixtureRequest) -> Runner | None:
    return run_inline if request.param == "inline" else None


@pytest.fixture(params=["file", "memory"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "state" if request.param == "file" else None


async def test_a_value_is_read_back_until_it_is_replaced(directory: Path | None, runner: Runner | None) -> None:
    async with open_store(directory, run_sync=runner) as store:
        assert await store.get("key") is None
        await store.put("key", b"\x00first\xff")
        assert await store.get("key") == b"\x00first\xff"
        await store.put("key", b"")
        assert await store.get("key") == b""
        assert await store.get("Key") is None


async def test_a_default_is_made_once(directory: Path | None, runner: Runner | None) -> None:
    async with open_store(directory, run_sync=runner) as store:
        assert await store.setdefault("key", lambda: b"first") == b"first"
        assert await store.setdefault("key", lambda: pytest.fail("made again")) == b"first"
        assert await store.get("key") == b"first"


async def test_a_value_that_takes_long_to_make_is_made_in_the_thread(tmp_path: Path) -> None:
    makers: list[int] = []

    def make() -> bytes:
        makers.append(threading.get_ident())
        return b"made"

    async with open_store(tmp_path / "state") as store:
        await store.put_made("key", make)
        assert await store.get("key") == b"made"
    assert makers
    assert threading.get_ident() not in makers


async def test_a_value_that_cannot_be_made_leaves_the_old_one(directory: Path | None, runner: Runner | None) -> None:
    async with open_store(directory, run_sync=runner) as store:
        await store.put("key", b"old")
        with pytest.raises(ZeroDivisionError):
            await store.put_made("key", lambda: bytes(1 // 0))
        assert await store.get("key") == b"old"


async def test_tasks_that_ask_for_a_default_at_once_get_the_same(tmp_path: Path) -> None:
    answers: list[bytes] = []

    async def ask(store: Store, value: bytes) -> None:
        answers.append(await store.setdefault("key", lambda: value))

    async with open_store(tmp_path / "state") as store:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, store, b"%d" % number)
        assert set(answers) == {await store.get("key")}


async def test_values_outlive_the_store(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        await store.put("key", b"value")
    async with open_store(tmp_path / "state") as store:
        assert await store.get("key") == b"value"
        assert store.warnings == ()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [DATABASE_NAME]


async def test_values_survive_a_process_that_ends_without_closing(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        await store.put("key", b"value")
        shutil.copytree(tmp_path / "state", tmp_path / "crashed")
    (tmp_path / "crashed").chmod(0o700)
    async with open_store(tmp_path / "crashed") as store:
        assert await store.get("key") == b"value"
        assert store.warnings == ()


async def test_two_stores_on_one_directory_see_each_other(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as first, open_store(tmp_path / "state") as second:
        assert await first.setdefault("key", lambda: b"first") == b"first"
        assert await second.setdefault("key", lambda: b"second") == b"first"


async def test_the_worker_thread_is_one_at_a_time_and_not_ours(tmp_path: Path) -> None:
    ours = threading.get_ident()
    running = 0

    async def run_watched(function: object, *args: object) -> object:
        def watched() -> object:
            nonlocal running
            assert threading.get_ident() != ours
            assert running == 0
            running += 1
            try:
                return function(*args)  # type: ignore[operator]
            finally:
                running -= 1

        return await trio.to_thread.run_sync(watched, limiter=limiter)

    limiter = trio.CapacityLimiter(1)
    async with open_store(tmp_path / "state", run_sync=run_watched) as store, trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(store.put, str(number), b"")


async def test_by_default_the_trio_thread_is_never_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers: set[int] = set()
    connect = sqlite3.connect

    def watched(*args: object, **kwargs: object) -> sqlite3.Connection:
        callers.add(threading.get_ident())
        connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.set_trace_callback(lambda _: callers.add(threading.get_ident()))
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    async with open_store(tmp_path / "state") as store:
        await store.put("key", b"value")
        await store.get("key")
        await store.setdefault("other", lambda: b"value")
    assert callers
    assert threading.get_ident() not in callers


async def test_a_cancelled_block_still_closes_its_database(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_store(tmp_path / "state") as store:
            await store.put("key", b"value")
            scope.cancel()
            await trio.sleep_forever()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [DATABASE_NAME]
    with pytest.raises(StoreError, match="closed"):
        await store.get("key")


def set_schema_version(database: Path, version: int) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


async def test_a_newer_database_is_refused_in_words_and_left_untouched(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await store.put("key", b"value")
    database = tmp_path / DATABASE_NAME
    set_schema_version(database, SCHEMA_VERSION + 1)
    before = database.read_bytes()
    with pytest.raises(StoreError) as caught:
        async with open_store(tmp_path):
            pytest.fail("opened")
    assert str(caught.value).startswith(f"{database} has schema version 2, this release knows up to 1: ")
    assert database.read_bytes() == before
    set_schema_version(database, SCHEMA_VERSION)
    async with open_store(tmp_path) as store:
        assert await store.get("key") == b"value"


async def filled_database(directory: Path) -> Path:
    async with open_store(directory, run_sync=run_inline) as store:
        for number in range(200):
            await store.put(f"key {number}", b"%d" % number * 100)
    return directory / DATABASE_NAME


def overwrite(database: Path, start: int, data: bytes) -> None:
    with database.open("r+b") as file:
        file.seek(start)
        file.write(data)


@pytest.mark.reliability(line=16)
@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda database: database.write_bytes(b"\xa5" * 10_000), 0),
        (lambda database: database.write_bytes(b"not a database"), 0),
        (lambda database: database.write_bytes(database.read_bytes()[:100]), 0),
        (lambda database: database.write_bytes(database.read_bytes()[:5000]), 0),
        (lambda database: overwrite(database, 0, b"\xff" * 100), 0),
        (lambda database: overwrite(database, 44, b"\x00\x00\x00\x09"), 0),
        (lambda database: overwrite(database, 8192, b"\xff" * 4096), range(150, 200)),
        (lambda database: set_schema_version(database, -1), 200),
    ],
    ids=["garbage", "text", "header only", "cut short", "header lost", "format lost", "page lost", "version lost"],
)
async def test_a_damaged_database_is_moved_aside_and_a_fresh_one_started(
    tmp_path: Path, damage: Callable[[Path], object], kept: int | range
) -> None:
    directory = tmp_path / "state"
    database = await filled_database(directory)
    damage(database)
    remains = database.read_bytes()
    async with open_store(directory) as store:
        aside = directory / f"{DATABASE_NAME}.damaged-1"
        assert len(store.warnings) == 1
        assert store.warnings[0].startswith(f"{database} is damaged (")
        read = [number for number in range(200) if await store.get(f"key {number}") == b"%d" % number * 100]
        assert len(read) in (kept if isinstance(kept, range) else [kept])
        loss = f"{len(read)} of its records could be read and are kept" if read else "this service's identity is lost"
        assert f"was moved to {aside}; {loss}" in store.warnings[0]
        assert aside.read_bytes() == remains
        await store.put("key", b"value")
    async with open_store(directory) as store:
        assert await store.get("key") == b"value"
        assert store.warnings == ()


@pytest.mark.reliability(line=16)
async def test_damage_to_one_long_value_costs_that_one_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    async with open_store(directory) as store:
        identity = await control_identity(store, secrets.token_bytes)
        await store.put("control/snapshot", b"\xa5" * 100_000)
    database = directory / DATABASE_NAME
    overwrite(database, database.stat().st_size // 2, b"\xff" * 4096)
    async with open_store(directory) as store:
        assert "5 of its records could be read and are kept" in store.warnings[0]
        assert await control_identity(store, secrets.token_bytes) == identity
        assert await store.get("control/snapshot") is None


async def test_what_is_kept_of_a_damaged_database_is_as_new_as_its_journal(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    database = await filled_database(directory)
    async with open_store(directory) as running:
        await running.put("key 1", b"newer")
        overwrite(database, 4 * 4096, b"\xff" * 4096)
        async with open_store(directory) as store:
            assert "could be read and are kept" in store.warnings[0]
            assert await store.get("key 1") == b"newer"


async def test_a_database_is_damaged_and_nothing_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*names: object) -> None:
        raise OSError("disk full")

    database = await filled_database(tmp_path / "state")
    set_schema_version(database, -1)
    monkeypatch.setattr("shutil.copyfile", fail)
    async with open_store(tmp_path / "state") as store:
        assert "this service's identity is lost" in store.warnings[0]


async def test_each_damaged_database_gets_a_name_of_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    for number in (1, 2, 3):
        database = await filled_database(directory)
        database.write_bytes(b"garbage" * 1000)
        async with open_store(directory):
            assert (directory / f"{DATABASE_NAME}.damaged-{number}").exists()
            assert not (directory / f"{DATABASE_NAME}.damaged-{number + 1}").exists()


async def test_the_journal_of_a_damaged_database_does_not_reach_its_successor(tmp_path: Path) -> None:
    database = await filled_database(tmp_path / "state")
    async with open_store(tmp_path / "state") as running:
        await running.put("key", b"old")  # one page of several: the journal cannot restore the database
        journal = database.with_name(DATABASE_NAME + "-wal").read_bytes()
        database.write_bytes(b"garbage" * 1000)
        async with open_store(tmp_path / "state") as store:
            assert await store.get("key") is None
            assert database.with_name(DATABASE_NAME + ".damaged-1-wal").read_bytes() == journal


async def test_a_database_that_lost_its_table_is_damaged(tmp_path: Path) -> None:
    database = await filled_database(tmp_path / "state")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE entries")
    async with open_store(tmp_path / "state") as store:
        assert "its table is missing" in store.warnings[0]


async def test_a_database_cut_to_nothing_is_used_with_a_warning(tmp_path: Path) -> None:
    database = await filled_database(tmp_path / "state")
    database.write_bytes(b"")
    async with open_store(tmp_path / "state") as store:
        assert len(store.warnings) == 1
        assert f"{database} was empty" in store.warnings[0]
        assert await store.get("key 1") is None


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    database = tmp_path / DATABASE_NAME
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE entries (what TEXT)")
    with pytest.raises(StoreError, match="table entries already exists"):
        async with open_store(tmp_path):
            pytest.fail("opened")


async def refusal(directory: Path) -> str:
    with pytest.raises(StoreError) as caught:
        async with open_store(directory):
            pytest.fail("opened")
    return str(caught.value)


async def test_a_directory_that_cannot_be_used_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    advice = "make it a directory that this user can write to, or set store-dir to one"
    assert await refusal(file) == f"cannot keep state in {file}: Not a directory; {advice}"
    assert await refusal(file / "state") == f"cannot keep state in {file / 'state'}: Not a directory; {advice}"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "missing")
    assert str(dangling) in await refusal(dangling)
    (tmp_path / "state" / DATABASE_NAME).mkdir(parents=True)
    assert "unable to open database file" in await refusal(tmp_path / "state")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def file_size_limit_lifted() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.reliability(line=16)
async def test_a_full_disk_fails_the_write_and_keeps_the_old_value(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        await store.put("key", b"value")
        with file_size_limit(100_000), pytest.raises(StoreError, match=f"cannot write {store.place}: "):
            await store.put("key", bytes(1_000_000))
        assert await store.get("key") == b"value"
        await store.put("key", b"new value")
        assert await store.get("key") == b"new value"


@pytest.mark.reliability(line=16)
async def test_a_full_disk_does_not_keep_a_service_from_starting(tmp_path: Path) -> None:
    database = await filled_database(tmp_path / "state")
    with file_size_limit(10_000):  # what SQLite keeps beside a database takes 32 KiB
        async with open_store(tmp_path / "state") as store:
            (warning,) = store.warnings
            assert warning.startswith(f"{database} can be read and not be written (")
            assert await store.get("key 1") == b"1" * 100
            with pytest.raises(StoreError, match="cannot write"):
                await store.put("key", bytes(100_000))
            file_size_limit_lifted()
            await store.put("key", b"value")
    async with open_store(tmp_path / "state") as store:
        assert store.warnings == ()
        assert await store.get("key") == b"value"


async def test_a_first_start_on_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with file_size_limit(1000):
        assert "set store-dir to one" in await refusal(tmp_path / "state")


async def test_a_read_only_database_is_read_but_not_written(tmp_path: Path) -> None:
    database = await filled_database(tmp_path / "state")
    with closing(sqlite3.connect(database)) as connection:
        # the superuser, as whom tests may run, is refused nothing by file modes
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON entries BEGIN"
            " SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        )
    async with open_store(tmp_path / "state") as store:
        assert await store.get("key 1") == b"1" * 100
        for attempt in (store.put("key", b"secret value"), store.setdefault("key", lambda: b"secret value")):
            with pytest.raises(StoreError, match="readonly") as caught:
                await attempt
            assert "secret" not in str(caught.value)
