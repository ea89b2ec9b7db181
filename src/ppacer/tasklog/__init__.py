"""The logs of tasks: stdout, stderr and `logging` records of every attempt, in an SQLite file of their own.

Writing never blocks, never raises and never fails a task: what cannot be written is dropped and counted.
"""

from typing import TYPE_CHECKING, Any

from ppacer.choices import LEVELS
from ppacer.tasklog.records import MESSAGE_BYTES_MAX, LogRecord, LogRow

if TYPE_CHECKING:
    from ppacer.tasklog.reader import LogReader
    from ppacer.tasklog.writer import LogWriter

__all__ = ["LEVELS", "MESSAGE_BYTES_MAX", "LogReader", "LogRecord", "LogRow", "LogWriter"]


def __getattr__(name: str) -> Any:
    """Import SQLAlchemy only for those who write or read: an executor needs no more than `LogRecord`."""
    if name == "LogWriter":
        from ppacer.tasklog.writer import LogWriter

        return LogWriter
    if name == "LogReader":
        from ppacer.tasklog.reader import LogReader

        return LogReader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
