"""Reports that the scheduler has not acknowledged, on disk: a killed executor delivers them when it is back.

An append-only file of JSON lines: a report, or the tokens of reports that were taken. Usually the scheduler
acknowledges within milliseconds, and nothing is written at all: a report goes to the disk when it has waited
for `LINGER_SECONDS`. Until then a kill costs no more than one that comes so much earlier, in the task itself.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import msgspec

from ppacer.protocol import Report

log = logging.getLogger("ppacer.executor")

LINGER_SECONDS = 0.02
RETRY_SECONDS = 5.0  # after the disk has refused
COMPACT_BYTES = 16 * 1024 * 1024  # of a file that is written anew when less than half of it is still needed


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """A line of the file: these were acknowledged."""

    tokens: list[str]


class Kept(msgspec.Struct, frozen=True, tag="report"):
    """A line of the file: this is to be reported."""

    report: Report


_line = msgspec.json.Decoder(Kept | Taken)


class Spool:
    """Keeps reports until they are taken. A thread writes, so that nobody who reports waits for a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, Report] = {}  # by token: all that is not acknowledged
        self._new: dict[str, Report] = {}  # of these, what is not on disk yet
        self._taken: list[str] = []  # acknowledged, and on disk as open
        self._size = self._open_bytes = 0
        self._has_failed = self._is_closed = self._is_idle = False
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._load()
        self._thread = threading.Thread(target=self._run, name="ppacer-spool", daemon=True)
        self._thread.start()

    @property
    def left(self) -> list[Report]:
        """What is to be delivered, oldest first."""
        with self._lock:
            return list(self._open.values())

    def keep(self, report: Report) -> None:
        """This is to be delivered; from any thread, never blocks for long."""
        with self._news:
            self._open[report.token] = self._new[report.token] = report
            self._wake()

    def drop(self, reports: Iterable[Report]) -> None:
        """The scheduler has these."""
        with self._news:
            for report in reports:
                self._open.pop(report.token, None)
                if self._new.pop(report.token, None) is None:
                    self._taken.append(report.token)
            if self._taken:
                self._wake()

    def _wake(self) -> None:
        """Thousands of reports come and go while the thread lingers: they let it sleep."""
        if self._is_idle:
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Writes what is left, and lets go of the file."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        self._thread.join()
        os.close(self._file)

    # -- the file --------------------------------------------------------------------------------------------

    def _load(self) -> None:
        data = self._path.read_bytes()
        self._size = len(data)
        *lines, rest = data.split(b"\n")  # the rest is of a life that was cut off, usually nothing
        damaged = [line for line in lines if line and not self._load_line(line)]
        if damaged:
            log.warning("%d line(s) of %s cannot be read: reports may be lost", len(damaged), self._path)
        if rest:
            self._load_line(rest)
            os.write(self._file, b"\n")

    def _load_line(self, line: bytes) -> bool:
        """Whether it could be read."""
        try:
            entry = _line.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if isinstance(entry, Kept):
            self._open[entry.report.token] = entry.report
        else:
            for token in entry.tokens:
                self._open.pop(token, None)
        return True

    def _run(self) -> None:
        while True:
            with self._news:
                self._is_idle = True
                self._news.wait_for(lambda: self._new or self._taken or self._is_closed)
                self._is_idle = False
                new, pause = list(self._new.values()), RETRY_SECONDS if self._has_failed else LINGER_SECONDS
                self._news.wait_for(lambda: self._is_closed, pause)
                is_last, taken = self._is_closed, list(self._taken)
                new = [
                    report for report in (self._new.values() if is_last else new) if report.token in self._new
                ]
            if new or taken:
                self._try_to_write(new, taken)
            if is_last:
                return

    def _try_to_write(self, new: list[Report], taken: list[str]) -> None:
        try:
            self._write(new, taken)
        except Exception as error:  # whatever it is, this thread lives on: the next try may go well
            if not self._has_failed:
                why = error.strerror if isinstance(error, OSError) else repr(error)
                log.error("reports cannot be kept in %s, only in memory: %s", self._path, why)
            self._has_failed = True
            return
        self._has_failed = False
        with self._lock:
            del self._taken[: len(taken)]
            for report in new:
                if self._new.pop(report.token, None) is None:  # it was taken meanwhile
                    self._taken.append(report.token)

    def _write(self, new: list[Report], taken: list[str]) -> None:
        with self._lock:
            is_over = not self._open
        if is_over:
            os.ftruncate(self._file, 0)
            self._size = 0
            return
        lines = [msgspec.json.encode(Kept(report)) for report in new]
        if taken:
            lines.append(msgspec.json.encode(Taken(taken)))
        self._append(b"".join(line + b"\n" for line in lines))
        if self._size > COMPACT_BYTES:
            self._compact()

    def _append(self, data: bytes) -> None:
        """All of it, on the disk; or nothing of it, so that the next line begins a line."""
        before = os.fstat(self._file).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise
        self._size = before + len(data)

    def _compact(self) -> None:
        """Writes the file anew, without what was taken, when that is the larger part."""
        lines = [msgspec.json.encode(Kept(report)) for report in self.left]
        data = b"".join(line + b"\n" for line in lines)
        if 2 * len(data) > self._size:
            return
        new = self._path.with_suffix(".new")
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
            new.replace(self._path)
        except OSError:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._size = file, len(data)
