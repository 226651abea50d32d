"""The one retry loop."""

import gc
import weakref
from collections.abc import Callable
from random import Random

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.concurrency import Backoff, keep_session
from connet_trio.errors import ConnetError, DialFailed, PathLost, Refused
from connet_trio.records.error_code import ErrorCode


class WorstLuck(Random):
    """Gives the end of every range: delays of 0.01, 0.03, 0.09 s and so on."""

    def random(self) -> float:
        return 1.0


class GivenUp(Exception):
    """The report has had enough."""


@attrs.define
class Script:
    """Sessions that end as told, one after another, and what was said about them."""

    ends: list[BaseException | None]
    """How each session ends; None by returning."""
    uptimes: list[float | None] = attrs.field(factory=list)
    """How long each works first, seconds; None never gets that far, which is what those not listed do."""
    began: list[float] = attrs.field(factory=list)
    reports: list[tuple[ConnetError, float]] = attrs.field(factory=list)
    refusals_last: bool = True
    goodbye_spread: float | None = None

    async def run(self, up: Callable[[], None]) -> None:
        number = len(self.began)
        self.began.append(trio.current_time())
        uptime = self.uptimes[number] if number < len(self.uptimes) else None
        if uptime is not None:
            up()
            await trio.sleep(uptime)
        end = self.ends[number]
        if end is not None:
            raise end
        await trio.lowlevel.checkpoint()

    def report(self, error: ConnetError, delay: float) -> None:
        self.reports.append((error, delay))
        if len(self.reports) == len(self.ends):
            raise GivenUp

    async def play(self) -> None:
        backoff = Backoff(WorstLuck(0), goodbye_spread=self.goodbye_spread)
        with pytest.raises(GivenUp):
            await keep_session(self.run, backoff, self.report, refusals_last=self.refusals_last)

    @property
    def delays(self) -> list[float]:
        return [delay for _, delay in self.reports]


async def test_failed_attempts_are_repeated_after_growing_delays(autojump_clock: MockClock) -> None:
    failures = [DialFailed(str(number)) for number in range(4)]
    script = Script(list(failures))
    await script.play()
    assert [error for error, _ in script.reports] == failures
    assert script.delays == pytest.approx([0.01, 0.03, 0.09, 0.27])
    assert script.began == pytest.approx([0.0, 0.01, 0.04, 0.13])


async def test_only_a_session_that_worked_for_long_earns_a_short_delay(autojump_clock: MockClock) -> None:
    lost = PathLost("gone")
    script = Script([lost] * 5, [1.0, 1.0, 1.0, 3600.0, None])
    await script.play()
    assert script.delays == pytest.approx([0.01, 0.03, 0.09, 0.01, 0.03])


async def test_a_session_that_the_other_side_ends_is_made_again_at_a_moment_of_its_own(
    autojump_clock: MockClock,
) -> None:
    goodbye, gone = PathLost("closed by the peer", code=0), PathLost("no sign of life from the peer")
    script = Script([goodbye, GONE, gone], [3600.0, None, 3600.0], goodbye_spread=4.0)
    await script.play()
    assert script.delays == pytest.approx([4.0, 12.0, 0.01])


async def test_time_spent_on_dialling_is_no_uptime(autojump_clock: MockClock) -> None:
    reports: list[float] = []

    async def dial_in_vain(up: Callable[[], None]) -> None:
        await trio.sleep(3600)
        raise DialFailed("no answer")

    def report(error: ConnetError, delay: float) -> None:
        reports.append(delay)
        if len(reports) == 3:
            raise GivenUp

    with pytest.raises(GivenUp):
        await keep_session(dial_in_vain, Backoff(WorstLuck(0)), report)
    assert reports == pytest.approx([0.01, 0.03, 0.09])


async def test_a_session_that_returns_is_lost(autojump_clock: MockClock) -> None:
    script = Script([None], [1.0])
    await script.play()
    ((error, _),) = script.reports
    assert isinstance(error, PathLost)
    assert str(error) == "the session ended"


async def test_an_error_out_of_nested_nurseries_is_reported_as_itself(autojump_clock: MockClock) -> None:
    refused = Refused(ErrorCode.AUTHENTICATION_FAILED, "token not found")
    script = Script([ExceptionGroup("outer", [ExceptionGroup("inner", [refused, PathLost("gone")])])])
    await script.play()
    assert script.reports[0][0] is refused


REFUSED = Refused(ErrorCode.AUTHENTICATION_FAILED, "token not found")
GONE = DialFailed("no answer")


async def test_a_refusal_is_followed_by_the_longest_delay_and_changes_no_other(autojump_clock: MockClock) -> None:
    script = Script([GONE, GONE, REFUSED, REFUSED, GONE, REFUSED, GONE])
    await script.play()
    assert script.delays == pytest.approx([0.01, 0.03, 15.0, 15.0, 0.09, 15.0, 0.27])


async def test_a_session_refused_after_a_long_life_waits_as_long(autojump_clock: MockClock) -> None:
    script = Script([GONE, REFUSED, GONE], [None, 3600.0])
    await script.play()
    assert script.delays == pytest.approx([0.01, 15.0, 0.03])


async def test_where_refusals_do_not_last_they_are_failures_like_any_other(autojump_clock: MockClock) -> None:
    script = Script([GONE, REFUSED, REFUSED, GONE], refusals_last=False)
    await script.play()
    assert script.delays == pytest.approx([0.01, 0.03, 0.09, 0.27])


async def test_an_error_that_is_none_of_ours_ends_the_loop(autojump_clock: MockClock) -> None:
    script = Script([ZeroDivisionError(), None])
    with pytest.raises(ZeroDivisionError):
        await keep_session(script.run, Backoff(WorstLuck(0)), script.report)
    assert script.reports == []


async def test_an_error_that_is_none_of_ours_is_not_hidden_by_one_that_is(autojump_clock: MockClock) -> None:
    script = Script([ExceptionGroup("both", [PathLost("gone"), ZeroDivisionError()]), None])
    with pytest.raises(ExceptionGroup) as caught:
        await keep_session(script.run, Backoff(WorstLuck(0)), script.report)
    assert caught.group_contains(ZeroDivisionError)
    assert script.reports == []


@pytest.mark.parametrize("moment", [0.5, 1.005], ids=["in a session", "between two"])
async def test_it_ends_when_it_is_cancelled(autojump_clock: MockClock, moment: float) -> None:
    script = Script([PathLost("gone")] * 9, [1.0])
    with trio.move_on_after(moment) as scope:
        await keep_session(script.run, Backoff(WorstLuck(0)), script.report)
    assert scope.cancelled_caught
    assert script.began == [0.0]


async def test_what_a_session_had_is_gone_while_the_next_one_stands(autojump_clock: MockClock) -> None:
    class Belongings:
        """Of one session: a connection, and what it buffers."""

    seen: list[weakref.ref[Belongings]] = []

    async def run_session(up: Callable[[], None]) -> None:
        belongings = Belongings()
        seen.append(weakref.ref(belongings))
        up()
        if len(seen) == 1:
            raise PathLost(f"lost with {belongings}")
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_session, run_session, Backoff(Random(1)), lambda error, delay: None)
        await trio.sleep(60)
        gc.collect()
        assert [belongings() is None for belongings in seen] == [True, False]
        nursery.cancel_scope.cancel()
