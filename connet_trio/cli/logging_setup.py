"""Logging of the commands: structlog formats what the library logs through the standard one.

Each line goes to stderr as `key=value` (`text`), or as a JSON object (`json`); on a terminal `text` has colours.
Nothing that could move a cursor or begin a line of its own leaves here, whoever logged it: control characters are
escaped in every key and value.
"""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from connet_trio.records.text import printable

FINE = 5
"""More than debug."""

LEVELS = {
    "fine": FINE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

MAX_TEXT = 10_000
"""Characters of one value; a longer one is cut."""


def set_up_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (stderr). Only for a process of our own: it changes global state.

    Args:
      level: a key of `LEVELS`.
      style: `text` or `json`.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_processors(level, style, stream)))
    logging.raiseExceptions = False  # a log that cannot be written must not become a traceback on the same stream
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("connet_trio").setLevel(LEVELS[level])
    logging.getLogger("trio.serve_listeners").addFilter(_OnceInAWhile())
    wire = logging.getLogger("quic")  # aioquic's: a line for each packet, with what peers sent
    wire.propagate = False
    wire.setLevel(logging.CRITICAL + 1)


class _OnceInAWhile(logging.Filter):
    """Out of file descriptors, trio says so with a traceback ten times a second: a line now and then will do."""

    SECONDS = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        if record.created - self._last < self.SECONDS:
            return False
        self._last = record.created
        return True


def _processors(level: str, style: str, stream: TextIO) -> list[Processor]:
    has_colours = style == "text" and _shows_colours(stream)
    return [
        structlog.stdlib.ExtraAdder(),
        _add_origin if LEVELS[level] <= logging.DEBUG else _add_nothing,
        _add_time_and_level,
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.EventRenamer("msg"),
        _escape_lines if has_colours else _escape,
        _renderer(style, has_colours),
    ]


def _renderer(style: str, has_colours: bool) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    if has_colours:
        return structlog.dev.ConsoleRenderer(
            colors=True,
            sort_keys=False,
            event_key="msg",
            timestamp_key="time",
            exception_formatter=structlog.dev.plain_traceback,
        )
    return structlog.processors.LogfmtRenderer(key_order=["time", "level", "msg"], bool_as_flag=False)


def _shows_colours(stream: TextIO) -> bool:
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return stream.isatty() and wanted and sys.platform != "win32"


def _add_nothing(_: Any, __: str, event: EventDict) -> EventDict:
    return event


def _add_origin(_: Any, __: str, event: EventDict) -> EventDict:
    event["logger"] = event["_record"].name
    return event


def _add_time_and_level(_: Any, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    names = [name for name, number in LEVELS.items() if number <= record.levelno]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {"time": time.replace("+00:00", "Z"), "level": names[-1] if names else "fine", **event}


def _escape(_: Any, __: str, event: EventDict) -> EventDict:
    """Escape control characters everywhere."""
    return {_key(key): _escaped(value) for key, value in event.items()}


def _escape_lines(logger: Any, method: str, event: EventDict) -> EventDict:
    """As `_escape`; only a traceback keeps its lines, each marked, so that none passes for a line of the log."""
    traceback = str(event.pop("exception", ""))
    escaped = _escape(logger, method, event)
    if traceback:
        escaped["exception"] = "\n".join(f"  | {printable(line, MAX_TEXT)}" for line in traceback.split("\n"))
    return escaped


def _key(key: object) -> str:
    return printable(str(key), MAX_TEXT).replace(" ", "_")


def _escaped(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {_key(key): _escaped(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_escaped(inner) for inner in value]
        case _:
            return printable(str(value), MAX_TEXT)
