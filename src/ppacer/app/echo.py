"""Echoes what tasks say to the terminal, each line with the name of its task."""

import sys
from collections.abc import Sequence
from typing import TextIO

from ppacer.tasklog import LogRecord


class Echo:
    """Writes records as they come; a terminal that is gone or slow to die is no reason to stop anything."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.__stdout__

    def __call__(self, records: Sequence[LogRecord]) -> None:
        lines = [
            f"{record.at.astimezone():%H:%M:%S} {_who(record)} | {line}\n"
            for record in records
            for line in record.message.splitlines() or [""]
        ]
        try:
            if self._stream is not None:
                self._stream.write("".join(lines))
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


def _who(record: LogRecord) -> str:
    again = f"#{record.retry}" if record.retry else ""
    return f"{record.dag_id}/{record.task_id}{again}"
