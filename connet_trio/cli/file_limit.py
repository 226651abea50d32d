"""Lets a service have as many files open as the system allows it: each connection of a user is one."""

from contextlib import suppress

try:
    import resource
except ImportError:  # Windows, where sockets are no files
    resource = None  # type: ignore[assignment]


def raise_file_limit() -> None:
    """Raise the soft limit, low for the sake of programs that call `select`, to the hard one; as the original does."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS calls its limit infinite and refuses that
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
