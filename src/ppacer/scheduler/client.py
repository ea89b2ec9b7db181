"""The scheduler as an executor in the same program sees it: a plain object instead of HTTP."""

from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from ppacer.errors import SchedulerUnavailable
from ppacer.protocol import Answer, Hello, Report, Welcome
from ppacer.scheduler.requests import Ask, Claim, Goodbye, Greeting, Heartbeat, Reports, Request
from ppacer.tasklog import LogRecord


class Asked(Protocol):
    """A scheduler, or what stands in for it."""

    def submit(self, ask: Ask) -> Request:
        """Asks for something, from any thread; the future of the request is answered."""


PATIENCE = 60.0  # seconds beyond the asked-for wait; a commit that takes longer is trouble


class LocalClient:
    """Implements `protocol.Client` by the scheduler's inbox."""

    def __init__(self, scheduler: Asked, log: Callable[[Sequence[LogRecord]], None]) -> None:
        self._scheduler = scheduler
        self.log = log
        self._life: str | None = None

    def hello(self, hello: Hello) -> Welcome:
        """Introduces the executor; see `protocol.Client`."""
        self._life = hello.life
        welcome: Welcome = self._ask(Greeting(hello), 0.0)
        return welcome

    def claim(self, executor: str, slots: int, wait: float) -> Answer:
        """Waits for work; see `protocol.Client`."""
        answer: Answer = self._ask(Claim(executor, slots, wait, self._life), wait)
        return answer

    def report(self, executor: str, reports: Sequence[Report]) -> Answer:
        """Delivers ends of attempts; see `protocol.Client`."""
        answer: Answer = self._ask(Reports(executor, reports, self._life), 0.0)
        return answer

    def heartbeat(self, executor: str, tokens: Sequence[str]) -> Answer:
        """Keeps the lease; see `protocol.Client`."""
        answer: Answer = self._ask(Heartbeat(executor, tokens, self._life), 0.0)
        return answer

    def goodbye(self, executor: str) -> None:
        """Says that it ends; see `protocol.Client`."""
        self._ask(Goodbye(executor, self._life), 0.0)

    def _ask(self, ask: Ask, wait: float) -> Any:
        """The answer; a request given up is taken back, so that no grant is told to nobody."""
        future = self._scheduler.submit(ask).future
        try:
            return future.result(wait + PATIENCE)
        except FutureTimeout:
            if future.cancel():
                raise SchedulerUnavailable("the scheduler does not answer") from None
            return future.result()
