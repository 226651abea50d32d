"""The certificate a relay presents to clients: valid for two years, which a relay may outlive, as may its clock.

A board that boots in 1970 makes itself a leaf that ended long ago once NTP has set its clock, and every client would
refuse it from then on. So the leaf is looked at once an hour and at each jump of the clock, and issued again in time.
"""

import logging
from collections.abc import Callable

import trio

from connet_trio.concurrency import watch_wall_clock
from connet_trio.identity import Credential, Realm, issue_server_credential, needs_renewal, new_name
from connet_trio.quic import Surroundings

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 3600.0

HandleLeaf = Callable[[Credential], None]
"""Told of each leaf that replaces the one before."""


class RelayLeaf:
    """One leaf for all ingresses of a relay, fresh with every process (protocol section 2.4)."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Issue the first."""
        self._surroundings = surroundings
        self.credential: Credential = self._issue()
        """The current one."""

    async def run(self, handle_new: HandleLeaf) -> None:
        """Issue the leaf again whenever it is time to. Never returns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                watch_wall_clock,
                self._surroundings.wall_clock,
                lambda seconds: self._look("the clock moved", handle_new),
            )
            while True:
                ends = self.credential.leaf.not_valid_after_utc
                self._look(f"the old one ends on {ends:%Y-%m-%d}", handle_new)
                await trio.sleep(LOOK_EVERY_SECONDS)

    def _look(self, why: str, handle_new: HandleLeaf) -> None:
        if needs_renewal(self.credential.der, self._surroundings.wall_clock()):
            self.credential = self._issue()
            ends = self.credential.leaf.not_valid_after_utc
            logger.info("issued a new certificate, valid until %s: %s", f"{ends:%Y-%m-%d}", why)
            handle_new(self.credential)

    def _issue(self) -> Credential:
        entropy = self._surroundings.entropy
        name = new_name(Realm.RELAY, entropy)
        return issue_server_credential([name], [], wall_now=self._surroundings.wall_clock(), entropy=entropy)
