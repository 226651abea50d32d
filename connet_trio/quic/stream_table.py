"""The engine's table of streams, with two habits added."""

from typing import Any


class StreamTable(dict[int, Any]):
    """Takes the place of aioquic's dictionary of streams, by id.

    `values()` serves one caller, the loop that writes stream credit into every packet: it sees only streams whose
    credit changed, or each packet would cost a turn for every open stream. `pop()` notes what was discarded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.credited: dict[int, Any] = {}
        self.discarded: list[int] = []

    def values(self) -> Any:
        """Streams whose credit is to be written; each leaves the set once it has been."""
        return list(self.credited.values())

    def pop(self, stream_id: int, *default: Any) -> Any:
        """Forget a stream that has finished both ways."""
        self.discarded.append(stream_id)
        self.credited.pop(stream_id, None)
        return super().pop(stream_id, *default)
