"""A context for tasks, with a clock that runs only when a test says so, and a log that can be waited for."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

WAIT = 120.0  # seconds until a test gives up on a fact


class Logged(NamedTuple):
    level: int
    stream: str | None
    text: str


class RunInfo(NamedTuple):
    dag_id: str = "etl"
    exec_ts: datetime = datetime(2024, 3, 11, 12, tzinfo=UTC)


class Context:
    """What a task sees of its attempt; `left` are the seconds until its deadline."""

    def __init__(self) -> None:
        self.run, self.task_id, self.retry = RunInfo(), "load", 0
        self.left: float | None = None
        self.cancelled = False
        self.deadline: float | None = None
        self.logged: list[Logged] = []
        self.news = threading.Condition()
        self.on_line: Callable[[str], None] = lambda line: None
        self.logger = logging.Logger("task")  # noqa: LOG001 - one of its own, unknown to all others
        self.logger.addHandler(_Keep(self))

    def remaining(self) -> float | None:
        return self.left

    def lines(self, stream: str | None) -> list[str]:
        return [logged.text for logged in self.logged if logged.stream == stream]

    @property
    def stdout(self) -> list[str]:
        return self.lines("stdout")

    @property
    def stderr(self) -> list[str]:
        return self.lines("stderr")

    def wait_for(self, fact: Callable[[], Any]) -> Any:
        """What `fact` returns as soon as that is true, looked at after every line of the log."""
        with self.news:
            assert self.news.wait_for(fact, WAIT), self.logged
        return fact()


class _Keep(logging.Handler):
    def __init__(self, ctx: Context) -> None:
        super().__init__()
        self.ctx = ctx

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        with self.ctx.news:
            self.ctx.logged.append(Logged(record.levelno, getattr(record, "stream", None), line))
            self.ctx.news.notify_all()
        self.ctx.on_line(line)


def is_alive(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
