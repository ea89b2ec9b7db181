"""The executor between a scheduler and runners that do what the test says."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from executor.world import PATIENCE, eventually, grant
from ppacer.clock import SystemClock
from ppacer.errors import (
    ConfigError,
    NotAdmittedError,
    NotFoundError,
    NotTakenError,
    PpacerError,
    SchedulerUnavailable,
    StandsBy,
)
from ppacer.executor import executor as module
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
        self.news: list[Grant] = []  # with the answer to the next report
        self.reports: list[Report] = []
        self.batches: list[int] = []  # how many of them came at a time
        self.beats: list[Sequence[str]] = []
        self.claims: list[int] = []
        self.hellos: list[Hello] = []
        self.goodbyes = 0
        self.refused: set[str] = set()  # tasks whose reports with a result are never taken

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
        if any(report.task_id in self.refused and report.result for report in reports):
            raise NotTakenError("413")
        self.reports += reports
        self.batches.append(len(reports))
        news, self.news = self.news, []
        return Answer(news)

    def heartbeat(self, executor: str, tokens: Sequence[str]) -> Answer:
        self.beats.append(tokens)
        return Answer()

    def log(self, records: Sequence[LogRecord]) -> None: ...

    def hello(self, hello: Hello) -> Welcome:
        self.hellos.append(hello)
        if self.errors:
            raise self.errors.pop()
        return Welcome(lease=0.03)

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
        options = {"clock": SystemClock(), "slots": 4, "hello": Hello("e"), **options}
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


def test_a_drain_that_is_hurried_before_it_begins_is_told_all_the_same(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    executor = make()
    executor.hurry()
    scheduler.claims.clear()
    executor.stop_claiming()
    assert 0 in scheduler.claims


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


# -- what the scheduler refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [NotAdmittedError("wrong token"), NotFoundError("no"), ConfigError("host")])
def test_who_is_not_let_in_at_the_first_hello_ends(
    make: Callable[..., Executor], scheduler: Scheduler, error: PpacerError
) -> None:
    scheduler.errors.append(error)
    executor = make()
    eventually(lambda: not executor.is_alive(), "the end of its threads")
    assert executor.refusal is error
    assert len(scheduler.hellos) == 1


def test_who_was_let_in_before_goes_on_and_says_so_once(
    make: Callable[..., Executor], scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    executor = make()
    eventually(lambda: scheduler.claims, "the first claim")
    scheduler.errors += [NotAdmittedError("revoked")] * 3
    eventually(lambda: not scheduler.errors, "three refusals")
    claims = len(scheduler.claims)
    eventually(lambda: len(scheduler.claims) > claims + 1, "a claim after them")
    assert executor.refusal is None
    assert caplog.text.count("revoked") == 1


def two_at_once(executor: Executor, scheduler: Scheduler, hands: Hands) -> list[Grant]:
    """Two attempts that the answer to a report has begun."""
    first, more = begun(scheduler, hands), [grant("b"), grant("c")]
    scheduler.news = list(more)
    executor.done(first, Outcome(End.SUCCESS))
    eventually(lambda: len(hands.held) == 3, "both attempts")
    return more


def test_what_has_begun_together_and_ends_soon_is_reported_together(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(module, "IN_THREADS", ("hands",))
    executor = make()
    b, c = two_at_once(executor, scheduler, hands)
    executor.done(b, Outcome(End.SUCCESS))
    threading.Event().wait(0.1)
    assert [report.task_id for report in scheduler.reports] == ["a"]
    executor.done(c, Outcome(End.SUCCESS))
    eventually(lambda: len(scheduler.reports) == 3, "the reports")
    assert scheduler.batches == [1, 2]


def test_a_long_task_does_not_hold_up_the_end_of_one_that_has_begun_with_it(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_THREADS", ("hands",))
    executor = make()
    b, _ = two_at_once(executor, scheduler, hands)
    threading.Event().wait(0.1)  # and it does not matter when that one ends
    executor.done(b, Outcome(End.SUCCESS))
    eventually(lambda: len(scheduler.reports) == 2, "the report")


def test_what_runs_in_processes_is_reported_as_it_ends(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 2 * PATIENCE)
    executor = make()
    b, _ = two_at_once(executor, scheduler, hands)
    executor.done(b, Outcome(End.SUCCESS))
    eventually(lambda: len(scheduler.reports) == 2, "the report")


def test_a_report_that_is_never_taken_blocks_no_other_and_is_told_without_its_result(
    make: Callable[..., Executor], scheduler: Scheduler
) -> None:
    executor = make()
    scheduler.refused.add("b")
    scheduler.is_away = True
    for task_id in "abc":
        executor.done(grant(task_id), Outcome(End.SUCCESS, result='"large"'))
    scheduler.is_away = False
    eventually(lambda: len(scheduler.reports) == 3, "all reports")
    assert [(r.task_id, r.end, r.result) for r in scheduler.reports] == [
        ("a", End.SUCCESS, '"large"'),
        ("b", End.FAILED, None),
        ("c", End.SUCCESS, '"large"'),
    ]
    assert scheduler.reports[1].error == "its end (SUCCESS) could not be reported as it was: 413"


def test_a_report_that_is_refused_in_any_form_is_left_out(
    make: Callable[..., Executor], scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, take = make(), scheduler.report

    def report(name: str, reports: Sequence[Report]) -> Answer:
        if any(report.task_id == "b" for report in reports):
            raise NotTakenError("422")
        return take(name, reports)

    monkeypatch.setattr(scheduler, "report", report)
    for task_id in "abc":
        executor.done(grant(task_id), Outcome(End.SUCCESS))
    eventually(lambda: len(scheduler.reports) == 2, "the two others")
    assert [report.task_id for report in scheduler.reports] == ["a", "c"]
    eventually(lambda: scheduler.beats[-1] == [], "a heartbeat without it")


# -- what it says about the scheduler ------------------------------------------------------------------------


def test_a_scheduler_that_stands_by_in_the_same_program_is_not_told_of(
    make: Callable[..., Executor],
    scheduler: Scheduler,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.0)
    scheduler.errors += [StandsBy("stands by")] * 3
    make()
    eventually(lambda: scheduler.claims, "a claim after them")
    assert caplog.text == ""


def test_a_heartbeat_that_is_answered_does_not_mean_that_the_scheduler_is_back(
    make: Callable[..., Executor],
    scheduler: Scheduler,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.0)
    make()
    eventually(lambda: scheduler.claims, "the first claim")
    scheduler.errors += [SchedulerUnavailable("away")] * 4
    eventually(lambda: not scheduler.errors, "four failures")
    eventually(lambda: "answers again" in caplog.text, "its return")
    assert len(scheduler.beats) > 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


# -- grants --------------------------------------------------------------------------------------------------


def test_a_grant_that_is_told_twice_is_one_attempt(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    executor = make()
    started = begun(scheduler, hands)
    executor._begin(msgspec.structs.replace(started, problem="too late"))
    assert executor.busy == 1
    scheduler.is_away = True
    executor.done(started, Outcome(End.SUCCESS))
    executor._begin(started)
    assert hands.held == [started]
    scheduler.is_away = False
    eventually(lambda: scheduler.reports, "the report")
    assert [report.end for report in scheduler.reports] == [End.SUCCESS]


def test_an_attempt_for_which_there_is_no_runner_was_not_begun(
    make: Callable[..., Executor], scheduler: Scheduler
) -> None:
    make()
    scheduler.grants.append(msgspec.structs.replace(grant("a"), runner="ray"))
    eventually(lambda: scheduler.reports, "a report")
    assert [(r.end, r.begun) for r in scheduler.reports] == [(End.REFUSED, False)]


def test_an_error_that_is_no_text_can_be_reported(
    make: Callable[..., Executor], scheduler: Scheduler, hands: Hands
) -> None:
    executor = make()
    executor.done(begun(scheduler, hands), Outcome(End.FAILED, "half \udc80" + "x" * 100_000))
    eventually(lambda: scheduler.reports, "the report")
    assert len(msgspec.json.encode(scheduler.reports[0])) < 20_000
