"""Figures as people read them; nothing for a figure that is not there."""

DAY, HOUR, MINUTE = 86_400, 3_600, 60
PREFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def byte_count(count: float | None) -> str:
    """`1.5 MiB`."""
    if count is None:
        return ""
    power = 0
    while count >= 1024 and power < len(PREFIXES) - 1:
        count /= 1024
        power += 1
    return f"{count:.1f} {PREFIXES[power]}B" if power else f"{count:.0f} B"


def milliseconds(figure: float | None) -> str:
    """`12.3 ms`."""
    return "" if figure is None else f"{figure:.1f} ms"


def age(seconds: float) -> str:
    """`2d 3h`, `3h 5m`, `5m 7s`, `7s`; the clocks of two machines differ, so what is to come is now."""
    whole = max(0, int(min(seconds, 1e12)))
    days, hours, minutes = whole // DAY, whole % DAY // HOUR, whole % HOUR // MINUTE
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {whole % MINUTE}s" if minutes else f"{whole}s"
