"""The program dies and comes back: start is recovery, and everything that was committed is remembered."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from ppacer.protocol import End
from ppacer.scheduler import CancelRun, RestartRun
from scheduler.harness import World, dag, seconds

Make = Callable[..., World]


def test_finished_tasks_stay_untouched_and_the_run_ends(world: Make) -> None:
    w = world(dag("d", "a", "b: a", "c: b"))
    ex = w.executor("local")
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), result='"from a"')
    before = w.rows("SELECT * FROM dagruntasks WHERE TaskId = 'a'")
    w.restart(after=5)
    ex = w.executor("local")
    ex.claim()
    assert w.rows("SELECT * FROM dagruntasks WHERE TaskId = 'a'") == before
    assert ex.holding("b").results == {"a": '"from a"'}
    ex.finish()
    assert w.attempts(run) == [
        ("a", 0, "SUCCESS", None),
        ("b", 0, "FAILED_PENDING_RETRY", "LOST"),
        ("b", 1, "SUCCESS", None),
        ("c", 0, "SUCCESS", None),
    ]


def test_local_attempts_are_granted_anew_at_once(world: Make) -> None:
    w = world(dag("d", "a", "b"))
    w.trigger()
    w.executor("local").claim()
    w.restart()
    again = w.executor("local").claim()
    assert sorted((grant.task_id, grant.retry) for grant in again) == [("a", 1), ("b", 1)]


def test_a_report_of_an_earlier_life_of_the_program_is_refused(world: Make) -> None:
    w = world(dag("d", "a"))
    before = w.executor("local")
    run = w.trigger()
    before.claim()
    old = before.holding("a")
    w.restart()
    ex = w.executor("local")
    ex.claim()
    assert ex.report(old).accepted == [False]
    ex.finish()
    assert w.status(run) == "SUCCESS"


def test_a_local_task_that_may_run_once_only_is_not_started_again(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"at_most_once": True}}))
    run = w.trigger()
    w.executor("local").claim()
    w.restart()
    assert w.attempts(run) == [("a", 0, "FAILED", "LOST")]
    assert w.status(run) == "FAILED"


def test_an_executor_of_another_machine_keeps_its_attempts_over_a_restart(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor("remote")
    run = w.trigger()
    ex.claim()
    w.restart(after=600)
    w.run(60, beat=[ex])
    assert ex.report(ex.holding("a")).accepted == [True]
    ex.finish()
    assert w.attempts(run) == [("a", 0, "SUCCESS", None), ("b", 0, "SUCCESS", None)]


def test_an_executor_of_another_machine_has_exactly_one_lease_to_be_heard_of(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor("remote")
    w.trigger()
    ex.claim()
    w.restart(after=600)
    w.run(29, step=1)
    assert w.rows("SELECT LostAt FROM dagruntasks")[0]["LostAt"] is None
    w.run(2, step=1)
    assert w.rows("SELECT LostAt FROM dagruntasks")[0]["LostAt"] is not None


def test_what_an_executor_holds_over_a_restart_counts_against_its_slots(world: Make) -> None:
    w = world(dag("d", *(f"t{n}" for n in range(5))))
    ex = w.executor("remote", slots=3)
    w.trigger()
    ex.claim()
    w.restart()
    assert ex.claim() == []
    ex.report(ex.holding("t0"))
    assert len(ex.held) == 3


def test_retries_and_their_budget_are_remembered(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 3}}))
    run = w.trigger()
    for n in range(4):
        ex = w.executor("remote")
        ex.claim()
        ex.claim(wait=0.0, slots=0)
        assert ex.holding("a").retry == n
        ex.report(ex.holding("a"), End.FAILED)
        w.restart(after=31)
        w.run(35)
    assert w.status(run) == "FAILED"
    assert len([row for row in w.attempts(run) if row[3] == "FAILED"]) == 4


def test_the_delay_of_a_retry_is_remembered(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 1, "retry_delay": seconds(100)}}))
    ex = w.executor("remote")
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), End.FAILED)
    w.run(30)
    w.restart(after=30)
    w.run(39)
    assert len(w.attempts(run)) == 1
    w.run(1)
    assert w.attempts(run)[1:] == [("a", 1, "SCHEDULED", None)]


def test_a_delay_that_was_over_during_the_downtime_is_over(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 1, "retry_delay": seconds(100)}}))
    ex = w.executor("remote")
    w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), End.FAILED)
    w.restart(after=1000)
    assert ex.claim()[0].retry == 1


def test_exponential_delays_go_on_where_they_were(world: Make) -> None:
    config = {"retries": 3, "retry_delay": seconds(10), "retry_backoff": 3.0}
    w = world(dag("d", "a", configs={"a": config}))
    run = w.trigger()
    gaps = []
    for n in range(3):
        ex = w.executor("remote")
        ex.claim()
        ex.report(ex.holding("a"), End.FAILED)
        failed = w.utc
        w.restart()
        while len(w.attempts(run)) == n + 1:
            w.run(1, step=1)
        gaps.append((w.utc - failed).total_seconds())
    assert gaps == [10, 30, 90]


def test_the_third_loss_counts_over_restarts(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    for n in range(4):
        [grant] = w.executor("local").claim()
        assert grant.retry == n
        w.restart()
    assert w.status(run) == "FAILED"
    assert [row[2] for row in w.attempts(run)] == [*["FAILED_PENDING_RETRY"] * 3, "FAILED"]


def test_losses_that_the_executor_told_count_over_restarts(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    for _ in range(2):
        ex = w.executor("local")
        [grant] = ex.claim()
        ex.report(grant, End.LOST)  # the answer has the next one, which the restart loses
        w.restart()
    assert w.status(run) == "FAILED"
    assert [row[3] for row in w.attempts(run)] == ["LOST"] * 4


def test_a_lost_attempt_that_nobody_took_yet_is_lost_once_over_restarts(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.executor("local").claim()
    for _ in range(10):
        w.restart()
    assert w.attempts(run) == [("a", 0, "RUNNING", None)]
    assert w.executor("local").claim()[0].retry == 1
    assert w.status(run) == "RUNNING"


def test_a_cancel_is_remembered_and_told_to_the_executor_after_a_restart(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor("remote")
    run = w.trigger()
    ex.claim()
    w.do(CancelRun(run))
    w.restart()
    assert ex.cancelled == []
    assert ex.beat().cancel == list(ex.held)
    ex.report(ex.holding("a"), End.CANCELLED)
    assert w.status(run) == "CANCELLED"


def test_a_cancelled_run_with_a_local_attempt_ends_at_the_restart(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    run = w.trigger()
    w.executor("local").claim()
    w.do(CancelRun(run))
    w.restart()
    assert w.status(run) == "CANCELLED"


def test_runs_that_wait_for_room_keep_their_order(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=1))
    runs = [w.trigger() for _ in range(4)]
    w.restart()
    ex = w.executor("remote")
    w.do(CancelRun(runs[0]))
    ex.finish()
    assert [grant.run_id for grant in ex.seen] == runs[1:]


def test_a_run_keeps_the_graph_with_which_it_began(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor("remote")
    old = w.trigger()
    ex.claim()
    w.restart(dag("d", "a", "x: a", "y: x"))
    new = w.trigger()
    ex.finish()
    assert [row[0] for row in w.attempts(old)] == ["a", "b"]
    assert [row[0] for row in w.attempts(new)] == ["a", "x", "y"]
    assert w.status(old) == w.status(new) == "SUCCESS"


def test_a_restarted_run_uses_the_graph_with_which_it_began(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor("remote")
    run = w.trigger()
    ex.finish(End.FAILED)
    w.restart(dag("d", "a", "x: a"))
    w.do(RestartRun(run))
    ex.finish()
    assert [row[0] for row in w.attempts(run)] == ["a", "a", "b", "b"]
    assert w.status(run) == "SUCCESS"


def test_parameters_and_trigger_are_remembered(world: Make) -> None:
    import msgspec

    class Params(msgspec.Struct):
        size: int = 1

    w = world(dag("d", "a", params=Params))
    w.trigger(size=5)
    w.restart()
    [grant] = w.executor("remote").claim()
    assert (grant.params, grant.trigger) == ({"size": 5}, "manual")


def test_run_numbers_go_on(world: Make) -> None:
    w = world(dag("d", "a"))
    assert w.trigger() == 1
    w.restart()
    assert w.trigger() == 2


@pytest.mark.parametrize("times", [1, 5])
def test_a_restart_with_nothing_to_do_writes_nothing(world: Make, times: int) -> None:
    w = world(dag("d", "a", "b: a"))
    w.trigger()
    w.executor("remote").claim()
    before = w.everything()
    for _ in range(times):
        w.restart(after=1)
    assert w.everything() == before


def test_an_attempt_beyond_its_timeout_in_a_downtime_gets_its_time_again(world: Make) -> None:
    """Only the executor knows when it began; the scheduler is the second net, one lease behind."""
    w = world(dag("d", "a", configs={"a": {"timeout": timedelta(seconds=60)}}))
    ex = w.executor("remote")
    run = w.trigger()
    ex.claim()
    w.restart(after=300)
    w.run(20, beat=[ex])
    ex.report(ex.holding("a"))
    assert w.status(run) == "SUCCESS"


def test_the_open_runs_of_a_removed_dag_keep_to_its_cap(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=2), dag("e", "a"))
    runs = [w.trigger() for _ in range(5)]
    w.restart(dag("e", "a"), after=1)
    ex = w.executor("remote")
    ex.claim()
    ex.report(next(grant for grant in ex.held.values() if grant.run_id == runs[0]))
    assert [w.status(run) for run in runs] == ["SUCCESS", "RUNNING", "RUNNING", "SCHEDULED", "SCHEDULED"]
