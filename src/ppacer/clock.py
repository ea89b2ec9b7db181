"""Time: the only module that reads a clock. Everywhere else `now` is a parameter."""

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

ZERO = timedelta(0)


class Now(NamedTuple):
    """One instant on two clocks: `utc` for schedules and retries, `mono` (seconds) for leases, timeouts."""

    utc: datetime
    mono: float


class Clock(Protocol):
    """Tells the time; the tests have one that is moved by hand."""

    def now(self) -> Now: ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> Now:
        return Now(datetime.now(UTC), time.monotonic())


def mono() -> float:
    """Seconds on the monotonic clock, for who needs no other: a fifth of the cost of `now`."""
    return time.monotonic()


def utc(value: datetime) -> datetime:
    """The same instant in UTC; a datetime without time zone is refused, because it could mean anything."""
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; write datetime(..., tzinfo=timezone.utc)")
    return value.astimezone(UTC)


def processor_seconds() -> float:
    """How long this thread has kept a processor; the difference of two is what something has cost."""
    return time.thread_time()


def program_seconds() -> float:
    """How long all threads of this program have kept processors."""
    return time.process_time()


def to_text(value: datetime) -> str:
    """ISO 8601 in UTC, of fixed width, so that text order is time order: 2024-03-11T22:50:20.000000Z."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def from_text(text: str) -> datetime:
    """The aware datetime that `to_text` wrote; any ISO 8601 text with an offset is understood."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is UTC else utc(at)


def in_words(span: timedelta) -> str:
    """A duration as people write it: `250ms`, `10s`, `1m30s`, `2h`, `1d4h`; zero is `0s`."""
    micros = round(abs(span) / timedelta(microseconds=1))
    sign = "-" if span < ZERO else ""
    if 0 < micros < 1_000_000:
        return sign + (
            f"{micros // 1000}ms" if micros % 1000 == 0 else f"{micros / 1000:.3f}".rstrip("0") + "ms"
        )
    parts, rest = [], micros
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    if rest or not parts:
        parts.append(f"{rest / 1_000_000:.6f}".rstrip("0").rstrip(".") + "s")
    return sign + "".join(parts)
