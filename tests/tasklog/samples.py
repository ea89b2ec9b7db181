"""Records to log, and ways to wait for facts."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ppacer.clock import SystemClock
from ppacer.tasklog import LogRecord

EXEC_TS = datetime(2024, 3, 11, 12, tzinfo=UTC)
AT = datetime(2024, 3, 11, 12, 0, 1, tzinfo=UTC)
SOON = 120.0
"""Seconds after which a test gives up on a fact; a fact that comes ends the wait at once."""


def record(message: str = "hello", number: int = 0, **fields: Any) -> LogRecord:
    """A record of one attempt, logged `number` microseconds after AT."""
    values: dict[str, Any] = {
        "dag_id": "etl",
        "exec_ts": EXEC_TS,
        "task_id": "extract",
        "retry": 0,
        "at": AT + timedelta(microseconds=number),
        "level": "INFO",
        "message": message,
    }
    return LogRecord(**(values | fields))


def lines(count: int, **fields: Any) -> list[LogRecord]:
    """`count` records whose messages are their numbers."""
    return [record(str(number), number, **fields) for number in range(count)]


def until(fact: Callable[[], object], seconds: float = SOON) -> None:
    """Return as soon as `fact()` is true."""
    clock, pause = SystemClock(), threading.Event()
    end = clock.now().mono + seconds
    while not fact():
        assert clock.now().mono < end, "it did not come true in time"
        pause.wait(0.002)
