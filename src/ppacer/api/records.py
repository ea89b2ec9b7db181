"""What tasks of an executor say, on its way to the scheduler: a bounded buffer and its thread."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeAlias

import msgspec

from ppacer.clock import SystemClock
from ppacer.errors import DagError, NotTakenError, PpacerError, SchedulerUnavailable
from ppacer.pace import ExponentialBackoff
from ppacer.tasklog import LogRecord

log = logging.getLogger("ppacer.executor")

BUFFER_BYTES_MAX = 16 * 1024 * 1024
BATCH_BYTES_MAX = 512 * 1024  # half of what nginx takes where nobody has told it otherwise
RECORD_BYTES = 200  # of one record besides its message and attributes
LINGER_SECONDS = 0.05  # what is said within this time goes together
CLOSE_SECONDS = 2.0
ATTEMPTS_MAX = 1_000  # of which it is known how much of their logs was dropped

Attempt: TypeAlias = tuple[object, ...]
Send: TypeAlias = Callable[[Sequence[LogRecord], int], None]
_encode = msgspec.json.Encoder(enc_hook=str).encode


class RecordSender:
    """Sends records in their order, each batch until it is taken. What does not fit is dropped, with a note.

    A batch that can never be taken is sent in parts, until the record is found that is to blame.

    `send(records, number)`: the number grows with each batch, so that a batch that is sent again is known.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._waiting: deque[tuple[LogRecord, int]] = deque()
        self._bytes = 0
        self._dropped: Counter[Attempt] = Counter()
        self._batch: list[LogRecord] = []  # that is being sent, or has to be sent again
        self._number = 0
        self._sending = threading.Lock()  # by one thread at a time, so that all stays in order
        self._is_closed = self._has_refused = False
        self._thread = threading.Thread(target=self._run, name="ppacer-records", daemon=True)
        self._thread.start()

    def put(self, records: Iterable[LogRecord]) -> None:
        """Takes records; from any thread, never blocks for long, never raises."""
        sized = [_sized(record) for record in records]
        with self._news:
            for record, size in sized:
                if self._bytes + size > BUFFER_BYTES_MAX:
                    self._drop(record)
                else:
                    self._waiting.append((record, size))
                    self._bytes += size
            self._news.notify_all()

    def _drop(self, record: LogRecord) -> None:
        key = (record.dag_id, record.exec_ts, record.task_id, record.retry)
        if key in self._dropped or len(self._dropped) < ATTEMPTS_MAX:
            self._dropped[key] += 1

    def flush(self, seconds: float = -1) -> None:
        """Sends all that was put before. Raises what `send` raises: then nothing is lost.

        Waits `seconds` at most for another thread that is just sending (-1: as long as that takes).
        """
        if not self._waiting and not self._batch and not self._sending.locked():
            return
        if not self._sending.acquire(timeout=seconds):
            raise SchedulerUnavailable("the scheduler does not answer")
        try:
            left = len(self._waiting) + len(self._batch) + 1  # what comes meanwhile has its own time
            while left > 0 and self._take():
                left -= self._send_batch()
        finally:
            self._sending.release()

    def _take(self) -> bool:
        """Whether there is a batch to be sent."""
        if self._batch:
            return True
        with self._lock:
            size = 0
            while self._waiting and size < BATCH_BYTES_MAX:
                record, bytes_ = self._waiting.popleft()
                self._batch.append(record)
                size += bytes_
            self._bytes -= size
            if not self._waiting:
                self._batch += self._notes()
        self._number += bool(self._batch)
        return bool(self._batch)

    def _notes(self) -> Iterable[LogRecord]:
        """A word to each attempt of which something was dropped."""
        dropped, self._dropped = self._dropped, Counter()
        now = SystemClock().now().utc
        for (dag_id, exec_ts, task_id, retry), count in dropped.items():
            what = "1 record is" if count == 1 else f"{count:,} records are"
            text = f"{what} missing here: they came too fast, or could not be sent"
            yield LogRecord(dag_id, exec_ts, task_id, retry, now, "WARNING", text)  # type: ignore[arg-type]  # as they were put together in `_drop`

    def _send_batch(self) -> int:
        """How many records are done with."""
        try:
            self._send_plainly()
        except (NotTakenError, DagError) as error:
            return self._halve(error)
        count, self._batch = len(self._batch), []
        return count

    def _send_plainly(self) -> None:
        try:
            self._send(self._batch, self._number)
        except (UnicodeEncodeError, OverflowError, TypeError, RecursionError, ValueError):
            self._batch = [_plain(record) for record in self._batch]
            self._send(self._batch, self._number)

    def _halve(self, error: PpacerError) -> int:
        """The second half waits again. Of a single record only a note remains."""
        half = len(self._batch) // 2
        with self._lock:
            if half == 0:
                self._drop(self._batch.pop())
                if not self._has_refused:
                    self._has_refused = True
                    log.warning("a log record is refused by the scheduler, and left out: %s", error)
                return 1
            rest = [_sized(record) for record in self._batch[half:]]
            del self._batch[half:]
            self._waiting.extendleft(reversed(rest))
            self._bytes += sum(size for _, size in rest)
        return 0

    def _run(self) -> None:
        backoff = ExponentialBackoff(timedelta(milliseconds=100), timedelta(seconds=5))
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._batch or self._is_closed)
                if self._is_closed:
                    return
                self._news.wait_for(lambda: self._is_closed, LINGER_SECONDS)
            try:
                self.flush()
                backoff.reset()
            except Exception as error:
                if not isinstance(error, PpacerError):
                    log.exception("log records cannot be sent; please report it")
                pause = backoff.next().total_seconds()
                with self._news:
                    self._news.wait_for(lambda: self._is_closed, pause)

    def close(self) -> None:
        """Tries once to send what is left, and ends the thread."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        self._thread.join(CLOSE_SECONDS)
        try:
            self.flush(CLOSE_SECONDS)
        except Exception as error:
            log.warning("%d log records could not be sent: %s", len(self._waiting) + len(self._batch), error)


def _sized(record: LogRecord) -> tuple[LogRecord, int]:
    size = RECORD_BYTES + len(record.message)
    if record.attributes:
        try:
            size += len(_encode(record.attributes))
        except Exception:  # it is made plain when it is sent
            size += len(record.message)
    return record, size


def _plain(record: LogRecord) -> LogRecord:
    """The record without what JSON has no word for."""
    message = record.message.encode(errors="backslashreplace").decode()
    attributes = record.attributes
    try:
        _encode(attributes)
    except Exception:
        attributes = {"cut": ascii(attributes)[:1000]}
    return msgspec.structs.replace(record, message=message, attributes=attributes)
