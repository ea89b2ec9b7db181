"""What was promised, as questions to the evidence. They know nothing of the code that keeps the promises."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from ppacer.clock import to_text
from ppacer.torture.commander import DAG, Answer, Book
from ppacer.torture.ledger import Line
from ppacer.torture.rows import Attempt, Rows

AT_MOST_ONCE = "once"
GOOD, FINAL = "SUCCESS", ("SUCCESS", "FAILED", "CANCELLED")


class Kind(StrEnum):
    """What sort of broken promise a finding is."""

    LOST = "lost"
    DOUBLED = "doubled"
    STUCK = "stuck"
    WRONG = "wrong"


class Finding(NamedTuple):
    """One broken promise, in words."""

    kind: Kind
    words: str


class Evidence(NamedTuple):
    """Everything there is at one moment. The ledger was read after the rows: it may know more."""

    rows: Rows
    ledger: Sequence[Line]
    book: Book


Check = Callable[[Evidence], Iterator[Finding]]


def name_of(attempt: Attempt | Line) -> str:
    """Which attempt it is, in words."""
    return f"attempt {attempt.retry} of {attempt.task_id} in run {attempt.run_id}"


# --- what was answered ----------------------------------------------------------------------------------


def every_acknowledged_trigger_has_its_run(evidence: Evidence) -> Iterator[Finding]:
    """Each answer names a run of its own, which is written as it was answered."""
    runs, triggers = evidence.rows.runs, evidence.book.of("trigger")
    for answer in triggers:
        run = runs.get(answer.run_id)
        exec_ts = None if answer.exec_ts is None else to_text(answer.exec_ts)
        if run is None or (run.dag_id, run.exec_ts) != (answer.dag_id, exec_ts):
            yield Finding(Kind.LOST, f"the trigger answered with run {answer.run_id} has no such run: {run}")
    for run_id, count in Counter(answer.run_id for answer in triggers).items():
        if count > 1:
            yield Finding(Kind.DOUBLED, f"run {run_id} was the answer to {count} triggers")


def no_run_begins_by_itself(evidence: Evidence) -> Iterator[Finding]:
    """At most as many runs as were asked for, those counted of which nobody knows the end."""
    begun = sum(run.dag_id == DAG for run in evidence.rows.runs.values())
    asked = len(evidence.book.of("trigger")) + evidence.book.unclear["trigger", 0]
    if begun > asked:
        yield Finding(Kind.DOUBLED, f"{begun} runs were begun, but only {asked} asked for")


def every_acknowledged_restart_is_written_once(evidence: Evidence) -> Iterator[Finding]:
    """As many restarts as were answered, and at most as many as were asked for."""
    answered = Counter(answer.run_id for answer in evidence.book.of("restart"))
    for run_id, run in evidence.rows.runs.items():
        least, written = answered[run_id], evidence.rows.restarts.get(run_id, 0)
        most = least + evidence.book.unclear["restart", run_id]
        if written < least:
            yield Finding(Kind.LOST, f"run {run_id}: {least} restarts were answered, {written} are written")
        if written > most or written != run.restarts:
            yield Finding(
                Kind.WRONG, f"run {run_id}: {written} restarts, counted {run.restarts}, asked {most}"
            )


def every_acknowledged_cancel_is_written(evidence: Evidence) -> Iterator[Finding]:
    """Unless the run was restarted afterwards, or may have been."""
    latest: dict[int, Answer] = {answer.run_id: answer for answer in evidence.book.answers}
    for run_id, answer in latest.items():
        run = evidence.rows.runs.get(run_id)
        if answer.command != "cancel" or run is None or evidence.book.unclear["restart", run_id]:
            continue
        if run.cancel_requested_at is None:
            yield Finding(Kind.LOST, f"the cancel of run {run_id} was answered, and is not written")


# --- what was done --------------------------------------------------------------------------------------


def no_success_without_its_work(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 21: the winning attempt itself has done the work."""
    done = {line.token for line in evidence.ledger if line.word == "did"}
    for attempt in evidence.rows.attempts:
        if attempt.status == GOOD and attempt.token not in done:
            yield Finding(Kind.WRONG, f"{name_of(attempt)} is SUCCESS, but has not done its work")


def a_task_has_one_winner_and_nothing_follows_it(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 2: what has succeeded is not tried again."""
    for attempts in evidence.rows.by_task().values():
        for winner in (a for a in attempts if a.status == GOOD):
            if winner != attempts[-1]:
                yield Finding(
                    Kind.DOUBLED, f"{name_of(winner)} is SUCCESS, and {name_of(attempts[-1])} follows"
                )


def every_execution_was_granted_and_happened_once(evidence: Evidence) -> Iterator[Finding]:
    """After the rows were read, attempts may have been granted: only those with a row are compared."""
    rows = {(a.run_id, a.task_id, a.retry): a.token for a in evidence.rows.attempts}
    for line, count in Counter(line for line in evidence.ledger if line.word == "began").items():
        if count > 1:
            yield Finding(Kind.DOUBLED, f"{name_of(line)} was executed {count} times")
        if rows.get((line.run_id, line.task_id, line.retry)) != line.token:
            yield Finding(Kind.WRONG, f"{name_of(line)} was executed, but never granted as {line.token}")


def attempts_of_a_task_do_not_overlap(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 1: once a newer attempt has begun, an older one is not heard of any more."""
    newest: dict[tuple[int, str], int] = {}
    for line in evidence.ledger:
        before = newest.get((line.run_id, line.task_id), 0)
        if line.retry < before:
            yield Finding(Kind.DOUBLED, f"{name_of(line)} went on beside attempt {before}")
        newest[line.run_id, line.task_id] = max(before, line.retry)


def at_most_once_is_at_most_once(evidence: Evidence) -> Iterator[Finding]:
    """Once in each life of the run: a restart by hand is a person's decision."""
    restart = {a.token: a.restart for a in evidence.rows.attempts}
    counts = Counter(
        (line.run_id, restart.get(line.token))
        for line in evidence.ledger
        if line.task_id == AT_MOST_ONCE and line.word == "began"
    )
    for (run_id, _), count in counts.items():
        if count > 1:
            yield Finding(Kind.DOUBLED, f"the task {AT_MOST_ONCE} of run {run_id} was executed {count} times")


def nothing_begins_before_its_parents_are_done(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 4."""
    done: set[tuple[int, str]] = set()
    for line in evidence.ledger:
        if line.word == "did":
            done.add((line.run_id, line.task_id))
        run = evidence.rows.runs.get(line.run_id)
        text = evidence.rows.parents.get((run.dag_id, line.task_id)) if run is not None else None
        for parent in json.loads(text or "[]"):
            if (line.run_id, parent) not in done:
                yield Finding(Kind.WRONG, f"{name_of(line)} began before {parent} was done")


# --- what is written ------------------------------------------------------------------------------------


def the_file_is_whole(evidence: Evidence) -> Iterator[Finding]:
    """SQLite finds nothing wrong with it."""
    for text in evidence.rows.damage:
        yield Finding(Kind.LOST, f"the database is damaged: {text}")


def attempt_numbers_have_no_gap(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 3."""
    for attempts in evidence.rows.by_task().values():
        numbers = [attempt.retry for attempt in attempts]
        if numbers != list(range(len(numbers))):
            yield Finding(Kind.WRONG, f"{name_of(attempts[0])} and its successors have the numbers {numbers}")


def the_end_of_a_run_follows_from_its_tasks(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 6."""
    latest: dict[int, list[Attempt]] = defaultdict(list)
    for attempts in evidence.rows.by_task().values():
        latest[attempts[0].run_id].append(attempts[-1])
    tasks = Counter(dag_id for dag_id, _ in evidence.rows.parents)
    for run in evidence.rows.runs.values():
        # after a restart what has not succeeded counts for nothing
        ends = [a.status for a in latest[run.run_id] if a.status == GOOD or a.restart == run.restarts]
        is_over = len(ends) == tasks[run.dag_id] and {*ends} <= {*FINAL, "UPSTREAM_FAILED"}
        if is_over != (run.status in FINAL):
            yield Finding(Kind.WRONG, f"run {run.run_id} is {run.status}, and its tasks are {sorted(ends)}")
        if is_over and (run.status == GOOD) != (set(ends) == {GOOD}):
            yield Finding(Kind.WRONG, f"run {run.run_id} ended {run.status}, and its tasks {sorted(ends)}")


def every_point_has_its_run_or_a_reason(evidence: Evidence) -> Iterator[Finding]:
    """Invariants 7 and 8: one stretch of points follows the other, and each that shall run has its run."""
    have = {run.exec_ts for run in evidence.rows.runs.values() if run.trigger == "schedule"}
    wanted = [point.schedule_ts for point in evidence.rows.points if point.event in ("REGULAR", "CAUGHT_UP")]
    for ts in sorted({*wanted} - have):
        yield Finding(Kind.LOST, f"the point {ts} has no run")
    for ts in sorted(have - {*wanted}):
        yield Finding(Kind.DOUBLED, f"the run of {ts} has no point")
    for ts, count in Counter(wanted).items():
        if count > 1:
            yield Finding(Kind.DOUBLED, f"the point {ts} is recorded {count} times")
    points = [point for point in evidence.rows.points if point.event != "MANUALLY_TRIGGERED"]
    for before, after in pairwise(points):
        if before.next_schedule_ts != after.schedule_ts:
            yield Finding(
                Kind.LOST, f"no word about the points from {before.next_schedule_ts} to {after.schedule_ts}"
            )


def every_failure_has_one_alert(evidence: Evidence) -> Iterator[Finding]:
    """Invariant 32; that there are not two is a constraint of the table."""
    failed = {(a.run_id, a.task_id, a.retry) for a in evidence.rows.attempts if a.status == "FAILED"}
    for run_id, task_id, retry in sorted(failed ^ evidence.rows.alerts):
        yield Finding(
            Kind.WRONG,
            f"attempt {retry} of {task_id} in run {run_id}: failure without alert, or alert without",
        )


CHECKS: tuple[Check, ...] = (
    every_acknowledged_trigger_has_its_run,
    no_run_begins_by_itself,
    every_acknowledged_restart_is_written_once,
    every_acknowledged_cancel_is_written,
    no_success_without_its_work,
    a_task_has_one_winner_and_nothing_follows_it,
    every_execution_was_granted_and_happened_once,
    attempts_of_a_task_do_not_overlap,
    at_most_once_is_at_most_once,
    nothing_begins_before_its_parents_are_done,
    the_file_is_whole,
    attempt_numbers_have_no_gap,
    the_end_of_a_run_follows_from_its_tasks,
    every_point_has_its_run_or_a_reason,
    every_failure_has_one_alert,
)


def nothing_is_stuck(rows: Rows) -> Iterator[Finding]:
    """To be asked when there was time enough for everything to end."""
    for run in rows.open_runs:
        waiting = [
            f"{a.task_id} {a.status}" for a in rows.attempts if a.run_id == run.run_id and a.ended_at is None
        ]
        yield Finding(Kind.STUCK, f"run {run.run_id} is {run.status} and does not end: {', '.join(waiting)}")
