"""What is asked of the scheduler: each request carries the future that is answered after the commit."""

from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import msgspec

from ppacer.engine import RunRef
from ppacer.engine.changes import AlertTried
from ppacer.protocol import Report


class Claim(msgspec.Struct, frozen=True):
    """An executor wants work, and waits up to `wait` seconds for it."""

    executor: str
    slots: int
    wait: float


class Reports(msgspec.Struct, frozen=True):
    """An executor tells how attempts ended."""

    executor: str
    reports: Sequence[Report]


class Heartbeat(msgspec.Struct, frozen=True):
    """An executor lives and holds these attempts."""

    executor: str
    tokens: Sequence[str]


class TriggerRun(msgspec.Struct, frozen=True):
    """Start a run of a dag now; answered with its RunRef."""

    dag_id: str
    params: dict[str, Any] = {}
    exec_ts: datetime | None = None


class CancelRun(msgspec.Struct, frozen=True):
    """End a run; answered with its RunRef."""

    run_id: int


class RestartRun(msgspec.Struct, frozen=True):
    """Let a failed or cancelled run go on; answered with its RunRef."""

    run_id: int


class PauseDag(msgspec.Struct, frozen=True):
    """No new scheduled runs of the dag."""

    dag_id: str


class UnpauseDag(msgspec.Struct, frozen=True):
    """Scheduled runs of the dag again, from now on; also a disabled dag gets another chance."""

    dag_id: str


Command = TriggerRun | CancelRun | RestartRun | PauseDag | UnpauseDag
Ask = Claim | Reports | Heartbeat | AlertTried | Command


class Request:
    """One ask with the future of its answer. `decided` is the run it was about when it was decided before."""

    __slots__ = ("ask", "decided", "future")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.decided: RunRef | None = None
        self.future: Future[Any] = Future()

    def answer(self, value: Any) -> None:
        """Answers, unless nobody waits any more."""
        if isinstance(value, BaseException):
            if not self.future.done():
                self.future.set_exception(value)
        elif not self.future.done():
            self.future.set_result(value)

