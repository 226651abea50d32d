"""Says that something is away: once when it goes, once when the reason changes, once when it is back."""

import logging
import re

from connet_trio.errors import ConnetError, Refused
from connet_trio.records.text import printable

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


class Outage:
    """The trouble with one thing we keep reconnecting to."""

    def __init__(self, logger: logging.Logger, what: str, *, refusals_last: bool = True) -> None:
        """Nothing is away yet.

        Args:
          refusals_last: as for `keep_session`; somebody has to act on those that do, so they are logged as errors.
        """
        self._logger = logger
        self._what = what
        self._refusals_last = refusals_last
        self._reported: str | None = None
        self.last_error = ""
        """The latest trouble in words, empty while there is none."""

    def handle_trouble(self, error: ConnetError) -> None:
        """It is away, or still is."""
        text = str(error)
        for said in (f"cannot reach the {self._what}: ", f"{self._what} "):  # which the line begins with anyway
            text = text.removeprefix(said)
        self.last_error = printable(text, limit=500)
        # a certificate is refused in words that say what time it is, so each attempt has others for one reason
        reason = _MOMENT.sub("", self.last_error)
        if reason != self._reported:
            self._reported = reason
            level = logging.ERROR if self._refusals_last and isinstance(error, Refused) else logging.WARNING
            self._logger.log(level, "%s: %s; trying again until it works", self._what, self.last_error)

    def handle_recovery(self) -> None:
        """It is there, or there again."""
        if self._reported is not None:
            self._logger.info("%s: back again", self._what)
        self._reported = None
        self.last_error = ""
