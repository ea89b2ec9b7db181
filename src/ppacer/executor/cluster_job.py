"""What runs on a worker of a cluster: one attempt, in a child of a fresh interpreter that imports the dags.

A job names its task by reference (a file, a dag, a task), as data: nothing of the user's is pickled. On the
worker it is an attempt of the runner `process`, with all that this means for timeout, output and end.
"""

import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Protocol

import msgspec

from ppacer.errors import LoadError
from ppacer.executor.children import Children
from ppacer.executor.runner import Outcome
from ppacer.executor.warm import WarmParent
from ppacer.executor.words import unbegun, with_details
from ppacer.protocol import End, Grant
from ppacer.tasklog import LogRecord
from ppacer.version import VERSION

POLL = 0.1  # seconds between two looks at whether the attempt shall end
RECORDS_MAX = 500  # in one message; the longest of them have 64 KiB


class Job(msgspec.Struct, frozen=True):
    """Executor to worker: run this. `dag_version`: the code that the executor has."""

    grant: Grant
    file: str
    dag_version: str | None
    grace: float
    level: int
    ppacer: str = VERSION


class Began(msgspec.Struct, frozen=True, tag=True):
    """Worker to executor: the attempt is here."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """Worker to executor: what the attempt says."""

    records: list[LogRecord]


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Worker to executor: the attempt has ended, and nothing more comes."""

    outcome: Outcome


class Line(Protocol):
    """From the worker to the executor, by the means of the cluster."""

    where: str

    def send(self, data: bytes) -> None:
        """Sends a message after those before; waits while the executor is behind."""

    def end(self) -> End | None:
        """How the attempt shall end, once the executor wants that or is gone itself."""


class _Version(msgspec.Struct):
    ppacer: str


Message = Began | Told | Finished
MESSAGES: "msgspec.msgpack.Decoder[Message]" = msgspec.msgpack.Decoder(Message)
encode = msgspec.msgpack.Encoder().encode


def run(data: bytes, line: Line) -> None:
    """Makes one attempt, and tells the executor all about it. `data` is a Job."""
    line.send(encode(Began()))
    try:
        ready = _prepared(data, line)
    except Exception as error:  # no process, no memory: another worker may have some
        ready = Outcome(End.REFUSED, _words(line, error), begun=False)
    line.send(encode(Finished(ready if isinstance(ready, Outcome) else _attempt(*ready, line))))


def _words(line: Line, error: Exception) -> str:
    return f"worker {line.where}: {type(error).__name__}: {error}"


def _attempt(grant: Grant, children: Children, desk: "_Desk", line: Line) -> Outcome:
    """How it ended. From here on nobody can say that it was not begun."""
    try:
        with closing(children):
            return _supervise(children, desk, grant, line)
    except Exception as error:
        return Outcome(End.LOST, _words(line, error))


def _prepared(data: bytes, line: Line) -> "tuple[Grant, Children, _Desk] | Outcome":
    """All that it needs, or why it cannot begin."""
    version = msgspec.msgpack.decode(data, type=_Version).ppacer
    if version != VERSION:
        return _unfit(f"worker {line.where} has ppacer {VERSION}, this executor {version}")
    job = msgspec.msgpack.decode(data, type=Job)
    if (end := line.end()) is not None:
        return unbegun(end)
    warm = WarmParent.spawn(job.file, job.level, wants=(job.grant.dag_id, job.dag_version or ""))
    try:
        warm.wait_loaded(give_up=lambda: line.end() is not None)
    except LoadError as error:
        warm.close()
        if (end := line.end()) is not None:
            return unbegun(end)
        return _unfit(with_details(f"worker {line.where}: {error}", error.traceback))
    desk = _Desk()
    return job.grant, Children(warm, desk, grace=job.grace, spares=0), desk


def _unfit(why: str) -> Outcome:
    return Outcome(End.REFUSED, why, begun=False, is_unfit=True)


def _supervise(children: Children, desk: "_Desk", grant: Grant, line: Line) -> Outcome:
    """Passes on what the attempt says, and the wish that it end."""
    process = children.process
    process.start(grant)
    is_asked = False
    while True:
        records, outcome = desk.take(POLL)
        for at in range(0, len(records), RECORDS_MAX):
            line.send(encode(Told(records[at : at + RECORDS_MAX])))
        if outcome is not None:
            return outcome
        if not is_asked and (end := line.end()) is not None:
            is_asked = True
            process.cancel(grant.token, end)


class _Desk:
    """The sink of the one attempt: keeps what comes until it is taken."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._records: list[LogRecord] = []
        self._outcome: Outcome | None = None

    def done(self, grant: Grant, outcome: Outcome) -> None:
        """The attempt has ended."""
        with self._news:
            self._outcome = outcome
            self._news.notify()

    def log(self, records: Sequence[LogRecord]) -> None:
        """It says something."""
        with self._news:
            self._records += records
            self._news.notify()

    def take(self, seconds: float) -> tuple[list[LogRecord], Outcome | None]:
        """What has come; waits so long for something."""
        with self._news:
            self._news.wait_for(self._has_news, seconds)
            records, self._records = self._records, []
            return records, self._outcome

    def _has_news(self) -> bool:
        return bool(self._records) or self._outcome is not None
