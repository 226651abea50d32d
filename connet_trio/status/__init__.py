"""The status page: what a service knows about itself, as JSON over HTTP; and the same as tables for people."""

from connet_trio.status.client import Page, read_status
from connet_trio.status.columns import cut_to
from connet_trio.status.server import serve_status
from connet_trio.status.tables import status_lines

__all__ = ["Page", "cut_to", "read_status", "serve_status", "status_lines"]
