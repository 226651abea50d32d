"""Load against the target service: both in this process, over TCP on loopback."""

import mmap
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from connet_trio.records.model import HostPort
from connet_trio.testing.bench import entrances
from connet_trio.testing.bench.entrances import Entrance, find_foreign, wait_path
from connet_trio.testing.bench.figures import Metric
from connet_trio.testing.bench.load import (
    Place,
    Transfer,
    WrongAnswer,
    abandon,
    at_once,
    count_requests,
    download,
    echo_payload,
    open_bulk,
    request,
    resolve,
    upload,
)
from connet_trio.testing.bench.plain_copy import carry
from connet_trio.testing.bench.plan import BenchFailed, Foreign, Plan
from connet_trio.testing.bench.process_figures import cpu_seconds, resident_bytes
from connet_trio.testing.bench.rounds import Rounds, run_rounds
from connet_trio.testing.bench.steps import ABANDONED, plan_steps, requests_step, series_step
from connet_trio.testing.bench.target import MAX_LINE_BYTES, serve_target

NO_PROCESS = (1 << 22) + 1
"""Above what Linux numbers processes with."""

Handler = Callable[[trio.SocketStream], Awaitable[object]]


@asynccontextmanager
async def served(handler: Handler = serve_target) -> AsyncIterator[Place]:
    """A TCP service for the length of a block."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
            (place,) = await resolve(HostPort("127.0.0.1", listeners[0].socket.getsockname()[1]))
            yield place
            nursery.cancel_scope.cancel()


async def answer_little(stream: trio.SocketStream) -> None:
    """Ten bytes, whatever is asked."""
    async with stream:
        await stream.receive_some()
        await stream.send_all(bytes(10))
        await stream.send_eof()
        async for _ in stream:
            pass


@pytest.mark.parametrize("transfer", [download, upload])
@pytest.mark.parametrize(("count", "streams"), [(1, 1), (3_000_001, 1), (3_000_001, 8)])
async def test_transfers_carry_what_is_asked(transfer: Transfer, count: int, streams: int) -> None:
    shares = []

    async def noted(place: Place, share: int) -> None:
        shares.append(share)
        await transfer(place, share)

    async with served() as place:
        await at_once(noted, place, count, streams)
    assert (len(shares), sum(shares)) == (streams, count)


async def test_the_plain_copy_leads_to_its_target() -> None:
    async with served() as target, served(partial(carry, target.address[1])) as place:
        await echo_payload(place)
        await download(place, 1_000_000)
        assert await request(place) > 0


async def test_the_plain_copy_resets_what_it_cannot_carry() -> None:
    with trio.socket.socket() as unheard:
        await unheard.bind(("127.0.0.1", 0))
        async with served(partial(carry, unheard.getsockname()[1])) as place:
            with pytest.raises((trio.BrokenResourceError, ConnectionResetError)):
                await download(place, 1)


@pytest.mark.parametrize("act", [partial(download, count=11), partial(upload, count=1), request, echo_payload])
async def test_an_answer_that_is_not_the_targets_is_noticed(act: Callable[..., Awaitable[object]]) -> None:
    async with served(answer_little) as place:
        with pytest.raises((WrongAnswer, trio.BrokenResourceError)):
            await act(place)


async def test_a_download_that_is_longer_than_asked_is_noticed() -> None:
    async with served(answer_little) as place:
        with pytest.raises(WrongAnswer, match="10 bytes came back, expected 9"):
            await download(place, 9)


async def test_a_download_is_given_up_half_way() -> None:
    counts = []

    async def send_until_broken(stream: trio.SocketStream) -> None:
        sent = 0
        async with stream:
            await stream.receive_some()
            with suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(bytes(1 << 16))
                    sent += 1 << 16
        counts.append(sent)

    async with served(send_until_broken) as place:
        await abandon(place, 1 << 20)
        while not counts:
            await trio.lowlevel.checkpoint()
    assert counts[0] >= 1 << 19


async def test_a_series_is_taken_again_after_half_read_downloads() -> None:
    wanted = []

    async def noted(stream: trio.SocketStream) -> None:
        wanted.append(await stream.socket.recv(32, socket.MSG_PEEK))
        await serve_target(stream)

    plan = Plan(transfer_bytes=1000, transfers=3)
    async with served(noted) as place:
        measured = await series_step(plan).measure(Entrance(name="a", place=place, pids={}))
    assert len(wanted) == 3 + ABANDONED + 3
    assert [metric for metric, _ in measured.values] == [Metric.SERIES] * 3 + [Metric.SERIES_AFTER_ABANDONED] * 3


async def test_a_bulk_download_goes_on_beside_requests_and_ends_with_its_block() -> None:
    open_streams = 0

    async def counted(stream: trio.SocketStream) -> None:
        nonlocal open_streams
        open_streams += 1
        await serve_target(stream)
        open_streams -= 1

    async with served(counted) as place:
        async with open_bulk(place):
            assert await request(place) > 0
            assert open_streams == 1
        while open_streams:
            await trio.lowlevel.checkpoint()


async def test_a_bulk_download_that_ends_is_noticed() -> None:
    async def send_little(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(bytes(3000))

    async with served(send_little) as place:
        with pytest.raises(WrongAnswer, match="ended as soon as it had begun"):
            async with open_bulk(place):
                pass
        with pytest.raises(WrongAnswer, match="a download ended after 3000 bytes"):
            async with open_bulk(place, warm_bytes=1000):
                await trio.sleep_forever()


@pytest.mark.parametrize("line", [b"dance 5\n", b"send x\n", b"echo 2000000\n", b"x" * MAX_LINE_BYTES, b"send 5"])
async def test_the_target_answers_nothing_to_what_it_does_not_know(line: bytes) -> None:
    async with served() as place:
        stream = await trio.open_tcp_stream(*place.address)
        async with stream:
            await stream.send_all(line)
            await stream.send_eof()
            assert await stream.receive_some() == b""


async def test_the_target_reads_lines_that_come_in_pieces() -> None:
    async with served() as place, await trio.open_tcp_stream(*place.address) as stream:
        for piece in (b"ec", b"ho 4", b"\nab", b"cd"):
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert await stream.receive_some() == b"abcd"


async def test_only_requests_answered_in_the_window_are_counted() -> None:
    handled = 0

    async def counted(stream: trio.SocketStream) -> None:
        nonlocal handled
        handled += 1
        await serve_target(stream)

    async with served(counted) as place:
        answered = await count_requests(place, 0.1)
    assert 0 < answered <= handled


async def test_every_figure_is_taken_at_every_entrance_in_turn() -> None:
    visits: list[str] = []
    said: list[str] = []

    async def visit(name: str) -> None:
        visits.append(name)

    plan = Plan(transfer_bytes=100_000, transfers=2, requests=3, window_seconds=0.02)
    rounds = Rounds(steps=plan_steps(plan), count=2, rss_bytes=2_000_000, references=("b",))
    async with served() as place:
        found = [
            Entrance(name=name, place=place, pids={"self": os.getpid()}, confirm_path=partial(visit, name))
            for name in ("a", "b")
        ]
        results = await run_rounds(found, rounds, said.append)
    assert visits == ["a", "b"] * (1 + 2 * 8 + 1)  # first megabyte, rounds, what memory asks for
    assert len(said) == 2 * 8
    several = {Metric.SERIES: 2 * 2, Metric.SERIES_AFTER_ABANDONED: 2 * 2}
    for name in ("a", "b"):
        assert {metric: len(results.values(name, metric)) for metric in Metric} == dict.fromkeys(Metric, 2) | several
        assert all(value > 0 for metric in Metric for value in results.values(name, metric))
    assert [memory.carried_bytes for memory in results.memories] == [2_000_000] * 2
    assert results.memories[0].idle_bytes > 0


async def test_a_step_is_taken_where_it_belongs() -> None:
    async with served() as place:
        found = [Entrance(name=name, place=place, pids={}) for name in ("a", "b")]
        rounds = Rounds(steps=[requests_step(Plan(requests=1)).at("b", "c")], count=1)
        results = await run_rounds(found, rounds, lambda line: None)
    assert {sample.entrance for sample in results.samples} == {"b"}


async def test_a_failure_names_the_entrance_and_the_step() -> None:
    async def fail_downloads(stream: trio.SocketStream) -> None:
        if (await stream.socket.recv(4, 2)).startswith(b"send"):  # MSG_PEEK
            await stream.aclose()
        else:
            await serve_target(stream)

    async with served(fail_downloads) as place:
        with pytest.raises(BenchFailed, match="theirs, download, MB/s: "):
            await run_rounds(
                [Entrance(name="theirs", place=place, pids={})],
                Rounds(steps=plan_steps(Plan()), count=1),
                lambda line: None,
            )


async def test_an_entrance_of_others_is_tried_until_it_leads_to_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrances, "PAUSE_SECONDS", 0.0)
    handlers = iter([answer_little, answer_little])

    async with served(lambda stream: next(handlers, serve_target)(stream)) as place:
        foreign = Foreign(name="frp", place=HostPort("localhost", place.address[1]), pids=(7,))
        found = await find_foreign(foreign, 1)
    assert (found.name, found.place.address, found.pids) == ("frp", place.address, {"process 7": 7})


async def test_an_entrance_that_leads_nowhere_is_given_up_with_the_reason(autojump_clock: object) -> None:
    with trio.socket.socket() as unheard:
        await unheard.bind(("127.0.0.1", 0))
        foreign = Foreign(name="frp", place=HostPort("127.0.0.1", unheard.getsockname()[1]))
        with pytest.raises(BenchFailed, match=r"frp at 127.0.0.1:\d+ has not led to .*:4321 in 30 s: .*refused"):
            await find_foreign(foreign, 4321)


def page(*peers: tuple[str | None, str]) -> dict[str, Any]:
    """Of the status of a source, what the bench reads: path of each peer, and why there is no better one."""
    shown = {str(number): {"path": path, "why": why} for number, (path, why) in enumerate(peers)}
    return {"sources": {"serviceA": {"peers": shown}}}


@pytest.mark.parametrize("path", ["incoming", "outgoing"])
async def test_a_direct_path_is_waited_for(path: str, autojump_clock: object) -> None:
    pages = iter([page(), page((None, "dialling")), page(("relay", "dialling")), page((path, ""))])

    async def next_page() -> dict[str, Any]:
        return next(pages)

    await wait_path(next_page, "direct")
    assert next(pages, None) is None


async def test_a_path_that_never_comes_is_told_with_its_reason(autojump_clock: trio.testing.MockClock) -> None:
    async def same_page() -> dict[str, Any]:
        return page((None, "no\naddress"))

    begin = trio.current_time()
    with pytest.raises(BenchFailed, match=r"no direct path in 20 s: the source has no path \(no\\naddress\)"):
        await wait_path(same_page, "direct")
    assert trio.current_time() - begin <= 20


async def test_a_status_page_that_does_not_answer_is_given_up(autojump_clock: object) -> None:
    async def no_page() -> dict[str, Any]:
        await trio.sleep_forever()
        return {}

    with pytest.raises(BenchFailed, match="status page of the source cannot be read: no answer"):
        await wait_path(no_page, "relay")


def test_cpu_and_memory_of_a_process_are_read() -> None:
    before = sum(os.times()[:2])
    used = cpu_seconds(os.getpid())
    assert before - 0.02 <= used <= sum(os.times()[:2]) + 0.02
    resident, size = resident_bytes(os.getpid()), 32 << 20
    with mmap.mmap(-1, size) as held:  # new pages: the heap may have as many free that are in RAM already
        held.write(b"x" * size)
        assert resident_bytes(os.getpid()) - resident > size * 0.9


@pytest.mark.parametrize("figure", [cpu_seconds, resident_bytes])
def test_a_process_that_is_gone_is_named(figure: Callable[[int], float]) -> None:
    with pytest.raises(BenchFailed, match=f"process {NO_PROCESS} cannot be looked at"):
        figure(NO_PROCESS)
