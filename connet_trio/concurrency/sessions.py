"""The one retry loop: a session is made, lost, and made again, for ever."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from connet_trio.concurrency.backoff import Backoff
from connet_trio.concurrency.single_error import first_error
from connet_trio.errors import ConnetError, PathLost, Refused

RunSession = Callable[[Callable[[], None]], Awaitable[None]]
"""Makes a session, calls its argument once it works, and ends by an error of ours or by returning when it is lost."""

Report = Callable[[ConnetError, float], None]
"""Told why a session ended, or never began, and the seconds until the next attempt. May raise to give up."""


async def keep_session(
    run_session: RunSession, backoff: Backoff, report: Report, *, refusals_last: bool = True
) -> NoReturn:
    """Hold one session, making it again whenever it is lost; a short life earns a longer wait (trap T19).

    Args:
      refusals_last: whether a refusal seldom mends itself, as that of a token; the longest delay follows it then, and
        what fails otherwise after that is retried as if it had not been. False where what was refused may be out of
        date and about to be replaced, like the list a relay was found in: refusals are failures like any other.
    """
    while True:
        attempt = _Attempt()
        try:
            await run_session(attempt.up)
            error: ConnetError = PathLost("the session ended")
        except* ConnetError as group:
            error = first_error(group)
        lasting = refusals_last and isinstance(error, Refused)
        goodbye = isinstance(error, PathLost) and error.code is not None
        delay = backoff.longest if lasting else backoff.next_delay(attempt.uptime(), goodbye=goodbye)
        report(error, delay)
        del error  # its traceback holds all that the session had, which would else stay for as long as the next one
        await trio.sleep(delay)


class _Attempt:
    def __init__(self) -> None:
        self._since: float | None = None

    def up(self) -> None:
        self._since = trio.current_time()

    def uptime(self) -> float:
        return 0.0 if self._since is None else trio.current_time() - self._since
