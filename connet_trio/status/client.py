"""The status page of a service, read over HTTP: ours, or the original's."""

import json
from typing import Any, NoReturn

from connet_trio.errors import PathLost, RemoteProtocolError
from connet_trio.forward import dial_tcp
from connet_trio.http import Request, request_http
from connet_trio.records.model import HostPort

MAX_PAGE_BYTES = 64 * 1024 * 1024
"""More than a control server with a hundred thousand clients has to say."""

Page = dict[str, Any]
"""The object of a status page (protocol section 13)."""

MARKS: tuple[set[str], ...] = ({"control", "relay"}, {"relay-server-id"}, {"server-id"}, {"destinations", "sources"})
"""Keys by which the pages of a server, a control server, a relay and a client are known."""


async def read_status(where: HostPort) -> Page:
    """The status page that is served at a TCP address.

    Raises:
      DialFailed: nobody listens there.
      PathLost: the connection was reset.
      RemoteProtocolError: what answers there is no status page.
    """
    request = Request(method="GET", target="/", headers=((b"host", str(where).encode("ascii", "ignore")),))
    stream = await dial_tcp(where)
    try:
        answer = await request_http(stream, request, max_body_bytes=MAX_PAGE_BYTES)
    except (PathLost, RemoteProtocolError) as exc:
        raise type(exc)(f"no status page at {where}: {exc}") from exc
    if answer.status != 200:
        raise RemoteProtocolError(f"no status page at {where}: what answers there says HTTP status {answer.status}")
    page = parse_page(answer.body)
    if page is None:
        raise RemoteProtocolError(f"no status page at {where}: what answers there is something else than connet")
    return page


def parse_page(body: bytes) -> Page | None:
    """The page in an answer; None when it is none."""
    try:
        page = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    is_page = isinstance(page, dict) and any(marks <= page.keys() for marks in MARKS)
    return page if is_page else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
