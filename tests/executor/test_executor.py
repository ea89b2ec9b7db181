"""The executor between a scheduler and runners that do what the test says."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from executor.world import PATIENCE, eventually, grant
from ppacer.clock import SystemClock
from ppacer.errors import SchedulerUnavailable
from ppacer.executor.executor import Executor
from ppacer.executor.runner import Outcome
from ppacer.protocol import Answer, End, Grant, Hello, Report, Welcome
from ppacer.tasklog import LogRecord


class Scheduler:
    """A scheduler: hands out what it is given, and takes reports unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.errors: list[Exception] = []  # what the next claims raise
        self.grants: list[Grant] = []
        self.reports: list[Report] = []
        self.beats: list[Sequence[str]] = []
        self.claims: list[int] = []
        self.hellos: list[Hello] = []
        self.goodbyes = 0

    def claim(self, executor: str, slots: int, wait: float) -> Answer:
        self.claims.append(slots)
        if self.errors:
            raise self.errors.pop()
        threading.Event().wait(min(wait, 0.01))
        grants, self.grants = self.grants, []
        return Answer(grants)

    def report(self, executor: str, reports: Sequence[Report]) -> Answer:
        if self.is_away:
            raise SchedulerUnavailable("away")
        self.reports += reports
        return Answer()

    def heartbeat(self, executor: str, tokens: Sequence[str]) -> Answer:
        self.beats.append(tokens)
        return Answer()

    def log(self, records: Sequence[LogRecord]) -> None: ...

    def hello(self, hello: Hello) -> Welcome:
        self.hellos.append(hello)
        if self.errors:
            raise self.errors.pop()
        return Welcome(lease=0.3)

    def goodbye(self, executor: str) -> None:
        self.goodbyes += 1


class Hands:
    """A runner whose attempts end when the test says so."""

    def __init__(self) -> None:
        self.held: list[Grant] = []
        self.error: Exception | None = None

    def start(self, grant: Grant) -> None:
        if self.error is not None:
            raise self.error
        self.held.append(grant)

    def cancel(self, token: str, end: End) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def make(scheduler: Scheduler, hands: Hands) -> Iterator[Callable[..., Executor]]:
    made: list[Executor] = []

    def executor(**options: Any) -> Executor:
        runners = {"hands": lambda executor: hands}
        options = {"clock": SystemClock(), "slots": 4, "heartbeat": 0.01, **options}
        made.append(Executor(scheduler, runners, default_runner="hands", **options))
        made[-1].start()
        return made[-1]

    yield executor
    for each in made:
        each.close()


def begun(scheduler: Scheduler, hands: Hands) -> Grant:
    """An attempt that runs."""
    scheduler.grants.append(grant("a"))
    eventually(lambda: hands.held, "an attempt")
    return hands.held[0]


def test_an_end_that_is_not_delivered_yet_is_named_by_heartbeats(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    executor = make()
    started = begun(scheduler, hands)
    scheduler.is_away = True
    executor.done(started, Outcome(End.SUCCESS))
    scheduler.beats.clear()
    eventually(lambda: len(scheduler.beats) >= 3, "heartbeats")
    assert all(tokens == [started.token] for tokens in scheduler.beats)
    scheduler.is_away = False
    eventually(lambda: scheduler.reports, "the report")
    eventually(lambda: scheduler.beats[-1] == [], "a heartbeat without it")


def test_a_drain_does_not_overtake_an_end_that_is_just_being_written_down(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    masking, go_on = threading.Event(), threading.Event()

    def mask(text: str) -> str:
        masking.set()
        go_on.wait(PATIENCE)
        return text

    executor = make(mask=mask)
    started = begun(scheduler, hands)
    ending = threading.Thread(target=executor.done, args=(started, Outcome(End.FAILED, "words")))
    ending.start()
    assert masking.wait(PATIENCE)
    drained: list[int] = []
    draining = threading.Thread(
        target=lambda: (executor.drain(PATIENCE), drained.append(len(scheduler.reports)))  # type: ignore[func-returns-value]
    )
    draining.start()
    eventually(lambda: 0 in scheduler.claims, "the drain")
    draining.join(0.1)  # it has nothing to wait for but the report
    go_on.set()
    for thread in (ending, draining):
        thread.join(PATIENCE)
    assert drained == [1]


def test_a_runner_that_cannot_start_anything_refuses_and_the_executor_goes_on(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    executor = make()
    hands.error = RuntimeError("can't start new thread")
    scheduler.grants.append(grant("a"))
    eventually(lambda: scheduler.reports, "a report")
    assert [(r.end, r.error) for r in scheduler.reports] == [(End.REFUSED, "can't start new thread")]
    hands.error = None
    started = begun(scheduler, hands)
    executor.done(started, Outcome(End.SUCCESS))
    eventually(lambda: len(scheduler.reports) == 2, "the other report")
    assert scheduler.reports[1].end is End.SUCCESS


def test_an_attempt_with_a_problem_fails_with_its_words_and_is_not_started(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    make()
    scheduler.grants.append(msgspec.structs.replace(grant("a"), problem="too much of it"))
    eventually(lambda: scheduler.reports, "a report")
    assert [(r.end, r.error) for r in scheduler.reports] == [(End.FAILED, "too much of it")]
    assert hands.held == []


def test_an_error_nobody_thought_of_does_not_end_the_claims(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler.errors.append(ZeroDivisionError("a bug"))
    executor = make()
    executor.done(begun(scheduler, hands), Outcome(End.SUCCESS))
    eventually(lambda: scheduler.reports, "a report")
    assert executor.is_alive()
    assert "a bug" in caplog.text
