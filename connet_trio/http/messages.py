"""Requests and responses as handlers see them."""

from collections.abc import Awaitable, Callable

import attrs

Headers = tuple[tuple[bytes, bytes], ...]
"""Names and values in the order sent. A value may hold control characters other than NUL and line ends."""


@attrs.frozen(kw_only=True)
class Request:
    """What a client asks. Its method and target are printable ASCII without spaces; header names are lower case."""

    method: str
    target: str
    headers: Headers = ()


@attrs.frozen(kw_only=True)
class Response:
    """What it is answered. Framing headers (`content-length`, `connection`) are added when it is sent."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""


Handler = Callable[[Request], Awaitable[Response]]
