"""What people ask of the scheduler: triggers, cancels, restarts. A refusal changes nothing and says why."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from ppacer.errors import CommandError, ConflictError, NotFoundError, ParamsError, PpacerError
from ppacer.protocol import End
from ppacer.scheduler import CancelRun, PauseDag, RestartRun, TriggerRun, UnpauseDag
from scheduler.harness import T0, World, at, dag

Make = Callable[..., World]


@dataclass
class Params:
    """Parameters of a dag."""

    size: int
    name: str = "x"
    names: tuple[str, ...] = ()


def unchanged(w: World, ask: Any) -> Exception:
    """The error of a refusal, and that it changed nothing."""
    before = w.everything()
    error = w.refused(ask)
    assert w.everything() == before
    return error


# -- triggers ------------------------------------------------------------------------------------------------


def test_a_trigger_is_answered_with_its_run_after_the_commit(world: Make) -> None:
    w = world(dag("d", "a"))
    ref = w.do(TriggerRun("d"))
    assert (ref.run_id, ref.dag_id, ref.exec_ts) == (1, "d", T0)
    assert w.runs() == [(T0, "RUNNING")]
    assert w.points() == [("MANUALLY_TRIGGERED", T0, None)]


def test_a_manual_run_leaves_the_cursor_alone(world: Make) -> None:
    from ppacer.schedule import Fixed

    w = world(dag("d", "a", schedule=Fixed(at(60), at(120) - at(60))))
    before = w.dag_row()
    w.trigger()
    assert w.dag_row() == before


def test_parameters_reach_the_grant_with_the_defaults_filled_in(world: Make) -> None:
    w = world(dag("d", "a", params=Params))
    w.trigger(size=3, names=["p", "q"])
    [grant] = w.executor().claim()
    assert grant.params == {"size": 3, "name": "x", "names": ["p", "q"]}
    assert grant.trigger == "manual"
    assert (grant.dag_id, grant.exec_ts, grant.task_id, grant.retry, grant.run_id) == ("d", T0, "a", 0, 1)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"size": "many"}, "size"),
        ({"size": 1, "nmae": "x"}, "nmae"),
        ({}, "size"),
        ({"size": 1, "names": [1]}, "names"),
        ({"size": None}, "size"),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_is_written(world: Make, params: Any, field: str) -> None:
    w = world(dag("d", "a", params=Params))
    error = unchanged(w, TriggerRun("d", params))
    assert isinstance(error, ParamsError)
    assert field in str(error)


def test_parameters_for_a_dag_without_any_are_refused(world: Make) -> None:
    w = world(dag("d", "a"))
    assert isinstance(unchanged(w, TriggerRun("d", {"size": 3})), ParamsError)


def test_parameters_that_break_the_user_s_own_check_are_refused_alone(world: Make) -> None:
    @dataclass
    class Strict:
        size: int = 1

        def __post_init__(self) -> None:
            if self.size > 5:
                raise ZeroDivisionError("never more than five")

    w = world(dag("d", "a", params=Strict))
    good, bad = w.send(TriggerRun("d", {"size": 5}), TriggerRun("d", {"size": 6}))
    assert good.future.result(0).run_id == 1
    error = bad.future.exception(0)
    assert isinstance(error, PpacerError)
    assert "never more than five" in str(error)
    assert len(w.runs()) == 1


@pytest.mark.parametrize("name", ["etl_dialy", "etl-daily", "ETL_daily"])
def test_an_unknown_dag_is_refused_with_a_near_name(world: Make, name: str) -> None:
    w = world(dag("etl_daily", "a"), dag("other", "a"))
    for command in (TriggerRun(name), PauseDag(name), UnpauseDag(name)):
        error = unchanged(w, command)
        assert isinstance(error, NotFoundError)
        assert repr(name) in str(error)
    assert "etl_daily" in str(unchanged(w, TriggerRun("etl_dialy")))


def test_a_removed_dag_is_unknown(world: Make) -> None:
    w = world(dag("d", "a"), dag("e", "a"))
    w.restart(dag("e", "a"))
    assert isinstance(unchanged(w, TriggerRun("d")), NotFoundError)


def test_many_triggers_in_one_instant_look_for_each_time_once(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world(dag("d", "a", max_active_runs=1))
    memory, looked = w.scheduler.memory, []
    real = memory.new_ref

    def look(dag_id: str, exec_ts: datetime) -> Any:
        looked.append(exec_ts)
        return real(dag_id, exec_ts)

    monkeypatch.setattr(memory, "new_ref", look)
    w.send(*[TriggerRun("d") for _ in range(50)])
    assert len(w.exec_times()) == len(looked) == 50


def test_two_triggers_in_one_instant_are_two_runs_a_microsecond_apart(world: Make) -> None:
    w = world(dag("d", "a"))
    commits = w.store.commits
    refs = [request.future.result(0) for request in w.send(TriggerRun("d"), TriggerRun("d"), TriggerRun("d"))]
    assert w.store.commits == commits + 1
    assert [ref.run_id for ref in refs] == [1, 2, 3]
    assert w.exec_times() == [T0, at(0.000001), at(0.000002)]
    assert w.do(TriggerRun("d")).exec_ts == at(0.000003)


def test_a_given_execution_time_is_used(world: Make) -> None:
    w = world(dag("d", "a"))
    assert w.do(TriggerRun("d", exec_ts=at(-86_400))).exec_ts == at(-86_400)
    assert w.exec_times() == [at(-86_400)]


def test_a_given_execution_time_that_is_taken_is_a_conflict(world: Make) -> None:
    w = world(dag("d", "a"))
    w.do(TriggerRun("d", exec_ts=at(5)))
    assert isinstance(unchanged(w, TriggerRun("d", exec_ts=at(5))), ConflictError)
    first, second = w.send(TriggerRun("d", exec_ts=at(6)), TriggerRun("d", exec_ts=at(6)))
    assert first.future.exception(0) is None
    assert isinstance(second.future.exception(0), ConflictError)


def test_a_given_execution_time_without_zone_is_refused(world: Make) -> None:
    w = world(dag("d", "a"))
    error = unchanged(w, TriggerRun("d", exec_ts=datetime(2026, 1, 1)))  # noqa: DTZ001 - that is the point
    assert isinstance(error, PpacerError)
    assert "time zone" in str(error)


def test_manual_runs_beyond_the_cap_wait_their_turn(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=2))
    runs = [w.trigger() for _ in range(4)]
    assert [w.status(run) for run in runs] == ["RUNNING", "RUNNING", "SCHEDULED", "SCHEDULED"]
    w.executor().finish()
    assert [w.status(run) for run in runs] == ["SUCCESS"] * 4


# -- cancel --------------------------------------------------------------------------------------------------


def test_cancelling_a_run_whose_tasks_wait_ends_it_at_once(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    run = w.trigger()
    assert w.do(CancelRun(run)).run_id == run
    assert w.status(run) == "CANCELLED"
    assert w.attempts(run) == [("a", 0, "CANCELLED", "CANCELLED"), ("b", 0, "CANCELLED", None)]


def test_cancelling_a_run_that_waits_for_room_ends_it_and_room_is_left_alone(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=1))
    first, second, third = (w.trigger() for _ in range(3))
    w.do(CancelRun(second))
    assert [w.status(run) for run in (first, second, third)] == ["RUNNING", "CANCELLED", "SCHEDULED"]
    w.do(CancelRun(first))
    assert [w.status(run) for run in (first, second, third)] == ["CANCELLED", "CANCELLED", "RUNNING"]


def test_cancelling_waits_for_what_runs_and_keeps_a_success(world: Make) -> None:
    w = world(dag("d", "a", "b", "c: a", "e: b"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"))
    w.do(CancelRun(run))
    assert w.status(run) == "RUNNING"
    ex.report(ex.holding("b"))
    for grant in list(ex.held.values()):
        ex.report(grant, End.CANCELLED)
    assert w.status(run) == "CANCELLED"
    assert [(task, status) for task, _, status, _ in w.attempts(run)] == [
        ("a", "SUCCESS"),
        ("b", "SUCCESS"),
        ("c", "CANCELLED"),
        ("e", "CANCELLED"),
    ]


def test_cancelling_a_task_that_waits_for_its_retry_ends_it(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 3, "retry_delay": at(60) - T0}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), End.FAILED)
    w.do(CancelRun(run))
    assert w.status(run) == "CANCELLED"
    w.run(200)
    assert len(w.attempts(run)) == 2


def test_a_failure_while_cancelling_is_not_retried(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 3}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.do(CancelRun(run))
    ex.report(ex.holding("a"), End.FAILED)
    assert (w.status(run), len(w.attempts(run))) == ("CANCELLED", 1)


def test_cancelling_twice_is_cancelling_once(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.do(CancelRun(run))
    before = w.everything()
    assert w.do(CancelRun(run)).run_id == run
    assert w.everything() == before


@pytest.mark.parametrize("end", [End.SUCCESS, End.FAILED])
def test_cancelling_a_run_that_has_ended_is_a_conflict(world: Make, end: End) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.executor().finish(end)
    error = unchanged(w, CancelRun(run))
    assert isinstance(error, ConflictError)
    assert end in str(error)


def test_the_executor_hears_of_a_cancel_with_its_next_answer_until_it_does_not_name_it_any_more(
    world: Make,
) -> None:
    w = world(dag("d", "a", "b"), dag("e", "c"))
    ex, other = w.executor("one", slots=2), w.executor("two")
    run = w.trigger("d")
    w.trigger("e")
    ex.claim()
    other.claim()
    w.do(CancelRun(run))
    assert other.beat().cancel == []
    assert sorted(ex.beat().cancel) == sorted(ex.held)
    ended = ex.held.pop(min(ex.held)).token
    assert ex.beat().cancel == list(ex.held)
    assert ended not in ex.held


def test_an_open_long_poll_is_answered_with_a_cancel(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    ex.claim()
    w.do(CancelRun(run))
    assert ex.cancelled == list(ex.held)
    assert ex.polls == []


# -- restart -------------------------------------------------------------------------------------------------


def failed(w: World, *lines: str) -> int:
    run = w.trigger()
    w.executor().finish(End.FAILED)
    assert w.status(run) == "FAILED"
    return run


@pytest.mark.parametrize("times", [0, 1, 2, 10])
def test_a_failed_run_is_restarted_so_many_times(world: Make, times: int) -> None:
    w = world(dag("d", "a", "b: a", "c: b"))
    ex = w.executor()
    run = w.trigger()
    for n in range(times + 1):
        if n:
            assert w.do(RestartRun(run)).run_id == run
        ex.finish(End.FAILED)
        assert w.status(run) == "FAILED"
        assert len(w.attempts(run, "a")) == n + 1
    restarts = w.rows("SELECT Restart FROM dagrunrestarts ORDER BY Restart")
    assert [row["Restart"] for row in restarts] == list(range(1, times + 1))
    w.do(RestartRun(run))
    ex.finish()
    assert w.status(run) == "SUCCESS"


def test_a_restart_runs_only_what_failed_and_what_depends_on_it_in_order(world: Make) -> None:
    w = world(dag("d", "a", "b: a", "c: b", "x: a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), result='"from a"')
    ex.report(ex.holding("x"))
    ex.report(ex.holding("b"), End.FAILED)
    assert w.status(run) == "FAILED"
    w.do(RestartRun(run))
    seen = len(ex.seen)
    ex.finish()
    again = ex.seen[seen:]
    assert [(grant.task_id, grant.retry) for grant in again] == [("b", 1), ("c", 1)]
    assert again[0].results == {"a": '"from a"'}
    assert w.status(run) == "SUCCESS"


def test_a_restart_has_a_new_budget_of_retries(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 2}}))
    ex = w.executor()
    run = w.trigger()
    ex.finish(End.FAILED)
    assert len(w.attempts(run)) == 3
    w.do(RestartRun(run))
    ex.finish(End.FAILED)
    assert len(w.attempts(run)) == 6


def test_a_cancelled_run_can_be_restarted(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    run = w.trigger()
    w.do(CancelRun(run))
    w.do(RestartRun(run))
    w.executor().finish()
    assert w.status(run) == "SUCCESS"


def test_a_restarted_run_can_be_cancelled_again(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.do(CancelRun(run))
    w.do(RestartRun(run))
    assert w.status(run) == "RUNNING"
    w.do(CancelRun(run))
    assert w.status(run) == "CANCELLED"


def test_a_restart_waits_for_room(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=1))
    run = failed(w)
    other = w.trigger()
    w.do(RestartRun(run))
    assert (w.status(other), w.status(run)) == ("RUNNING", "SCHEDULED")
    w.executor().finish()
    assert w.status(run) == "SUCCESS"


def test_only_failed_or_cancelled_runs_can_be_restarted(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=1))
    done = w.trigger()
    w.executor().finish()
    running, waiting = w.trigger(), w.trigger()
    for run, status in ((done, "SUCCESS"), (running, "RUNNING"), (waiting, "SCHEDULED")):
        error = unchanged(w, RestartRun(run))
        assert isinstance(error, ConflictError)
        assert status in str(error)


def test_a_restart_asked_for_twice_in_one_batch_happens_once(world: Make) -> None:
    w = world(dag("d", "a"))
    run = failed(w)
    first, second = w.send(RestartRun(run), RestartRun(run))
    assert first.future.result(0).run_id == run
    assert isinstance(second.future.exception(0), ConflictError)
    assert len(w.rows("SELECT * FROM dagrunrestarts")) == 1


def test_a_run_restarted_and_cancelled_in_one_batch_is_cancelled(world: Make) -> None:
    w = world(dag("d", "a"))
    run = failed(w)
    w.send(RestartRun(run), CancelRun(run))
    assert w.status(run) == "CANCELLED"


@pytest.mark.parametrize("command", [CancelRun, RestartRun])
@pytest.mark.parametrize("run_id", [0, -1, 77, 2**62])
def test_a_command_about_an_unknown_run_is_refused(world: Make, command: Any, run_id: int) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    error = unchanged(w, command(run_id))
    assert isinstance(error, NotFoundError)
    assert str(run_id) in str(error)


def test_a_refused_command_in_a_batch_leaves_the_others_alone(world: Make) -> None:
    w = world(dag("d", "a"))
    requests = w.send(TriggerRun("d"), TriggerRun("nobody"), CancelRun(99), TriggerRun("d"), RestartRun(1))
    errors = [request.future.exception(0) for request in requests]
    assert [type(error) for error in errors] == [
        type(None),
        NotFoundError,
        NotFoundError,
        type(None),
        ConflictError,
    ]
    assert len(w.runs()) == 2


def test_commands_are_refused_while_stopping(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.scheduler.stop()
    for command in (TriggerRun("d"), CancelRun(run), RestartRun(run), PauseDag("d"), UnpauseDag("d")):
        assert isinstance(unchanged(w, command), CommandError)


# -- several things in one step ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [End.SUCCESS, End.FAILED])
def test_a_command_about_a_run_that_ends_in_the_same_step_finds_it_ended(world: Make, end: End) -> None:
    """The rows do not say so yet, and memory does not have it any more."""
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    report, restart, cancel = w.send(ex.reports((ex.holding("a"), end)), RestartRun(run), CancelRun(run))
    assert report.future.result(0).accepted == [True]
    if end is End.FAILED:
        assert restart.future.result(0).run_id == run
        assert cancel.future.result(0).run_id == run
        assert w.status(run) == "CANCELLED"
    else:
        assert "run 1 is SUCCESS" in str(restart.future.exception(0))
        assert "has ended with SUCCESS" in str(cancel.future.exception(0))


def test_a_run_triggered_and_cancelled_in_one_step_is_cancelled(world: Make) -> None:
    w = world(dag("d", "a"))
    trigger, cancel = w.send(TriggerRun("d"), CancelRun(1))
    assert trigger.future.result(0).run_id == cancel.future.result(0).run_id == 1
    assert w.status(1) == "CANCELLED"


def test_an_empty_run_triggered_and_restarted_in_one_step_has_ended_well(world: Make) -> None:
    w = world(dag("d"))
    trigger, restart = w.send(TriggerRun("d"), RestartRun(1))
    assert trigger.future.result(0).run_id == 1
    assert isinstance(restart.future.exception(0), ConflictError)
