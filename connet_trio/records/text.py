"""Text from elsewhere, made fit for a line of log or a terminal."""


def printable(text: str, limit: int = 200) -> str:
    """`text` with everything unprintable escaped (CR, LF and ESC among it); cut after `limit` characters, with "…"."""
    first = text[: limit + 1]  # escaping makes it longer, never shorter
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in first)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


def short_id(identity: str) -> str:
    """The first eight characters of an id: enough to tell clients or relays apart in a log."""
    return printable(identity[:8])
