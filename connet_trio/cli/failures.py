"""What people read when a command fails: one `error: …` line for each thing that is wrong, and nothing else."""

import sys

from connet_trio.errors import ConfigError, ConnetError
from connet_trio.records.text import printable

MAX_TEXT = 4000
"""Characters of one line; a longer one is cut."""


def tell_error(text: str) -> None:
    """Write one line to stderr, fit for a terminal whoever wrote its text."""
    _tell("error", text)


def tell_warning(text: str) -> None:
    """The same, for what is only odd."""
    _tell("warning", text)


def tell_failure(failure: ConnetError | BaseExceptionGroup[ConnetError]) -> None:
    """Write what an error of ours, or a group of them, says."""
    for text in dict.fromkeys(_texts(failure)):
        tell_error(text)


def _texts(failure: BaseException) -> list[str]:
    match failure:
        case BaseExceptionGroup():
            return [text for inner in failure.exceptions for text in _texts(inner)]
        case ConfigError():
            return str(failure).split("\n")  # ours, an error on each line
        case _:
            return [str(failure)]


def _tell(kind: str, text: str) -> None:
    sys.stderr.write(f"{kind}: {printable(text, MAX_TEXT)}\n")
