"""Control: which relays are up (protocol section 5.1, step 6).

Always: one entry for a relay id, that of its latest registration; only the connection that registered it can end it.
"""

import attrs

from connet_trio.records.model import HostPort


@attrs.frozen(kw_only=True)
class RelayEntry:
    """What clients are told of one relay, and the key that seals their tokens for it."""

    addresses: tuple[HostPort, ...]
    metadata: str
    server_certificate: bytes
    """The leaf (DER) it presents to clients."""
    seal_key: bytes = attrs.field(repr=False)
    """The precomputed box key K of section 5.1; fresh with every authentication."""


@attrs.frozen
class _Registered:
    connection_id: str
    entry: RelayEntry


class RelayRoster:
    """The relays that clients may be offered."""

    def __init__(self) -> None:
        self._relays: dict[str, _Registered] = {}

    def handle_register(self, relay_id: str, connection_id: str, entry: RelayEntry) -> bool:
        """A relay has authenticated, anew perhaps; True when clients have to be told."""
        before = self._relays.get(relay_id)
        self._relays[relay_id] = _Registered(connection_id, entry)
        return before is None or before.entry != entry

    def handle_lost(self, relay_id: str, connection_id: str) -> bool:
        """A relay's connection has ended; True when that leaves clients without it, and not with a newer one."""
        registered = self._relays.get(relay_id)
        if registered is None or registered.connection_id != connection_id:
            return False
        del self._relays[relay_id]
        return True

    def entries(self) -> dict[str, RelayEntry]:
        """Every relay by its id, in the order of ids."""
        return {relay_id: registered.entry for relay_id, registered in sorted(self._relays.items())}
