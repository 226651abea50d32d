"""What leaves a public context manager: the caller's own exception, not a group of one."""

from collections.abc import Iterator
from contextlib import contextmanager


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
