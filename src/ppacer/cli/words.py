"""Times and spans for people: one or two units, a space before each, and the exact time where it matters."""

from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)
UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)), ("s", SECOND))


def span(value: timedelta) -> str:
    """How long something took: `120 ms`, `1.23 s`, `42 s`, `1 m 30 s`, `2 h 5 m`, `1 d 4 h`."""
    if value < SECOND:
        return f"{max(value, timedelta(0)) / timedelta(milliseconds=1):.0f} ms"
    if value < 10 * SECOND:
        return f"{value / SECOND:.2f} s"
    rest = timedelta(seconds=round(value / SECOND))
    parts: list[tuple[int, str]] = []
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def relative(at: datetime, now: datetime) -> str:
    """`3 m ago`, `in 2 h`, `just now`: one unit is enough to see; the exact time stands elsewhere."""
    distance = abs(at - now)
    for unit, size in UNITS:
        if distance >= size:
            words = f"{distance // size} {unit}"
            return f"in {words}" if at > now else f"{words} ago"
    return "just now" if at <= now else "now"


def exact(at: datetime) -> str:
    """The time in UTC: `2024-03-11 22:50:20`, with microseconds where there are any."""
    text = f"{at:%Y-%m-%d %H:%M:%S}"
    return text if at.microsecond == 0 else f"{text}.{at.microsecond:06d}"


def took(started_at: datetime | None, ended_at: datetime | None, now: datetime) -> str:
    """How long it took, or has been taking until now; empty when it has not begun."""
    return "" if started_at is None else span((ended_at or now) - started_at)


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: int) -> str:
    """Bytes as people say them: `812 B`, `48.0 KB`, `1.2 GB`."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
