"""The one HTTP layer, over any trio stream."""

from connet_trio.http.client import request_http
from connet_trio.http.messages import Handler, Request, Response
from connet_trio.http.server import serve_http

__all__ = ["Handler", "Request", "Response", "request_http", "serve_http"]
