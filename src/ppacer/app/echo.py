"""Echoes what tasks say to the terminal, each line with the name of its task."""

import os
import select
import sys
import threading
from collections.abc import Sequence
from typing import TextIO

from ppacer.tasklog import LogRecord

WAITING_MAX = 4 * 1024 * 1024  # characters; beyond that lines are dropped, they are in the log anyway
CLOSE_SECONDS = 1.0


class Echo:
    """Writes in a thread of its own: a terminal that nobody reads (Ctrl-S, `| less`) blocks nothing else.

    One that is gone is no reason to stop anything either.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.__stdout__
        self._encoding = "utf-8" if stream is None else stream.encoding
        # Past the buffer of the stream, whose lock a blocked thread would hold when the interpreter ends.
        self._fd = None if stream is None else stream.fileno()
        self._waiting: list[str] = []
        self._size = self._dropped = 0
        self._is_closed = False
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    def __call__(self, records: Sequence[LogRecord]) -> None:
        """Takes what tasks say."""
        for record in records:
            head, level = f"{record.at.astimezone():%H:%M:%S} {_who(record)} | ", _level(record)
            for line in record.message.splitlines() or [""]:
                self.say(head + level + line)
                level = ""  # once is enough

    def say(self, line: str) -> None:
        """Takes a line; never waits."""
        with self._news:
            if self._size > WAITING_MAX or self._is_closed or self._fd is None:
                self._dropped += 1
                return
            self._waiting.append(line)
            self._size += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ppacer-echo", daemon=True)
                self._thread.start()
            self._news.notify()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Writes what waits, as far as that takes no longer than `seconds`."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while lines := self._take():
            try:
                self._write("\n".join(lines) + "\n")
            except OSError:
                self._fd = None

    def _take(self) -> list[str]:
        """The lines that wait, as soon as there are some; none at the end."""
        with self._news:
            while not self._waiting and not self._is_closed:
                self._news.wait()
            lines, self._waiting, self._size = self._waiting, [], 0
            if self._dropped and self._fd is not None:
                lines.append(f"({self._dropped:,} lines are not shown here: nobody read them in time)")
            self._dropped = 0
            return lines

    def _write(self, text: str) -> None:
        data = memoryview(text.encode(self._encoding, "backslashreplace"))
        while data and self._fd is not None:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody has made it so
                select.select([], [self._fd], [])


def _level(record: LogRecord) -> str:
    """The level of what is not said every day; a line of stderr has one that says nothing about it."""
    is_usual = record.level in ("DEBUG", "INFO") or (record.attributes or {}).get("stream") == "stderr"
    return "" if is_usual else f"{record.level} "


def _who(record: LogRecord) -> str:
    again = f"#{record.retry}" if record.retry else ""
    return f"{record.dag_id}/{record.task_id}{again}"
