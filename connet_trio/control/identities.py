"""Ids that control gives: to those who come back the one they had, to each connection a later one than before."""

from base64 import b32hexdecode
from collections.abc import Callable

from connet_trio.identity import new_connection_id, new_id, open_reconnect_token, seal_reconnect_token

SMALLEST_STEP_SECONDS = 1e-6
"""Between the times in two connection ids; Unix seconds as a float resolve a quarter of it."""


class Identities:
    """The ids of clients, or those of relays: each kind has a secret of its own (protocol section 4.1)."""

    def __init__(
        self,
        secret: bytes,
        *,
        entropy: Callable[[int], bytes],
        wall_clock: Callable[[], float],
        latest_connection_id: str = "",
    ) -> None:
        """Take the secret that seals reconnect tokens.

        Args:
          secret: 32 bytes.
          latest_connection_id: of those given by earlier runs; empty when none is known.
        """
        self._secret = secret
        self._entropy = entropy
        self._wall_clock = wall_clock
        self._latest = _time_of(latest_connection_id)

    def recognize(self, reconnect_token: bytes) -> tuple[str, bytes]:
        """The id of whoever shows this token, a new one if it does not open, and a fresh token to come back with."""
        identity = open_reconnect_token(reconnect_token, self._secret) or new_id(self._entropy)
        return identity, seal_reconnect_token(identity, self._secret, self._entropy)

    def new_connection_id(self) -> str:
        """An id that sorts after all before it, even if the clock of the machine was set back."""
        self._latest = max(self._wall_clock(), self._latest + SMALLEST_STEP_SECONDS)
        return new_connection_id(self._entropy, self._latest)


def _time_of(connection_id: str) -> float:
    """When a connection id was made, Unix seconds: its first 8 bytes count nanoseconds. 0 for what is no such id."""
    padding = "=" * (-len(connection_id) % 8)
    try:
        nanoseconds = b32hexdecode(connection_id + padding, casefold=True)[:8]
    except ValueError:
        return 0.0
    return int.from_bytes(nanoseconds, "big") / 1_000_000_000
