"""What people are told while something is away."""

import logging

import pytest

from connet_trio.concurrency import Outage
from connet_trio.errors import ConnetError, DialFailed, PathLost, Refused
from connet_trio.records.error_code import ErrorCode

LOGGER = logging.getLogger("tests.outage")
NO_ANSWER = "192.0.2.1:19190: no answer"
AGAIN = "; trying again until it works"


@pytest.fixture
def outage(caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.DEBUG, LOGGER.name)
    return Outage(LOGGER, "control")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_the_same_trouble_is_told_once_however_often_it_comes(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        outage.handle_trouble(DialFailed(NO_ANSWER))
    assert told(caplog) == [("WARNING", f"control: {NO_ANSWER}{AGAIN}")]
    assert outage.last_error == NO_ANSWER


def test_each_change_of_the_reason_is_told(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    reasons = ["no answer", "connection lost", "no answer"]
    for reason in reasons:
        outage.handle_trouble(PathLost(reason))
    assert told(caplog) == [("WARNING", f"control: {reason}{AGAIN}") for reason in reasons]


def test_a_refusal_is_an_error_since_it_seldom_mends_itself(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.handle_trouble(Refused(ErrorCode.AUTHENTICATION_FAILED, "token not known"))
    assert told(caplog) == [("ERROR", f"control: token not known (AUTHENTICATION_FAILED){AGAIN}")]


def test_the_time_in_a_reason_makes_it_no_other_reason(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for second in range(10, 20):
        outage.handle_trouble(DialFailed(f"not valid yet, and it is 1970-01-01 00:00:{second} UTC here"))
    assert len(told(caplog)) == 1
    assert "00:00:10" in told(caplog)[0][1]
    assert "00:00:19" in outage.last_error


def test_a_reason_that_comes_and_goes_is_told_at_each_change_and_its_end_once(
    outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    refused = Refused(ErrorCode.AUTHENTICATION_FAILED, "token not found")
    for error in (refused, refused, DialFailed(NO_ANSWER), DialFailed(NO_ANSWER), refused, refused):
        outage.handle_trouble(error)
    outage.handle_recovery()
    outage.handle_recovery()
    refusal = f"control: token not found (AUTHENTICATION_FAILED){AGAIN}"
    assert told(caplog) == [
        ("ERROR", refusal),
        ("WARNING", f"control: {NO_ANSWER}{AGAIN}"),
        ("ERROR", refusal),
        ("INFO", "control: back again"),
    ]


def test_the_recovery_is_told_once_and_the_next_trouble_again(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.handle_trouble(DialFailed(NO_ANSWER))
    outage.handle_recovery()
    outage.handle_recovery()
    assert outage.last_error == ""
    outage.handle_trouble(DialFailed(NO_ANSWER))
    assert told(caplog) == [
        ("WARNING", f"control: {NO_ANSWER}{AGAIN}"),
        ("INFO", "control: back again"),
        ("WARNING", f"control: {NO_ANSWER}{AGAIN}"),
    ]


def test_what_was_never_away_is_not_back(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.handle_recovery()
    assert told(caplog) == []
    assert outage.last_error == ""


@pytest.mark.parametrize("error", [PathLost("a\r\nb \x1b[2J"), Refused(7, "x" * 10_000), DialFailed("\u202e")])
def test_words_of_the_other_side_are_printable_and_bounded(
    outage: Outage, caplog: pytest.LogCaptureFixture, error: ConnetError
) -> None:
    outage.handle_trouble(error)
    ((_, message),) = told(caplog)
    assert message.isprintable()
    assert outage.last_error.isprintable()
    assert len(outage.last_error) <= 501


def test_a_refusal_that_mends_itself_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER.name)
    outage = Outage(LOGGER, "relay", refusals_last=False)
    outage.handle_trouble(Refused(ErrorCode.AUTHENTICATION_FAILED, "invalid authentication"))
    assert told(caplog) == [("WARNING", f"relay: invalid authentication (AUTHENTICATION_FAILED){AGAIN}")]
