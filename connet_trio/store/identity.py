"""What keeps a control server or a relay the same one after a restart (protocol section 14)."""

from collections.abc import Callable

import attrs

from connet_trio.errors import StoreError
from connet_trio.identity import Realm, new_name
from connet_trio.store.store import Store

SECRET_BYTES = 32

CONTROL_ID = "config/server-id"
CLIENT_SECRET = "config/server-client-secret"
RELAY_SECRET = "config/server-relay-secret"
CLIENT_RESET_KEY = "config/client-stateless-reset"
RELAY_RESET_KEY = "config/relay-stateless-reset"

RELAY_OWN_RESET_KEY = "config/stateless-reset"
RELAY_CONTROL_ID = "config/control-id"
RELAY_RECONNECT_TOKEN = "config/control-reconnect"


@attrs.frozen(kw_only=True)
class ControlIdentity:
    """Who a control server is. The secrets are 32 bytes each."""

    control_id: str
    """What relays remember: they refuse a control server whose id has changed."""
    client_secret: bytes = attrs.field(repr=False)
    """Seals the reconnect tokens of clients."""
    relay_secret: bytes = attrs.field(repr=False)
    """Seals the reconnect tokens of relays."""
    client_reset_key: bytes = attrs.field(repr=False)
    """Stateless reset key of the sockets for clients."""
    relay_reset_key: bytes = attrs.field(repr=False)
    """Stateless reset key of the sockets for relays."""


@attrs.define(kw_only=True)
class RelayIdentity:
    """Who a relay is, and to which control server it belongs."""

    reset_key: bytes = attrs.field(repr=False)
    """Stateless reset key, 32 bytes."""
    control_id: str | None = None
    """The control server that let this relay in first; None before that."""
    reconnect_token: bytes = attrs.field(default=b"", repr=False)
    """What makes control give this relay the same id again; empty before it has one."""
    _store: Store = attrs.field(repr=False, eq=False)

    async def save_control(self, control_id: str, reconnect_token: bytes) -> None:
        """Remember what control answered, for this process even if it cannot be kept for the next one.

        Raises:
          StoreError: the store cannot be written.
        """
        self.control_id = control_id
        self.reconnect_token = reconnect_token
        # the id first: without its token the next start is a new relay of the same control, which is harmless
        await self._store.put(RELAY_CONTROL_ID, control_id.encode())
        await self._store.put(RELAY_RECONNECT_TOKEN, reconnect_token)


async def control_identity(store: Store, entropy: Callable[[int], bytes]) -> ControlIdentity:
    """The identity kept in `store`, made from `entropy` the first time.

    Raises:
      StoreError: the store cannot be read or written, or holds something else under one of the keys.
    """
    control_id = await store.setdefault(CONTROL_ID, lambda: new_name(Realm.CONTROL, entropy).encode())
    return ControlIdentity(
        control_id=_text(store, CONTROL_ID, control_id),
        client_secret=await _secret(store, CLIENT_SECRET, entropy),
        relay_secret=await _secret(store, RELAY_SECRET, entropy),
        client_reset_key=await _secret(store, CLIENT_RESET_KEY, entropy),
        relay_reset_key=await _secret(store, RELAY_RESET_KEY, entropy),
    )


async def relay_identity(store: Store, entropy: Callable[[int], bytes]) -> RelayIdentity:
    """The identity kept in `store`; its reset key is made from `entropy` the first time, the rest comes from control.

    Raises:
      StoreError: the store cannot be read or written, or holds something else under one of the keys.
    """
    reset_key = await _secret(store, RELAY_OWN_RESET_KEY, entropy)
    control_id = await store.get(RELAY_CONTROL_ID)
    return RelayIdentity(
        reset_key=reset_key,
        control_id=None if control_id is None else _text(store, RELAY_CONTROL_ID, control_id),
        reconnect_token=await store.get(RELAY_RECONNECT_TOKEN) or b"",
        store=store,
    )


async def _secret(store: Store, key: str, entropy: Callable[[int], bytes]) -> bytes:
    secret = await store.setdefault(key, lambda: entropy(SECRET_BYTES))
    if len(secret) != SECRET_BYTES:
        raise StoreError(
            f"{store.place} holds {len(secret)} bytes as {key}, {SECRET_BYTES} expected; move it away to start anew"
        )
    return secret


def _text(store: Store, key: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise StoreError(f"{store.place} holds no text as {key}; move it away to start anew") from exc
