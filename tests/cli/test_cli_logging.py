import io
import json
import logging
import re
import sys
from collections.abc import Callable

import pytest

from connet_trio.cli.logging_setup import FINE, set_up_logging
from connet_trio.records.control import Authenticate, Authenticated, Relay
from connet_trio.records.control_relay import Authenticate as RelayAuthenticate

HOSTILE = "a\r\nb\x1b[2J\x07\u2028c\u202e"

Log = Callable[[Callable[[logging.Logger], object]], str]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def logged(
    style: str, write: Callable[[logging.Logger], object], level: str = "info", stream: io.StringIO | None = None
) -> str:
    """What `write` has the process write."""
    stream = stream or io.StringIO()
    set_up_logging(level, style, stream)
    write(logging.getLogger("connet_trio.test"))
    return stream.getvalue()


def test_text_is_key_and_value_without_escapes() -> None:
    line = logged("text", lambda logger: logger.info("up at %s", "::1", extra={"port": 19_190, "what": "a b"}))
    assert re.fullmatch(
        r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info msg="up at ::1" port=19190 what="a b"\n', line
    )


def test_json_is_one_object_for_each_line() -> None:
    def write(logger: logging.Logger) -> None:
        logger.warning("up", extra={"ports": [1, 2]})
        logger.error("down")

    first, second = map(json.loads, logged("json", write).splitlines())
    assert (first["level"], first["msg"], first["ports"]) == ("warn", "up", [1, 2])
    assert (second["level"], second["msg"]) == ("error", "down")


def test_text_has_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "\x1b[" in logged("text", lambda logger: logger.info("up"), stream=Terminal())
    assert "\x1b" not in logged("json", lambda logger: logger.info("up"), stream=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in logged("text", lambda logger: logger.info("up"), stream=Terminal())


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("fine", ["fine", "debug", "info", "warn", "error", "critical"]),
        ("debug", ["debug", "info", "warn", "error", "critical"]),
        ("info", ["info", "warn", "error", "critical"]),
        ("warn", ["warn", "error", "critical"]),
        ("error", ["error", "critical"]),
    ],
)
def test_a_level_shows_itself_and_what_is_worse(level: str, expected: list[str]) -> None:
    def write(logger: logging.Logger) -> None:
        logger.log(FINE, "fine")
        for word in ("debug", "info", "warning", "error", "critical"):
            getattr(logger, word)(word.replace("warning", "warn"))

    lines = [json.loads(line) for line in logged("json", write, level).splitlines()]
    assert [line["msg"] for line in lines] == expected
    assert [line["level"] for line in lines] == [word.replace("critical", "error") for word in expected]


def test_debugging_also_tells_who_logged() -> None:
    assert "logger=connet_trio.test" in logged("text", lambda logger: logger.debug("x"), "debug")
    assert "logger=" not in logged("text", lambda logger: logger.info("x"), "info")


@pytest.mark.reliability(line=32)
@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_untrusted_reaches_a_log_raw(style: str) -> None:
    def write(logger: logging.Logger) -> None:
        logger.info("from %s", HOSTILE, extra={"name of\n it": HOSTILE, "all": [HOSTILE], "map": {HOSTILE: HOSTILE}})

    written = logged(style, write)
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    decoded = json.loads(written)["msg"] if style == "json" else written[:-1]
    assert decoded.isprintable()
    assert "\\x1b[2J" in decoded


@pytest.mark.reliability(line=32)
def test_nothing_untrusted_reaches_a_terminal_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def write(logger: logging.Logger) -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logger.exception("from %s", HOSTILE, extra={"where": HOSTILE})

    written = logged("text", write, stream=Terminal())
    without_colours = re.sub(r"\x1b\[\d*(;\d+)*m", "", written)
    first, *traceback = without_colours.rstrip("\n").split("\n")
    assert all(line.isprintable() for line in (first, *traceback))
    assert all(line.startswith("  | ") for line in traceback)
    assert any("ValueError" in line for line in traceback)


def test_a_traceback_stays_on_the_line_of_its_message() -> None:
    def write(logger: logging.Logger) -> None:
        try:
            raise ValueError("why")
        except ValueError:
            logger.exception("broken")

    (line,) = logged("text", write).splitlines()
    assert "Traceback (most recent call last)" in line
    assert "ValueError: why" in line


def test_the_wire_is_silent_and_other_libraries_are_heard_from_warnings_on() -> None:
    def write(_: logging.Logger) -> None:
        logging.getLogger("quic").error("a packet of %s", "secrets")
        logging.getLogger("trio").info("chatter")
        logging.getLogger("trio").warning("trouble")

    (line,) = logged("text", write, "fine").splitlines()
    assert "msg=trouble" in line


def test_a_log_that_cannot_be_written_is_no_trouble() -> None:
    stream = io.StringIO()
    set_up_logging("info", "text", stream)
    stream.close()
    logging.getLogger("connet_trio.test").info("nobody reads this")


@pytest.mark.reliability(line=25)
def test_records_with_secrets_are_logged_without_them() -> None:
    secret = "s3cr3t"
    records = (
        Authenticate(token=secret, reconnect_token=secret.encode()),
        Authenticated(reconnect_token=secret.encode()),
        RelayAuthenticate(token=secret, reconnect_token=secret.encode()),
        Relay(authentication=secret.encode()),
    )
    written = logged("text", lambda logger: logger.info("%s", records, extra={"record": records[0]}))
    assert "Authenticate(" in written
    assert secret not in written
