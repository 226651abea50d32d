"""Text from elsewhere, made fit for a line of log or a terminal."""


def printable(text: str, limit: int = 200) -> str:
    """`text` with everything unprintable escaped (CR, LF and ESC among it) and no longer than `limit` characters."""
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def short_id(identity: str) -> str:
    """The first eight characters of an id: enough to tell clients or relays apart in a log."""
    return printable(identity[:8])
