"""The status page: what a service knows about itself, as JSON over HTTP."""

from connet_trio.status.server import serve_status

__all__ = ["serve_status"]
