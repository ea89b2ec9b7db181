"""The seam between the executor and the ways of running an attempt."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ppacer.protocol import End, Grant
from ppacer.tasklog import LogRecord

GRACE = 5.0  # seconds between asking an attempt to end and ending it


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended: the error in words, or the JSON text of its result; peak memory in bytes.

    `begun`: False when the task was certainly not started. `is_unfit`: refused, and it would always be here.
    `body_hash`: of the code that ran, None where nobody can tell; `cpu_seconds`: user and system time of its
    process and of those that it waited for, None where others work in the same process.
    """

    end: End
    error: str | None = None
    result: str | None = None
    peak_memory: int | None = None
    begun: bool = True
    is_unfit: bool = False
    body_hash: str | None = None
    cpu_seconds: float | None = None


class Sink(Protocol):
    """Takes what runners produce; may be called from any thread, never blocks for long, never raises."""

    def done(self, grant: Grant, outcome: Outcome) -> None:
        """The attempt has ended; called exactly once for each `start`."""

    def log(self, records: Sequence[LogRecord]) -> None:
        """Log records of attempts, in order for each of them."""


class Runner(Protocol):
    """A way of running attempts: in a child process, a warm child, a thread, an event loop."""

    def start(self, grant: Grant) -> None:
        """Begins the attempt and returns at once; its end comes through the sink. Never raises."""

    def cancel(self, token: str, end: End) -> None:
        """Makes the attempt end soon, with `end` CANCELLED or HANDED_BACK; unknown tokens are ignored."""

    def close(self) -> None:
        """Ends everything that still runs, at once, and frees what the runner holds."""
