"""How many bytes an endpoint has carried."""


class Traffic:
    """Payload bytes since the start: `received` from peers, `sent` to them."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0

    def count_in(self, count: int) -> None:
        """Bytes from a peer that the local side has taken."""
        self.received += count

    def count_out(self, count: int) -> None:
        """Bytes of the local side that the connection to a peer has taken."""
        self.sent += count
