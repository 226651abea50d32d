"""Client ↔ relay (protocol section 3.5)."""

import attrs

from connet_trio.records.model import Error, numbered


@attrs.frozen(kw_only=True)
class Authenticate:
    """First record of a client: the token control sealed for it."""

    authentication: bytes = numbered(1, default=b"", secret=True)
    metadata: str = numbered(2, default="")
    build_version: str = numbered(3, default="")


@attrs.frozen(kw_only=True)
class Authenticated:
    """The relay lets the client in."""


AuthenticateReply = Error | Authenticated
