"""What one task at a time may do with a stream."""

import trio


class OneTask:
    """Around what one task at a time may do; raises `trio.BusyResourceError` for the second."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self.is_taken = False

    def __enter__(self) -> None:
        if self.is_taken:
            raise trio.BusyResourceError(f"another task is {self._doing}")
        self.is_taken = True

    def __exit__(self, *exc_info: object) -> None:
        self.is_taken = False
