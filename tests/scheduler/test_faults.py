"""The database refuses: afterwards memory is what the rows say, nothing is lost or doubled, answers are true.

A commit that raises may have happened. The oracle compares memory with the rows after every step.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ppacer.engine.changes import DagMarked
from ppacer.errors import CommandError, ConflictError, SchedulerUnavailable, StoreError, StoreUnavailable
from ppacer.protocol import Answer, End
from ppacer.schedule import Fixed
from ppacer.scheduler import CancelRun, PauseDag, RestartRun, State, TriggerRun, UnpauseDag
from ppacer.scheduler.requests import Ask, Claim, Heartbeat, Reports, Request
from ppacer.scheduler.task_scheduler import Session
from ppacer.store import StaleWrite
from scheduler.harness import T0, World, at, dag, failing, seconds

Make = Callable[..., World]

ERRORS = [
    StoreUnavailable("the database is away"),
    StaleWrite("touched 0 rows of 1"),
    StoreError("constraint failed"),
]
KINDS = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
WHENS = pytest.mark.parametrize("when", ["before", "after"])
TIMES = pytest.mark.parametrize("times", [1, 2, 3])


def recover(w: World) -> None:
    """Time for the scheduler to find the database in order again."""
    w.run(5, step=1)
    assert w.scheduler.state is State.RUNNING


def settled(w: World, request: Request) -> Any:
    """The answer, which must come at last; an exception as a value."""
    for _ in range(10):
        if request.future.done():
            break
        w.jump(1)
        w.send()
    assert request.future.done(), f"{request.ask} was never answered"
    return request.future.exception(0) or request.future.result(0)


# -- commands ------------------------------------------------------------------------------------------------


@KINDS
@WHENS
@TIMES
def test_a_trigger_is_answered_with_its_run_or_did_not_happen(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a"))
    w.store.faults = list(failing(when, error, times))
    [request] = w.send(TriggerRun("d"))
    reply = settled(w, request)
    recover(w)
    if isinstance(reply, Exception):
        assert w.runs() == []
    else:
        assert w.runs() == [(reply.exec_ts, "RUNNING")]
    if times == 1 and not (type(error) is StoreUnavailable and when == "before"):
        assert not isinstance(reply, Exception)


@KINDS
@WHENS
@TIMES
def test_of_many_triggers_in_a_batch_each_has_a_true_answer(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a"), dag("e", "a"))
    w.store.faults = list(failing(when, error, times))
    requests = w.send(*(TriggerRun(name) for name in "dedde"))
    replies = [settled(w, request) for request in requests]
    recover(w)
    told = sorted((ref.run_id, ref.dag_id, ref.exec_ts) for ref in replies if not isinstance(ref, Exception))
    rows = w.rows("SELECT RunId, DagId, ExecTs FROM dagruns ORDER BY RunId")
    assert [(run_id, dag_id) for run_id, dag_id, _ in told] == [(row["RunId"], row["DagId"]) for row in rows]


@KINDS
@WHENS
@TIMES
def test_a_cancel_happened_if_and_only_if_it_was_answered_so(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a", "b"))
    ex = w.executor(slots=1)
    run = w.trigger()
    ex.claim()
    w.store.faults = list(failing(when, error, times))
    [request] = w.send(CancelRun(run))
    reply = settled(w, request)
    recover(w)
    ex.beat()
    [row] = w.rows("SELECT CancelRequestedAt FROM dagruns")
    assert (row["CancelRequestedAt"] is None) == isinstance(reply, Exception)
    assert ex.cancelled == ([] if isinstance(reply, Exception) else [ex.holding("a").token])


@KINDS
@WHENS
@TIMES
def test_a_restart_happens_once_if_and_only_if_it_was_answered_so(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.executor().finish(End.FAILED)
    w.store.faults = list(failing(when, error, times))
    [request] = w.send(RestartRun(run))
    reply = settled(w, request)
    recover(w)
    assert len(w.rows("SELECT * FROM dagrunrestarts")) == (0 if isinstance(reply, Exception) else 1)


@WHENS
def test_a_restart_and_a_cancel_in_one_batch_happen_once_each(world: Make, when: str) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.executor().finish(End.FAILED)
    w.store.faults = list(failing(when, StoreError("broken pipe")))
    restart, cancel = w.send(RestartRun(run), CancelRun(run))
    assert settled(w, restart).run_id == settled(w, cancel).run_id == run
    assert w.status(run) == "CANCELLED"
    assert len(w.rows("SELECT * FROM dagrunrestarts")) == 1


@KINDS
@WHENS
@TIMES
def test_a_pause_happened_if_and_only_if_it_was_answered_so(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(1000))))
    w.store.faults = list(failing(when, error, times))
    [request] = w.send(PauseDag("d"))
    reply = settled(w, request)
    recover(w)
    assert (w.dag_row()["PausedAt"] is None) == isinstance(reply, Exception)
    w.do(PauseDag("d"))
    w.run(2000, step=20)
    w.store.faults = list(failing(when, error, times))
    [request] = w.send(UnpauseDag("d"))
    reply = settled(w, request)
    recover(w)
    assert (w.dag_row()["PausedAt"] is not None) == isinstance(reply, Exception)
    assert w.events().count("SKIPPED") == (0 if isinstance(reply, Exception) else 1)


def test_a_command_with_a_fault_of_its_own_fails_alone(world: Make) -> None:
    """One of many in a batch cannot be written; the others are."""
    w = world(dag("d", "a"), dag("e", "a"))

    def fault(changes: list[Any]) -> Any:
        return ("before", StoreError("no")) if any(getattr(c, "dag_id", "") == "e" for c in changes) else None

    w.store.fault = fault
    requests = w.send(TriggerRun("d"), TriggerRun("e"), TriggerRun("d"))
    replies = [settled(w, request) for request in requests]
    assert [isinstance(reply, Exception) for reply in replies] == [False, True, False]
    assert [len(w.runs(name)) for name in "de"] == [2, 0]


def test_a_request_that_trips_over_a_bug_fails_alone(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An assertion somewhere inside is no reason to stop everybody's work."""
    w = world(dag("d", "a"), dag("e", "a"))
    from ppacer.engine import Engine
    from ppacer.engine.events import Triggered

    real = Engine.handle

    def handle(self: Engine, event: Any, now: Any) -> Any:
        changes = real(self, event, now)
        assert not (isinstance(event, Triggered) and event.ref.dag_id == "e"), "a bug"
        return changes

    monkeypatch.setattr(Engine, "handle", handle)
    requests = w.send(TriggerRun("d"), TriggerRun("e"), TriggerRun("d"))
    replies = [settled(w, request) for request in requests]
    assert [isinstance(reply, Exception) for reply in replies] == [False, True, False]
    assert [len(w.runs(name)) for name in "de"] == [2, 0]


# -- executors -----------------------------------------------------------------------------------------------


@KINDS
@WHENS
@TIMES
def test_no_grant_of_a_claim_is_lost(world: Make, error: Exception, when: str, times: int) -> None:
    w = world(dag("d", "a", "b"))
    ex = w.executor()
    run = w.trigger()
    w.store.faults = list(failing(when, error, times))
    ex.claim()
    w.run(20, step=1, beat=[ex])
    assert sorted(grant.task_id for grant in ex.held.values()) == ["a", "b"]
    ex.finish()
    assert w.status(run) == "SUCCESS"


@WHENS
def test_a_claim_that_was_answered_after_a_fault_is_no_open_poll(world: Make, when: str) -> None:
    w = world(dag("d", "a"))
    ex = w.executor(slots=2)
    w.trigger()
    w.store.faults = list(failing(when, StoreError("constraint failed")))
    assert len(ex.claim()) == 1
    w.trigger()  # a grant of it to whom nobody hears would be told to nobody
    assert len(ex.claim()) == 1


def test_a_poll_that_was_answered_with_an_error_is_no_open_poll() -> None:
    session = Session("x")
    session.poll = Request(Claim("x", 1, 20.0))
    was_waiting = session.is_waiting
    session.poll.answer(StoreError("constraint failed"))
    assert (was_waiting, session.is_waiting) == (True, False)
    session.end_poll()
    assert session.poll is None


@KINDS
@WHENS
@TIMES
def test_a_report_counts_once_and_its_answer_is_true(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a", "b: a", configs={"a": {"retries": 1}}))
    ex = w.executor(slots=1)
    run = w.trigger()
    ex.claim()
    w.store.faults = list(failing(when, error, times))
    request = ex.ask(ex.reports((ex.held.pop(ex.holding("a").token), End.SUCCESS), result="1"))
    w.send(request)
    reply = settled(w, request)
    recover(w)
    if isinstance(reply, Answer):
        assert reply.accepted == [True]
        assert w.attempts(run, "a") == [("a", 0, "SUCCESS", None)]
    else:  # the executor keeps it and tells it again
        assert ex.absorb(w.do(request.ask)).accepted == [True]
    w.run(20, step=1, beat=[ex])
    ex.finish()
    assert w.attempts(run) == [("a", 0, "SUCCESS", None), ("b", 0, "SUCCESS", None)]


@KINDS
@WHENS
def test_reports_of_several_executors_in_one_batch_survive_a_fault(
    world: Make, error: Exception, when: str
) -> None:
    w = world(dag("d", *(f"t{n}" for n in range(6)), "z: " + " ".join(f"t{n}" for n in range(6))))
    one, two = w.executor("one", slots=3), w.executor("two", slots=3)
    run = w.trigger()
    one.claim()
    two.claim()
    w.store.faults = list(failing(when, error))
    requests = [
        ex.ask(ex.reports(*((grant, End.SUCCESS) for grant in ex.held.values()))) for ex in (one, two)
    ]
    one.held.clear()
    two.held.clear()
    w.send(*requests)
    assert [settled(w, request).accepted for request in requests] == [[True] * 3] * 2
    w.run(20, step=1, beat=[one, two])
    one.finish()
    two.finish()
    assert w.status(run) == "SUCCESS"
    assert len(w.attempts(run)) == 7


def test_a_task_that_may_run_once_only_survives_an_unclear_commit_of_its_grant(world: Make) -> None:
    """Nobody was told of the grant, so it can still be told; calling it lost would fail the task."""
    w = world(dag("d", "a", configs={"a": {"at_most_once": True}}))
    ex = w.executor()
    run = w.trigger()
    w.store.faults = list(failing("after"))
    ex.claim()
    w.run(20, step=1, beat=[ex])
    assert w.attempts(run) == [("a", 0, "RUNNING", None)]
    ex.finish()
    assert w.status(run) == "SUCCESS"


@pytest.mark.parametrize("bad", [1, 10, 100])
def test_results_that_cannot_be_read_delay_a_grant_and_lose_nothing(
    world: Make, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    w = world(dag("d", "a", "b: a", configs={"b": {"at_most_once": True}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    real, until = w.store.result, w.mono + bad

    def result(*args: Any) -> Any:
        if w.mono < until:
            raise StoreUnavailable("reading fails")
        return real(*args)

    monkeypatch.setattr(w.store, "result", result)
    ex.report(ex.holding("a"), result="5")
    w.run(bad - 0.5, step=1, beat=[ex])
    assert ex.held == {}
    w.run(10, step=1, beat=[ex])
    assert ex.holding("b").results == {"a": "5"}
    ex.finish()
    assert w.attempts(run) == [("a", 0, "SUCCESS", None), ("b", 0, "SUCCESS", None)]


@pytest.mark.parametrize("reads", range(4))
def test_what_is_only_lost_is_not_ended_while_the_database_is_away(
    world: Make, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    """A server that restarts may answer some questions and not the next: what is half read judges nothing."""
    w = world(dag("d", "a"), dag("e", "b"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.run(35)
    assert w.rows("SELECT 1 FROM dagruntasks WHERE LostAt IS NOT NULL")
    answers = iter([*[False] * reads, *[True] * 1000])
    real = w.store._rows

    def rows(query: Any) -> Any:
        w.store._refuse(next(answers))
        return real(query)

    monkeypatch.setattr(w.store, "_rows", rows)
    w.store.away = True
    w.send(TriggerRun("e"))
    ex.beat()
    assert ex.cancelled == []
    w.store.away = False
    monkeypatch.setattr(w.store, "_rows", real)
    recover(w)
    assert ex.report(ex.holding("a")).accepted == [True]
    assert w.attempts(run) == [("a", 0, "SUCCESS", None)]


def test_an_attempt_that_was_ended_by_mistake_is_granted_anew_and_its_report_told_twice_is_accepted(
    world: Make,
) -> None:
    w = world(dag("d", "a", "b", configs={"b": {"at_most_once": True}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    message = ex.reports((ex.holding("a"), End.CANCELLED), (ex.holding("b"), End.CANCELLED))
    ex.held.clear()
    assert ex.absorb(w.do(message)).accepted == [True, True]
    assert w.do(message).accepted == [True, True]
    ex.claim()
    ex.finish()
    assert w.attempts(run) == [
        ("a", 0, "FAILED_PENDING_RETRY", "HANDED_BACK"),
        ("a", 1, "SUCCESS", None),
        ("b", 0, "FAILED", "LOST"),
    ]


# -- timers and points ---------------------------------------------------------------------------------------


@KINDS
@WHENS
@TIMES
def test_a_retry_that_is_due_happens_once(world: Make, error: Exception, when: str, times: int) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 1, "retry_delay": seconds(10)}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), End.FAILED)
    w.run(9, beat=[ex])
    w.store.faults = list(failing(when, error, times))
    w.run(20, step=1, beat=[ex])
    assert ex.holding("a").retry == 1
    ex.finish()
    assert w.status(run) == "SUCCESS"


@KINDS
@WHENS
@TIMES
def test_a_lease_that_ends_during_a_fault_ends_once(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a"))
    dead, ex = w.executor("dead"), w.executor("alive")
    run = w.trigger()
    dead.claim()
    w.run(29, step=1)
    w.store.faults = list(failing(when, error, times))
    w.run(15, step=1, beat=[ex])
    assert ex.holding("a").retry == 1
    ex.finish()
    assert w.attempts(run) == [("a", 0, "FAILED_PENDING_RETRY", "LOST"), ("a", 1, "SUCCESS", None)]


@KINDS
@WHENS
@TIMES
def test_a_timeout_noticed_during_a_fault_is_a_timeout(
    world: Make, error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a", configs={"a": {"timeout": seconds(20)}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.run(49, beat=[ex])
    w.store.faults = list(failing(when, error, times))
    w.run(15, step=1, beat=[ex])
    assert w.attempts(run) == [("a", 0, "FAILED", "TIMED_OUT")]
    assert set(ex.cancelled) == {ex.seen[0].token}  # told as long as heartbeats name it


@KINDS
@WHENS
@TIMES
def test_every_point_that_falls_due_during_a_fault_has_its_run(
    world: Make, error: Exception, when: str, times: int
) -> None:
    names = "def"
    w = world(*(dag(name, "a", schedule=Fixed(T0, seconds(10))) for name in names))
    w.run(9)
    w.store.faults = list(failing(when, error, times))
    w.run(21, step=1)
    for name in names:
        row = w.dag_row(name)
        if row["DisabledReason"] is None:
            assert w.exec_times(name) == [T0, at(10), at(20), at(30)]
        else:  # it failed all by itself, twice in a row, and not for lack of a database
            assert not isinstance(error, StoreUnavailable)
            assert times > 1
            assert when == "before"


def test_a_dag_whose_points_cannot_be_written_is_disabled_and_the_others_go_on(world: Make) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(10))), dag("e", "a", schedule=Fixed(T0, seconds(10))))

    def fault(changes: list[Any]) -> Any:
        bad = any(type(c).__name__ == "PointRecorded" and c.dag_id == "d" for c in changes)
        return ("before", StoreError("constraint failed")) if bad else None

    w.store.fault = fault
    w.run(30)
    assert w.exec_times("e") == [T0, at(10), at(20), at(30)]
    assert "constraint failed" in w.dag_row("d")["DisabledReason"]
    assert w.dag_row("e")["DisabledReason"] is None
    heard = [change for change in w.changes if isinstance(change, DagMarked)]
    assert [change.disabled_reason for change in heard] == ["constraint failed"]  # open pages show it


def test_a_dag_whose_points_were_written_after_all_is_not_disabled(world: Make) -> None:
    """The batch failed, then the dag alone raised although it was committed."""
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(10))))
    w.run(9)
    w.store.faults = [*failing("before", StoreError("x")), *failing("after", StoreError("x"))]
    w.run(11, step=1)
    assert w.exec_times() == [T0, at(10), at(20)]
    assert w.dag_row()["DisabledReason"] is None


def test_a_dag_that_vanishes_from_the_database_does_not_stop_the_others(world: Make) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(10))), dag("e", "a", schedule=Fixed(T0, seconds(10))))
    w.run(10)
    w.checks = False
    w.write("DELETE FROM dags WHERE DagId = 'd'")
    w.run(20)
    assert w.exec_times("e") == [T0, at(10), at(20), at(30)]
    assert w.scheduler.state is State.RUNNING


def test_a_run_that_vanishes_from_the_database_does_not_stop_the_others(world: Make) -> None:
    w = world(dag("d", "a"), dag("e", "a"))
    ex = w.executor()
    gone, kept = w.trigger("d"), w.trigger("e")
    ex.claim()
    w.write("DELETE FROM dagruns WHERE RunId = ?", gone)
    w.write("DELETE FROM dagruntasks WHERE DagId = 'd'")
    w.checks = False
    requests = [ex.ask(ex.reports((grant, End.SUCCESS))) for grant in ex.held.values()]
    w.send(*requests)
    assert [settled(w, request).accepted for request in requests] == [[False], [True]]
    assert w.status(kept) == "SUCCESS"
    assert w.scheduler.state is State.RUNNING


# -- a database that is away for a while ---------------------------------------------------------------------


@pytest.mark.parametrize("part", ["away", "gone"])
def test_a_database_away_for_a_while_costs_nothing_but_time(world: Make, part: str) -> None:
    w = world(dag("d", "a", "b: a"), dag("s", "x", schedule=Fixed(at(60), seconds(60)), catch_up=True))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    setattr(w.store, part, True)
    report = ex.ask(ex.reports((ex.held.pop(ex.holding("a").token), End.SUCCESS), result="1"))
    w.send(report)
    assert w.degraded
    w.checks = False
    w.run(300, step=1, beat=[ex])
    assert w.degraded
    setattr(w.store, part, False)
    w.checks = True
    w.run(10, step=1, beat=[ex])
    assert settled(w, report).accepted == [True]
    assert w.scheduler.state is State.RUNNING
    ex.finish()
    assert w.attempts(run) == [("a", 0, "SUCCESS", None), ("b", 0, "SUCCESS", None)]
    assert w.exec_times("s") == [at(60 * n) for n in range(1, 6)]


@pytest.mark.parametrize("part", ["away", "gone"])
def test_commands_are_refused_with_the_reason_while_the_database_is_away(world: Make, part: str) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    setattr(w.store, part, True)
    commands: list[Ask] = [TriggerRun("d"), CancelRun(run), RestartRun(run), PauseDag("d"), UnpauseDag("d")]
    requests = w.send(*commands)
    w.checks = False
    w.run(10, step=1)
    later = w.send(*commands)
    setattr(w.store, part, False)
    w.run(5, step=1)
    before = [settled(w, request) for request in requests[:1] + requests[1:2]]
    assert all(isinstance(reply, SchedulerUnavailable) for reply in before)
    assert all("disk is full" in str(reply) for reply in before)
    refused = [settled(w, request) for request in later]
    if part == "gone":
        assert all(isinstance(reply, SchedulerUnavailable) for reply in refused)
        assert all("disk is full" in str(reply) for reply in refused)
    assert len(w.runs()) == 1
    assert w.dag_row()["PausedAt"] is None


def test_the_trouble_is_visible_and_goes_away(world: Make) -> None:
    w = world(dag("d", "a"))
    assert (w.scheduler.state, w.scheduler.trouble) == (State.RUNNING, None)
    w.store.gone = True
    w.send(TriggerRun("d"))
    assert w.scheduler.state is State.DEGRADED
    assert "disk is full" in str(w.scheduler.trouble)
    w.store.gone = False
    w.run(3, step=1)
    assert (w.scheduler.state, w.scheduler.trouble) == (State.RUNNING, None)


def test_an_idle_scheduler_is_degraded_as_long_as_nothing_can_be_written(world: Make) -> None:
    """On a full disk rows can be read all the time: only a write proves that writing works again."""
    w = world(dag("d", "a"))
    w.store.away = True
    w.send(TriggerRun("d"))
    w.checks = False
    for _ in range(20):
        w.run(1, step=1)
        assert w.degraded
    w.store.away = False
    w.run(3, step=1)
    assert w.scheduler.state is State.RUNNING


def test_an_idle_scheduler_on_a_full_disk_is_degraded_until_there_is_room(
    world: Make, small_disk: Path
) -> None:
    w = world(dag("d", "a" * 200), place=small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(b"x")
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    w.checks = False
    while not w.degraded:
        w.send(TriggerRun("d"))
    w.run(20, step=1)
    assert w.degraded
    assert "the disk is full" in str(w.scheduler.trouble)
    filler.unlink()
    w.run(3, step=1)
    assert w.scheduler.state is State.RUNNING
    w.trigger()


def test_a_trigger_whose_commit_was_unclear_is_answered_when_the_rows_can_be_read(world: Make) -> None:
    """The commit happened, then the database went away before anybody could look."""
    w = world(dag("d", "a"))

    def fault(changes: list[Any]) -> Any:
        w.store.gone = True
        w.store.fault = lambda changes: None
        return "after", StoreUnavailable("the line is dead")

    w.store.fault = fault
    [request] = w.send(TriggerRun("d"))
    assert w.degraded
    w.checks = False
    w.run(30, step=1)
    w.store.gone = False
    w.checks = True
    assert settled(w, request).run_id == 1
    assert len(w.runs()) == 1


@pytest.mark.parametrize("away", [20, 31, 300])
def test_no_attempt_is_lost_because_the_database_was_away(world: Make, away: int) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    w.run(away, step=1, beat=[ex])
    w.store.gone = False
    w.checks = True
    w.run(5, step=1, beat=[ex])
    ex.report(ex.holding("a"))
    assert w.attempts(run) == [("a", 0, "SUCCESS", None)]


@pytest.mark.parametrize("away", [20, 31, 300])
def test_an_end_that_could_not_be_reported_meanwhile_is_no_loss(world: Make, away: int) -> None:
    """The executor has ended it and says so as soon as anybody listens."""
    w = world(dag("d", "a", configs={"a": {"at_most_once": True}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    grant = ex.held.popitem()[1]
    w.run(away, step=1, beat=[ex])
    w.store.gone = False
    w.checks = True
    w.run(5, step=1, beat=[ex])
    ex.report(grant)
    assert w.attempts(run) == [("a", 0, "SUCCESS", None)]


def test_a_dead_executor_is_noticed_after_the_database_was_away(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    w.run(120, step=1)
    w.store.gone = False
    w.checks = True
    w.run(35, step=1)
    assert w.rows("SELECT LostAt FROM dagruntasks")[0]["LostAt"] is not None


def test_a_report_that_waits_for_the_database_does_not_keep_its_executor_alive(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    w = world(dag("d", "a", "b"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.store.away = True
    w.send(ex.ask(ex.reports((ex.holding("a"), End.SUCCESS))))
    w.run(40)
    w.store.away = False
    w.run(5)
    assert w.attempts(run, "a") == [("a", 0, "SUCCESS", None)]
    [row] = w.rows("SELECT LostAt FROM dagruntasks WHERE TaskId = 'b'")
    assert row["LostAt"] is not None
    assert not [record for record in caplog.records if record.exc_info]


def test_long_polls_and_heartbeats_are_answered_while_the_database_is_away(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    beat, poll = w.send(Heartbeat("remote", []), Claim("remote", 5, 10.0))
    assert beat.future.result(0) == Answer()
    assert not poll.future.done()
    w.run(12, step=1)
    assert poll.future.result(0) == Answer()
    assert ex.held == {}


def test_no_grant_goes_to_a_claim_of_long_ago(world: Make) -> None:
    """Its executor has given up waiting for the answer; the grant must reach the one it waits for now."""
    w = world(dag("d", "a"))
    run = w.trigger()
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    old = [request for _ in range(50) for request in w.send(Claim("remote", 5, 1.0))]
    w.run(10, step=1)
    w.store.gone = False
    w.run(5, step=1)
    assert all(request.future.result(0) == Answer() for request in old)
    w.checks = True
    ex = w.executor()
    ex.finish()
    assert w.status(run) == "SUCCESS"


def test_what_is_kept_while_the_database_is_away_has_a_limit(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    message = ex.reports((ex.holding("a"), End.SUCCESS))
    requests = [request for _ in range(3) for request in w.send(*[message] * 1_000)]
    assert sum(not request.future.done() for request in requests) <= 1_000
    w.store.gone = False
    w.checks = True
    w.run(5, step=1)
    assert all(request.future.done() for request in requests)
    assert w.status(run) == "SUCCESS"


def test_the_database_is_not_asked_all_the_time_while_it_is_away(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world(dag("d", "a"))
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    asked: list[object] = []
    real = w.store._rows

    def rows(query: Any) -> Any:
        asked.append(query)
        return real(query)

    monkeypatch.setattr(w.store, "_rows", rows)
    for _ in range(100):
        w.jump(0.1)
        w.send(Heartbeat("remote", []), TriggerRun("d"))
    assert len(asked) <= 11


def test_a_fault_right_after_the_recovery_is_survived(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.store.faults = [*failing("before", times=6), None, *failing("after")]
    w.send(ex.ask(ex.reports((ex.held.pop(ex.holding("a").token), End.SUCCESS))))
    w.run(30, step=1, beat=[ex])
    ex.finish()
    assert w.attempts(run) == [("a", 0, "SUCCESS", None), ("b", 0, "SUCCESS", None)]


def test_a_cancel_that_did_not_happen_is_not_told_to_the_executor(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.store.faults = list(failing("before", StoreError("no"), 2))
    [request] = w.send(CancelRun(run))
    assert isinstance(settled(w, request), StoreError)
    ex.beat()
    assert ex.cancelled == []
    ex.finish()
    assert w.status(run) == "SUCCESS"


def test_an_executor_is_told_of_a_cancel_also_when_memory_is_read_back(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.do(CancelRun(run))
    ex.beat()
    w.store.faults = list(failing("before", StoreError("x")))
    w.send(TriggerRun("d"))
    assert ex.beat().cancel == list(ex.held)


def test_text_that_no_database_takes_ends_its_own_attempt_visibly(world: Make) -> None:
    """No retry of such a report could ever succeed, and its executor would repeat it for ever."""
    w = world(dag("d", "a", "b", "c"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    good, bad, last = (ex.holding(name) for name in "abc")
    message = ex.reports((good, End.SUCCESS), (bad, End.SUCCESS), (last, End.SUCCESS))
    broken = msgspec.structs.replace(message.reports[1], result='"\udc80"')
    answer = w.do(Reports("remote", [message.reports[0], broken, message.reports[2]]))
    assert answer.accepted == [True, True, True]
    assert [row[2] for row in w.attempts(run)] == ["SUCCESS", "FAILED", "SUCCESS"]
    [row] = w.rows("SELECT Error FROM dagruntasks WHERE TaskId = 'b'")
    assert "cannot be stored" in row["Error"]


@pytest.mark.parametrize("end", [End.HANDED_BACK, End.REFUSED, End.TIMED_OUT])
def test_an_end_whose_words_no_database_takes_stays_that_end(world: Make, end: End) -> None:
    """Being given back costs no retry, whatever the words; the same report again is answered as before."""
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    message = ex.reports((ex.holding("a"), end), error="no text: \udc80")
    assert [w.do(message).accepted, w.do(message).accepted] == [[True], [True]]
    assert w.attempts(run)[0][3] == end


def test_a_dead_database_at_the_start_is_an_error_at_once(world: Make) -> None:
    w = world(dag("d", "a"), start=False)
    w.store.gone = True
    with pytest.raises(StoreError, match="disk is full"):
        w.start()


def test_answers_of_conflicts_stay_conflicts_after_a_fault(world: Make) -> None:
    w = world(dag("d", "a"))
    done = w.trigger()
    w.executor().finish()
    w.store.faults = list(failing("after", StoreError("x")))
    good, bad = w.send(TriggerRun("d"), RestartRun(done))
    assert settled(w, good).run_id == 2
    assert isinstance(settled(w, bad), ConflictError)
    assert isinstance(settled(w, bad), CommandError)


# -- the file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_was_removed_or_replaced_takes_nothing_in_until_it_is_back(
    world: Make, is_replaced: bool
) -> None:
    w = world(dag("d", "a"))
    aside = w.path.rename(w.path.with_name("aside"))
    if is_replaced:
        w.path.write_bytes(aside.read_bytes())
    request = w.scheduler.submit(TriggerRun("d"))
    w.scheduler.step(w.now(), [request])
    assert w.scheduler.state is State.DEGRADED
    with pytest.raises(SchedulerUnavailable, match="was removed or replaced while this program had it open"):
        request.future.result(0)
    w.path.unlink(missing_ok=True)
    w.jump(2)
    w.scheduler.step(w.now())
    assert w.scheduler.state is State.DEGRADED
    aside.rename(w.path)
    recover(w)
    assert w.runs() == []
    w.send(TriggerRun("d"))
    assert len(w.runs()) == 1
