"""Says that something is away: once when it goes, once when the reason changes, once when it is back."""

import logging

from connet_trio.errors import ConnetError, Refused
from connet_trio.records.text import printable


class Outage:
    """The trouble with one thing we keep reconnecting to."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._reported: str | None = None
        self.last_error = ""
        """The latest trouble in words, empty while there is none."""

    def handle_trouble(self, error: ConnetError) -> None:
        """It is away, or still is."""
        self.last_error = printable(str(error), limit=500)
        if self.last_error != self._reported:
            self._reported = self.last_error
            level = logging.ERROR if isinstance(error, Refused) else logging.WARNING
            self._logger.log(level, "%s: %s; trying again until it works", self._what, self.last_error)

    def handle_recovery(self) -> None:
        """It is there, or there again."""
        if self._reported is not None:
            self._logger.info("%s: back again", self._what)
        self._reported = None
        self.last_error = ""
