"""Relays: who is let in, and offered to clients for as long as its connection lives (protocol section 5.1)."""

import logging
import math
from collections.abc import Callable

import attrs
import trio

from connet_trio.control.acceptance import check_certificate
from connet_trio.control.directory import Directory
from connet_trio.control.identities import Identities
from connet_trio.engine import RelayEntry, TokenTable
from connet_trio.errors import CertificateRejected, PathLost, Refused, RemoteProtocolError
from connet_trio.identity import new_key_pair, shared_key
from connet_trio.quic import RELAY_TO_CONTROL, Connection, RefusalLog, authenticate, check_metadata, let_finish
from connet_trio.records.control_relay import Authenticate, Authenticated
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import HostPort

logger = logging.getLogger(__name__)

DELIVERY_SECONDS = 1.0
"""How long a relay that does not acknowledge our answer keeps itself off the list."""
MAX_ADDRESSES = 64
MAX_HOST_CHARACTERS = 255
"""As long as a DNS name can be."""


@attrs.frozen(kw_only=True)
class JoinedRelay:
    """One connection of a relay that has authenticated."""

    relay_id: str
    connection_id: str
    entry: RelayEntry


class RelaySessions:
    """The connections of all relays."""

    def __init__(
        self,
        *,
        control_id: str,
        tokens: TokenTable,
        identities: Identities,
        directory: Directory,
        entropy: Callable[[int], bytes],
    ) -> None:
        """Let in whom `tokens` says, and list them in `directory`."""
        self._control_id = control_id
        self._tokens = tokens
        self._identities = identities
        self._directory = directory
        self._entropy = entropy
        self._refusals = RefusalLog()

    async def serve(self, connection: Connection) -> None:
        """Serve one connection to its end."""

        def judge(request: Authenticate) -> tuple[JoinedRelay, Authenticated]:
            return self._judge(connection, request)

        admitted = await authenticate(connection, RELAY_TO_CONTROL, judge, self._refusals)
        if admitted is None:
            return
        connection.raise_windows()
        relay, address = admitted.who, connection.remote_address
        with trio.move_on_after(DELIVERY_SECONDS):
            await admitted.stream.wait_delivered()  # before, the relay could not open what we seal for it
        logger.info("relay %.8s connected from %s, metadata %r", relay.relay_id, address, relay.entry.metadata)
        self._directory.register_relay(relay.relay_id, relay.connection_id, relay.entry)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(let_finish, admitted.stream)
                lost = await _wait_lost(connection)
            logger.info("relay %.8s from %s is gone: %r", relay.relay_id, address, str(lost))
        finally:
            # When cancelled, it is control that ends: the relay is there, and the next run should know of it.
            if trio.current_effective_deadline() > -math.inf:
                self._directory.lose_relay(relay.relay_id, relay.connection_id)

    def _judge(self, connection: Connection, request: Authenticate) -> tuple[JoinedRelay, Authenticated]:
        try:
            check_certificate(request.server_certificate)
        except CertificateRejected as exc:
            raise _failed(str(exc)) from exc
        self._tokens.authenticate(request.token, connection.remote_address.address)
        _check_addresses(request.addresses)
        check_metadata(request.metadata)
        relay_id, reconnect_token = self._identities.recognize(request.reconnect_token)
        pair = new_key_pair(self._entropy)
        try:
            seal_key = shared_key(request.relay_authentication_key, pair.secret)
        except RemoteProtocolError as exc:
            raise _failed(str(exc)) from exc
        entry = RelayEntry(
            addresses=request.addresses,
            metadata=request.metadata,
            server_certificate=request.server_certificate,
            seal_key=seal_key,
        )
        relay = JoinedRelay(relay_id=relay_id, connection_id=self._identities.new_connection_id(), entry=entry)
        answer = Authenticated(
            control_id=self._control_id,
            reconnect_token=reconnect_token,
            control_authentication_key=pair.public,
        )
        return relay, answer


def _check_addresses(addresses: tuple[HostPort, ...]) -> None:
    if len(addresses) > MAX_ADDRESSES:
        raise _failed(f"{len(addresses)} addresses, at most {MAX_ADDRESSES}")
    longest = max((len(address.host) for address in addresses), default=0)
    if longest > MAX_HOST_CHARACTERS:
        raise _failed(f"host of {longest} characters, at most {MAX_HOST_CHARACTERS}")


def _failed(reason: str) -> Refused:
    return Refused(ErrorCode.AUTHENTICATION_FAILED, f"authentication failed: {reason}")


async def _wait_lost(connection: Connection) -> PathLost:
    """Wait for the end; whatever the relay opens meanwhile is no part of the protocol."""
    while True:
        try:
            stream = await connection.accept_stream()
        except PathLost as lost:
            return lost
        stream.abort()
