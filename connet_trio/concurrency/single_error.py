"""What leaves a public context manager: the caller's own exception, not a group of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


@contextmanager
def single_error() -> Iterator[None]:
    """Unwrap an exception group that holds one exception, however deep; larger ones pass as they are."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        # its own context is kept; the nursery's adds nothing
        raise error from error.__cause__


def first_error(group: BaseExceptionGroup[E]) -> E:
    """The first exception of a group that is none itself: the one to show where there is room for one."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    found: E = error  # type: ignore[assignment]  # groups hold nothing but their kind
    return found
