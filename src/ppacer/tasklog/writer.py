"""The writer of logs.db: one thread, one connection, a bounded queue; it never blocks and never fails a task.

put ─► mailbox ─► batch (up to 2,000 records) ─► one transaction ─► waiters, listeners
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol

from ppacer.clock import Clock, SystemClock
from ppacer.errors import StoreUnavailable
from ppacer.tasklog.backlog import Batch, reports_of
from ppacer.tasklog.connections import Place, explain, place_of, where
from ppacer.tasklog.logfile import LogFile
from ppacer.tasklog.mailbox import Mailbox
from ppacer.tasklog.outage import Outage
from ppacer.tasklog.records import LogRecord, LogRow, Stored, entries_of, row_of

logger = logging.getLogger("ppacer.tasklog")

RECORDS_MAX = 100_000
BYTES_MAX = 64 * 1024 * 1024
"""What may wait for the database: about a second of the fastest writing, and 64 MiB."""

GATHER_SECONDS = 0.05
"""After a commit, how long records are gathered for the next one: at most 20 small transactions a second."""

CLOSING_SECONDS = 0.25
"""The longest pause between tries once the writer is being closed."""

PATIENCE = timedelta(seconds=60)
"""A batch that could not be written for so long is given up; the next one gets its own chance."""

Listener = Callable[[Sequence[LogRow]], None]


class Log(Protocol):
    """What is written to: `LogFile` says what each method does."""

    newest_id: int

    def close(self) -> None: ...
    def is_current(self) -> bool: ...
    def append(self, rows: Sequence[Stored]) -> int: ...
    def prune(self, before: datetime | None, bytes_max: int | None, batch: int) -> int: ...
    def forget(self, dag_id: str, exec_tss: Sequence[datetime], batch: int) -> int: ...


_Job = tuple[Callable[[Log], int], "Future[int]"]


class LogWriter:
    """Takes records from any thread, and commits them in the order in which they came.

    A record that comes after a pause is committed at once; those that follow within 50 ms share a
    transaction. While the database refuses, the batch at hand is tried again and again, the queue fills, and
    what has no room is dropped; afterwards a WARNING record in the log of each attempt says how many were.
    """

    def __init__(
        self,
        path_or_url: str | Path,
        *,
        records_max: int = RECORDS_MAX,
        bytes_max: int = BYTES_MAX,
        patience: timedelta = PATIENCE,
        clock: Clock | None = None,
    ) -> None:
        self.place = place_of(path_or_url)
        self._clock = clock or SystemClock()
        self._mailbox = Mailbox(records_max, bytes_max)
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._listeners: dict[int, Listener] = {}  # replaced, never changed
        self._listeners_lock, self._listener_keys = threading.Lock(), count()
        self.trouble: str | None = None  # why nothing can be written just now, in words
        self._deadline: float | None = None  # set by close
        self._thread = threading.Thread(target=self._run, name="ppacer-tasklog", daemon=True)

        # The writer thread's own.
        self._file: Log | None = None
        self._batch: Batch | None = None
        self._outage = Outage(patience.total_seconds())
        self._told = 0  # of `dropped`: what the program's own log was told

    def __enter__(self) -> "LogWriter":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """Records lost since the start, for whatever reason."""
        return self._mailbox.dropped

    def start(self) -> None:
        """Start the thread, which opens the file, or makes it. A file that cannot be opened is an outage."""
        self._thread.start()

    def put(self, records: Sequence[LogRecord]) -> None:
        """Hand over records to be written soon. Never blocks, never raises: what has no room is dropped."""
        self._mailbox.put(*entries_of(records))

    def flush(self, timeout: float) -> bool:
        """Wait until what was put so far is committed, and the listeners have heard of it.

        False if it was not within `timeout` seconds.
        """
        return self._mailbox.flush(timeout)

    def wait(self, after_id: int, timeout: float) -> int:
        """The newest committed LogId (0: none), once it is above `after_id`, or after `timeout` seconds.

        Returns early when the writer has ended.
        """
        return self._mailbox.wait(after_id, timeout)

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the rows of each commit from now on; returns what removes it again.

        It runs on the writer's thread and must be quick: meanwhile nothing is written. One that raises is
        removed.
        """
        with self._listeners_lock:
            key = next(self._listener_keys)
            self._listeners = {**self._listeners, key: listener}
        return lambda: self._remove(key)

    def prune(
        self,
        before: datetime | None = None,
        bytes_max: int | None = None,
        batch: int = 5000,
        timeout: float = 30.0,
    ) -> int:
        """Delete up to `batch` of the oldest rows, logged before `before` or beyond `bytes_max`.

        Returns how many it were; call again until it is 0. The newest row always stays. `bytes_max` counts
        the pages in use; free ones are reused, and given back when they are more than a quarter of the file.
        Raises StoreUnavailable when the database refuses, the writer is not running, or it took longer than
        `timeout` seconds (and may still happen).
        """
        return self._do(lambda file: file.prune(before, bytes_max, batch), timeout)

    def forget(
        self, dag_id: str, exec_tss: Sequence[datetime], batch: int = 5000, timeout: float = 30.0
    ) -> int:
        """Delete up to `batch` rows of these runs; call again until it is 0. The rest as for `prune`."""
        return self._do(lambda file: file.forget(dag_id, exec_tss, batch), timeout)

    def _do(self, work: Callable[[Log], int], timeout: float) -> int:
        """Have the writer's thread do it, and wait for the answer."""
        future: Future[int] = Future()
        self._jobs.put((work, future))
        self._mailbox.kick()
        if self._mailbox.ended or self._thread.ident is None:
            self._cancel_jobs()
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise StoreUnavailable(f"{where(self.place)} could not be pruned within {timeout:g} s") from None

    def close(self, timeout: float = 5.0) -> bool:
        """Write what can be written within `timeout` seconds, then end; True if nothing was left over."""
        if self._deadline is None:
            self._deadline = self._clock.now().mono + timeout
        given_up = self._mailbox.given_up
        self._mailbox.close()
        if self._thread.ident is None:
            self._end()
        else:
            self._thread.join(timeout)
        return self._mailbox.ended and self._mailbox.given_up == given_up

    # The writer's thread

    def _run(self) -> None:
        while not self._is_done():
            pause = self._step()
            if pause is not None and self._deadline is not None:
                pause = max(0.0, min(pause, CLOSING_SECONDS, self._deadline - self._clock.now().mono))
            self._mailbox.pause(pause, gather=not self._outage)
        self._end()

    def _step(self) -> float | None:
        """One round of work; returns the seconds to pause, None until there is something to do."""
        try:
            batch = self._next_batch()
            file = self._open()
            self._do_jobs(file)
            if batch is not None:
                self._commit(file, batch)
            self._recovered()
            return None if batch is None else GATHER_SECONDS
        except Exception as error:
            return self._failed(error)

    def _next_batch(self) -> Batch | None:
        if self._batch is None:
            self._batch = self._mailbox.take(self._clock.now().mono)
            if not self._outage and (self._batch is None or self._batch.drops):
                self._tell("they came faster than they could be written")
        return self._batch

    def _open(self) -> Log:
        if self._file is not None and not self._file.is_current():
            self._close_file()
        if self._file is None:
            self._file = _opened(self.place)
            # LogIds go on in a new file, too: followers must not wait for ever.
            self._file.newest_id = max(self._file.newest_id, self._mailbox.newest_id)
            self._mailbox.opened(self._file.newest_id)
        return self._file

    def _do_jobs(self, file: Log) -> None:
        for work, future in self._take_jobs():
            try:
                future.set_result(work(file))
            except Exception as error:
                future.set_exception(StoreUnavailable(explain(error, self.place)))

    def _commit(self, file: Log, batch: Batch) -> None:
        rows = batch.rows + reports_of(batch.drops, self._clock.now().utc)
        first_id = file.append(rows)
        self._batch = None
        try:
            if self._listeners:
                self._announce([row_of((*row, log_id)) for log_id, row in enumerate(rows, first_id)])
        finally:  # comes last, so that after a flush the listeners have heard all
            self._mailbox.settle(batch, file.newest_id)

    def _announce(self, rows: Sequence[LogRow]) -> None:
        for key, listener in self._listeners.items():
            try:
                listener(rows)
            except Exception:
                logger.exception("a listener of task logs failed and is removed")
                self._remove(key)

    def _failed(self, error: Exception) -> float:
        """Note the outage, give up a batch that waited too long, return the pause until the next try."""
        self._close_file()
        now = self._clock.now().mono
        if not self._outage:
            reason = explain(error, self.place)
            self.trouble = f"task logs cannot be written: {reason}; tasks go on, their records wait"
            logger.warning("%s", self.trouble)
        pause = self._outage.failed(now)
        if self._batch is not None and self._outage.is_hopeless(now):
            self._mailbox.give_up(self._batch)
            self._batch = None
        return pause

    def _recovered(self) -> None:
        if self._outage:
            seconds, self.trouble = self._outage.end(self._clock.now().mono), None
            dropped, self._told = self.dropped - self._told, self.dropped
            logger.info("task logs are written again after %.1f s; %d were dropped", seconds, dropped)

    def _is_done(self) -> bool:
        if self._deadline is None:
            return False
        left = self._batch is not None or self._mailbox.pending or not self._jobs.empty()
        return not left or self._clock.now().mono >= self._deadline

    def _end(self) -> None:
        self._close_file()
        if self._batch is not None:
            self._mailbox.give_up(self._batch)
            self._batch = None
        self._mailbox.end()
        self._cancel_jobs()
        self._tell("the writer had to end")

    def _tell(self, reason: str) -> None:
        """One warning about the losses since the last one."""
        untold = self.dropped - self._told
        if untold:
            logger.warning("%d task log records were dropped: %s", untold, reason)
            self._told += untold

    def _cancel_jobs(self) -> None:
        for _, future in self._take_jobs():
            future.set_exception(StoreUnavailable(f"{where(self.place)} has no writer that is running"))

    def _take_jobs(self) -> list[_Job]:
        jobs: list[_Job] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs
            if job[1].set_running_or_notify_cancel():
                jobs.append(job)

    def _remove(self, key: int) -> None:
        with self._listeners_lock:
            self._listeners = {k: v for k, v in self._listeners.items() if k != key}

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _opened(place: Place) -> Log:
    if isinstance(place, Path):
        return LogFile(place)
    from ppacer.tasklog.server import LogTable

    return LogTable(place)
