"""What the tests of the runners share: grants, a sink that remembers, and waiting for facts."""

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ppacer.dag import Registry
from ppacer.executor.runner import Outcome, Runner
from ppacer.executor.warm import WarmParent
from ppacer.protocol import End, Grant
from ppacer.tasklog import LogRecord

CASES = Path(__file__).with_name("cases.py")
EXEC_TS = datetime(2024, 3, 11, 12, tzinfo=UTC)
PATIENCE = 120.0

_numbers = itertools.count()


def grant(
    task_id: str,
    *,
    dag_id: str = "cases",
    timeout: float | None = 600.0,
    results: Mapping[str, str] | None = None,
    **params: Any,
) -> Grant:
    """A grant that no other test has: `retry` is the number by which its log records are found."""
    number = next(_numbers)
    return Grant(
        run_id=1,
        dag_id=dag_id,
        exec_ts=EXEC_TS,
        task_id=task_id,
        retry=number,
        token=f"token-{number}",
        trigger="manual",
        timeout=timeout,
        params=params,
        results=dict(results or {}),
    )


class Memory:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.started: list[Grant] = []
        self.ends: dict[str, list[Outcome]] = {}
        self.records: dict[int, list[LogRecord]] = {}
        self.news = threading.Condition()

    def done(self, grant: Grant, outcome: Outcome) -> None:
        with self.news:
            self.ends.setdefault(grant.token, []).append(outcome)
            self.news.notify_all()

    def log(self, records: Sequence[LogRecord]) -> None:
        with self.news:
            for record in records:
                self.records.setdefault(record.retry, []).append(record)
            self.news.notify_all()

    def start(self, runner: Runner, grant: Grant) -> Grant:
        self.started.append(grant)
        runner.start(grant)
        return grant

    def run(self, runner: Runner, task_id: str, **options: Any) -> tuple[Outcome, list[LogRecord]]:
        """Runs one attempt to its end; how it ended, and its log."""
        started = self.start(runner, grant(task_id, **options))
        return self.end_of(started), self.log_of(started)

    def end_of(self, grant: Grant) -> Outcome:
        with self.news:
            assert self.news.wait_for(lambda: grant.token in self.ends, PATIENCE), (
                f"{grant.task_id} does not end"
            )
            return self.ends[grant.token][0]

    def log_of(self, grant: Grant) -> list[LogRecord]:
        with self.news:
            return list(self.records.get(grant.retry, []))

    def wait_for(self, grant: Grant, text: str) -> LogRecord:
        """The first record with this text in its message."""

        def found() -> LogRecord | None:
            return next((r for r in self.records.get(grant.retry, []) if text in r.message), None)

        with self.news:
            assert self.news.wait_for(found, PATIENCE), f"{text!r} is not in the log of {grant.task_id}"
            record = found()
            assert record is not None
            return record

    def check(self) -> None:
        """Every attempt that was started has ended, once."""
        with self.news:
            missing = [g.task_id for g in self.started if g.token not in self.ends]
            twice = [token for token, ends in self.ends.items() if len(ends) != 1]
        assert not missing
        assert not twice


def fork(registry: Registry, file: Path | None = CASES) -> WarmParent:
    """A warm parent forked from the tests, without pytest's handlers of logging."""
    eventually(lambda: threading.active_count() == 1, "the end of all threads")
    root = logging.getLogger()
    handlers, root.handlers[:] = list(root.handlers), []
    try:
        return WarmParent.fork(registry, file=file)
    finally:
        root.handlers[:] = handlers


def eventually(fact: Callable[[], Any], what: str = "it", seconds: float = PATIENCE) -> Any:
    """Waits until something is so."""
    until = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < until, f"{what} does not come true"
        time.sleep(0.005)
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int) -> list[int]:
    """The processes with this parent, zombies included."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(name))
    return found


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """No descriptor, no child process (not even a zombie), no thread more than before."""
    before = open_files(), set(children_of(os.getpid())), threading.active_count()
    yield
    eventually(lambda: set(children_of(os.getpid())) <= before[1], "the end of all children")
    eventually(lambda: threading.active_count() <= before[2], "the end of all threads")
    assert {fd: name for fd, name in open_files().items() if before[0].get(fd) != name} == {}


def open_files() -> dict[int, str]:
    """The descriptors of this process and where they lead."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
    return found


def messages(records: Sequence[LogRecord], stream: str | None = None) -> list[str]:
    """The texts of a log: all of them, or those of one stream."""
    return [r.message for r in records if stream is None or (r.attributes or {}).get("stream") == stream]


SUCCESS, FAILED, TIMED_OUT = End.SUCCESS, End.FAILED, End.TIMED_OUT
