"""The verifier must see every broken promise: here each is broken by hand, in a story that is all right."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ppacer.torture.commander import Answer, Book
from ppacer.torture.ledger import Line
from ppacer.torture.promises import CHECKS, Evidence, Kind, nothing_is_stuck
from ppacer.torture.rows import Attempt, Point, Rows, Run
from ppacer.torture.verifier import Verifier

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXEC_TS, LATER, LATEST = (f"2026-11-23T12:00:0{second}.000000Z" for second in (0, 1, 2))
RUN = Run(1, "torture", EXEC_TS, "FAILED", "manual", 1, None, LATER)
CANCELLED = Run(2, "torture", LATER, "CANCELLED", "manual", 0, LATER, LATER)
TICK = Run(3, "ticks", LATER, "SUCCESS", "schedule", 0, None, LATEST)


def attempt(run_id: int, task_id: str, retry: int, status: str, **more: Any) -> Attempt:
    token = f"{run_id}{task_id}{retry}"
    return Attempt(run_id, task_id, retry, more.get("restart", 0), status, None, token, LATER, None)


def story() -> Evidence:
    """A run that failed, was restarted, and failed again in `once`; a cancelled one; one of the schedule."""
    book = Book()
    book.answers += [
        Answer("trigger", 1, "torture", AT),
        Answer("trigger", 2, "torture", AT.replace(second=1)),
        Answer("restart", 1, "torture", None),
        Answer("cancel", 2, "torture", None),
    ]
    attempts = [
        attempt(1, "first", 0, "FAILED_PENDING_RETRY"),
        attempt(1, "first", 1, "SUCCESS"),
        attempt(1, "once", 0, "FAILED"),
        attempt(1, "once", 1, "FAILED", restart=1),
        attempt(2, "first", 0, "CANCELLED"),
        attempt(2, "once", 0, "CANCELLED"),
        attempt(3, "tick", 0, "SUCCESS"),
    ]
    rows = Rows(
        damage=[],
        runs={run.run_id: run for run in (RUN, CANCELLED, TICK)},
        attempts=attempts,
        restarts={1: 1},
        parents={("torture", "first"): "[]", ("torture", "once"): '["first"]', ("ticks", "tick"): "[]"},
        points=[
            Point("ticks", EXEC_TS, LATER, "SKIPPED"),
            Point("ticks", LATER, LATEST, "REGULAR"),
            Point("torture", EXEC_TS, None, "MANUALLY_TRIGGERED"),
        ],
        alerts={(1, "once", 0), (1, "once", 1)},
    )
    ledger = [
        *lines(1, "first", 0, "began"),
        *lines(1, "first", 1, "began", "went_on", "did"),
        *lines(1, "once", 0, "began"),
        *lines(1, "once", 1, "began", "went_on", "did"),
        *lines(3, "tick", 0, "began", "went_on", "did"),
    ]
    return Evidence(rows, ledger, book)


def lines(run_id: int, task_id: str, retry: int, *words: str) -> list[Line]:
    return [Line(word, run_id, task_id, retry, f"{run_id}{task_id}{retry}") for word in words]


def found(evidence: Evidence) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.words) for check in CHECKS for finding in check(evidence)]


def with_rows(**changes: Any) -> Callable[[Evidence], Evidence]:
    return lambda e: e._replace(
        rows=replace(e.rows, **{n: c(getattr(e.rows, n)) for n, c in changes.items()})
    )


def with_ledger(change: Callable[[list[Line]], list[Line]]) -> Callable[[Evidence], Evidence]:
    return lambda e: e._replace(ledger=change(list(e.ledger)))


def without(key: Any) -> Callable[[dict[Any, Any]], dict[Any, Any]]:
    return lambda mapping: {name: value for name, value in mapping.items() if name != key}


def with_run(run: Run) -> Callable[[dict[int, Run]], dict[int, Run]]:
    return lambda runs: {**runs, run.run_id: run}


def with_attempt(at: int, **changes: Any) -> Callable[[list[Attempt]], list[Attempt]]:
    return lambda rows: [row._replace(**changes) if n == at else row for n, row in enumerate(rows)]


LIES: dict[str, tuple[Callable[[Evidence], Evidence], Kind, str]] = {
    "a run vanishes": (with_rows(runs=without(2)), Kind.LOST, "no such run"),
    "a run has another time": (
        with_rows(runs=with_run(CANCELLED._replace(exec_ts=LATEST))),
        Kind.LOST,
        "no such run",
    ),
    "a run comes from nowhere": (
        with_rows(runs=with_run(CANCELLED._replace(run_id=4))),
        Kind.DOUBLED,
        "only 2 asked for",
    ),
    "a restart vanishes": (with_rows(restarts=without(1)), Kind.LOST, "1 restarts were answered"),
    "a restart happens twice": (with_rows(restarts=lambda _: {1: 2}), Kind.WRONG, "2 restarts"),
    "a cancel vanishes": (
        with_rows(runs=with_run(CANCELLED._replace(cancel_requested_at=None))),
        Kind.LOST,
        "the cancel of run 2",
    ),
    "a winner has not done its work": (with_ledger(lambda x: x[:3] + x[4:]), Kind.WRONG, "has not done"),
    "an attempt follows the winner": (
        with_rows(attempts=lambda x: [*x, attempt(3, "tick", 1, "RUNNING")]),
        Kind.DOUBLED,
        "attempt 1 of tick in run 3 follows",
    ),
    "an attempt is executed twice": (with_ledger(lambda x: [*x, x[0]]), Kind.DOUBLED, "2 times"),
    "an attempt has another token": (with_rows(attempts=with_attempt(0, token="x")), Kind.WRONG, "granted"),
    "an attempt was never granted": (with_rows(attempts=lambda x: x[:-1]), Kind.WRONG, "never granted"),
    "an orphan goes on": (
        with_ledger(lambda x: [*x, *lines(1, "first", 0, "went_on")]),
        Kind.DOUBLED,
        "beside attempt 1",
    ),
    "what may run once runs twice": (
        with_rows(attempts=with_attempt(3, restart=0)),
        Kind.DOUBLED,
        "the task once of run 1",
    ),
    "a task begins too early": (with_ledger(lambda x: [*x[4:], *x[:4]]), Kind.WRONG, "began before first"),
    "the file is damaged": (with_rows(damage=lambda _: ["page 3"]), Kind.LOST, "page 3"),
    "a number is left out": (with_rows(attempts=with_attempt(6, retry=1)), Kind.WRONG, "the numbers [1]"),
    "a run ends too well": (
        with_rows(runs=with_run(RUN._replace(status="SUCCESS"))),
        Kind.WRONG,
        "run 1 ended SUCCESS",
    ),
    "a run ends too early": (with_rows(attempts=with_attempt(6, status="RUNNING")), Kind.WRONG, "run 3 is"),
    "a run does not end": (
        with_rows(runs=with_run(TICK._replace(status="RUNNING"))),
        Kind.WRONG,
        "run 3 is RUNNING",
    ),
    "a point has no run": (with_rows(runs=without(3)), Kind.LOST, f"the point {LATER} has no run"),
    "a run has no point": (
        with_rows(points=lambda x: [x[0]._replace(next_schedule_ts=LATEST)]),
        Kind.DOUBLED,
        f"the run of {LATER} has no point",
    ),
    "a point is recorded twice": (
        with_rows(points=lambda x: [x[0], x[1]._replace(next_schedule_ts=LATER), x[1]]),
        Kind.DOUBLED,
        "recorded 2 times",
    ),
    "a stretch of points is left out": (
        with_rows(points=lambda x: [x[0]._replace(next_schedule_ts=EXEC_TS), x[1]]),
        Kind.LOST,
        "no word about the points",
    ),
    "an alert vanishes": (with_rows(alerts=lambda _: {(1, "once", 1)}), Kind.WRONG, "without alert"),
}


def test_a_story_that_is_all_right_has_no_findings() -> None:
    assert found(story()) == []
    assert list(nothing_is_stuck(story().rows)) == []
    assert Verifier().look(story()) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_broken_promise_is_found(lie: str) -> None:
    change, kind, words = LIES[lie]
    findings = found(change(story()))
    assert any(k is kind and words in text for k, text in findings), findings


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_finds_some_lie(check: Callable[..., Any]) -> None:
    assert any(list(check(change(story()))) for change, _, _ in LIES.values())


def test_a_restarted_run_may_wait_for_room() -> None:
    waiting = CANCELLED._replace(status="SCHEDULED", restarts=1, cancel_requested_at=None, ended_at=None)
    evidence = with_rows(runs=with_run(waiting), restarts=lambda _: {1: 1, 2: 1})(story())
    evidence.book.answers.append(Answer("restart", 2, "torture", None))
    assert found(evidence) == []


def test_two_triggers_with_one_answer_are_found() -> None:
    evidence = story()
    evidence.book.answers.append(evidence.book.answers[0])
    assert any("the answer to 2 triggers" in text for _, text in found(evidence))


def test_what_had_ended_may_not_change() -> None:
    verifier = Verifier()
    assert verifier.look(story()) == []
    other = with_rows(attempts=with_attempt(2, error="another"))(story())
    assert ["had ended, and is another" in text for _, text in verifier.look(other)] == [True]
    gone = with_rows(attempts=lambda x: [*x[:4], *x[5:]])(story())
    assert any("is gone" in text for _, text in verifier.look(gone))


def test_a_run_that_does_not_end_is_stuck() -> None:
    stuck = with_rows(
        runs=with_run(TICK._replace(ended_at=None, status="RUNNING")),
        attempts=with_attempt(6, status="RUNNING", ended_at=None),
    )(story())
    assert [tuple(f) for f in nothing_is_stuck(stuck.rows)] == [
        (Kind.STUCK, "run 3 is RUNNING and does not end: tick RUNNING")
    ]
