"""The one HTTP layer, over any trio stream."""

from connet_trio.http.messages import Handler, Request, Response
from connet_trio.http.server import serve_http

__all__ = ["Handler", "Request", "Response", "serve_http"]
