"""The direct port of a client: for whom it answers, and whom each endpoint expects (protocol sections 2.3 and 7.3).

The server name (SNI) picks the endpoint, whose leaf is shown; the dialer's leaf must be one that this endpoint expects
now. The expectation holds for as long as the peer is listed, so that a peer which lost its connection need not wait
until we have noticed as well: it takes the place of the one before (the original refuses it until then).
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from connet_trio.errors import CertificateRejected
from connet_trio.identity import Credential, check_client
from connet_trio.quic import UNAUTHENTICATED_WINDOWS, Answer, Connection, Listening
from connet_trio.records.error_code import ErrorCode
from connet_trio.wire import ConnectionKind, protocol_names

UNKNOWN_CLIENT = (ErrorCode.AUTHENTICATION_FAILED, "unknown client")
UNKNOWN_SERVER = (ErrorCode.AUTHENTICATION_FAILED, "unknown server")

Welcome = Callable[[Connection], Awaitable[None]]
"""Takes over a connection of the peer that was expected; when it returns, the connection is closed."""


class DirectPort:
    """Who may dial this client directly, and what becomes of them."""

    def __init__(self) -> None:
        self._credentials: dict[str, Credential] = {}
        self._expected: dict[str, dict[bytes, list[Welcome]]] = {}
        self.listening = Listening(choose=self._choose, windows=UNAUTHENTICATED_WINDOWS)
        """For the transport."""

    @contextmanager
    def answer_for(self, server_name: str, credential: Credential) -> Iterator[None]:
        """Answer those who ask for `server_name`, for the length of a block."""
        self._credentials[server_name] = credential
        self._expected[server_name] = {}
        try:
            yield
        finally:
            del self._credentials[server_name], self._expected[server_name]

    @contextmanager
    def expect(self, server_name: str, leaf: bytes, welcome: Welcome) -> Iterator[None]:
        """Let the owner of the client leaf (DER) dial `server_name`, for the length of a block.

        One peer may be listed under two ids, its own of before and its new one: whoever came to expect a leaf last
        gets its connections, and those before again when that one is gone.
        """
        expected = self._expected[server_name]
        expected.setdefault(leaf, []).append(welcome)
        try:
            yield
        finally:
            expected[leaf].remove(welcome)
            if not expected[leaf]:
                del expected[leaf]

    async def serve(self, connection: Connection) -> None:
        """Hand a connection just accepted to whoever expects it."""
        expected = self._expected.get(connection.server_name or "")
        if expected is None:  # the endpoint is gone since it was asked for
            connection.close(*UNKNOWN_SERVER)
            return
        welcomes = expected.get(connection.peer_certificate or b"")
        if not welcomes:  # withdrawn since its certificate was judged
            connection.close(*UNKNOWN_CLIENT)
            return
        await welcomes[-1](connection)

    def _choose(self, server_name: str | None) -> Answer | None:
        name = (server_name or "").lower()
        credential = self._credentials.get(name)
        if credential is None:
            return None

        def judge(leaf: bytes, wall_now: float) -> None:
            expected = self._expected.get(name)
            if expected is None:
                raise CertificateRejected("the endpoint is gone")
            check_client(leaf, expected, wall_now)

        return Answer(credential=credential, alpns=protocol_names(ConnectionKind.PEER_TO_PEER), client_trust=judge)
