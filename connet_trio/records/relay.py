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

    passes_on_resets: int = numbered(1000, default=0)
    """Ours says 1 here: a stream that breaks on one side is reset on the other, so that FIN means a whole end. The
    original turns a break into FIN (trap T17) and ignores this field."""


AuthenticateReply = Error | Authenticated
