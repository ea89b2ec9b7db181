"""Pause: no scheduled runs while it lasts, and its points are one recorded stretch when it ends."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from ppacer.schedule import CatchUp, Fixed
from ppacer.scheduler import PauseDag, RestartRun, TriggerRun, UnpauseDag
from scheduler.harness import T0, World, at, dag, seconds

Make = Callable[..., World]
HOUR = timedelta(hours=1)


def hourly(start: datetime = T0) -> Fixed:
    return Fixed(start, HOUR)


@pytest.mark.parametrize("catch_up", [False, True, 3, timedelta(hours=2)])
def test_points_of_a_pause_are_one_skipped_stretch_whatever_the_policy(
    world: Make, catch_up: CatchUp
) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(10)), catch_up=catch_up))
    assert w.do(PauseDag("d")) == "d"
    w.run(65)
    assert w.exec_times() == [T0]
    assert w.do(UnpauseDag("d")) == "d"
    assert w.points() == [("REGULAR", T0, at(10)), ("SKIPPED", at(10), at(70))]
    w.run(5)
    assert w.points()[2:] == [("REGULAR", at(70), at(80))]


def test_a_pause_without_points_leaves_no_row(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly()))
    w.do(PauseDag("d"))
    w.run(60)
    w.do(UnpauseDag("d"))
    assert w.points() == [("REGULAR", T0, T0 + HOUR)]
    w.until(T0 + HOUR, step=20)
    assert w.exec_times() == [T0, T0 + HOUR]


def test_a_pause_is_remembered_over_a_restart(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly(), catch_up=True))
    w.do(PauseDag("d"))
    paused_at = w.dag_row()["PausedAt"]
    assert paused_at is not None
    w.restart(after=1.5 * 3600)
    w.run(3600, step=20)
    assert w.exec_times() == [T0]
    assert w.dag_row()["PausedAt"] == paused_at
    w.do(UnpauseDag("d"))
    assert w.points()[1:] == [("SKIPPED", T0 + HOUR, T0 + 3 * HOUR)]
    assert w.dag_row()["PausedAt"] is None
    w.until(T0 + 3 * HOUR, step=20)
    assert w.exec_times() == [T0, T0 + 3 * HOUR]


def test_pausing_twice_is_pausing_once(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly()))
    w.do(PauseDag("d"))
    before = w.everything()
    w.run(10)
    assert w.do(PauseDag("d")) == "d"
    assert w.everything() == before


def test_unpausing_what_is_not_paused_changes_nothing(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly()))
    before = w.everything()
    assert w.do(UnpauseDag("d")) == "d"
    assert w.everything() == before


def test_a_new_dag_paused_before_its_first_point_has_all_of_them_skipped(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly(at(60)), catch_up=True))
    w.do(PauseDag("d"))
    w.restart(after=600)
    w.run(10)
    w.do(UnpauseDag("d"))
    assert w.points() == [("SKIPPED", at(60), at(3660))]


def test_open_runs_and_manual_runs_go_on_during_a_pause(world: Make) -> None:
    w = world(dag("d", "a", "b: a", schedule=hourly()))
    w.do(PauseDag("d"))
    run = w.trigger()
    w.executor().finish()
    assert [status for _, status in w.runs()] == ["SUCCESS", "SUCCESS"]
    assert w.status(run) == "SUCCESS"


def test_a_dag_paused_at_its_cap_does_not_go_on_when_a_run_ends(world: Make) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(10)), max_active_runs=1))
    ex = w.executor()
    w.run(25, beat=[ex])
    w.do(PauseDag("d"))
    ex.report(ex.holding("a"))
    w.run(100, beat=[ex])
    assert w.exec_times() == [T0]
    w.do(UnpauseDag("d"))
    w.run(10, beat=[ex])
    assert w.exec_times() == [T0, at(130)]


def test_pause_and_unpause_at_the_cap_lose_no_point(world: Make) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(10)), max_active_runs=1))
    ex = w.executor()
    w.run(25, beat=[ex])
    w.do(PauseDag("d"))
    w.do(UnpauseDag("d"))
    w.run(10, beat=[ex])
    for _ in range(3):
        ex.finish()
    assert w.exec_times()[-1] == at(30)


def test_a_paused_dag_does_not_wake_the_scheduler(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly()))
    w.do(PauseDag("d"))
    w.jump(7200)
    w.send()
    assert w.scheduler.memory.watcher.next_wake() is None or w.scheduler.memory.watcher.next_wake() > w.utc  # type: ignore[operator]


def test_a_dag_paused_and_unpaused_in_one_batch_goes_on(world: Make) -> None:
    w = world(dag("d", "a", schedule=hourly()))
    w.send(PauseDag("d"), UnpauseDag("d"))
    assert w.dag_row()["PausedAt"] is None
    w.until(T0 + HOUR, step=20)
    assert w.exec_times() == [T0, T0 + HOUR]


def test_a_restart_by_hand_works_on_a_paused_dag(world: Make) -> None:
    from ppacer.protocol import End

    w = world(dag("d", "a"))
    run = w.trigger()
    w.executor().finish(End.FAILED)
    w.do(PauseDag("d"))
    w.do(RestartRun(run))
    w.executor().finish()
    assert w.status(run) == "SUCCESS"


def test_a_schedule_that_ends_in_a_pause_is_over_afterwards(world: Make) -> None:
    from scheduler.test_watcher import Days

    w = world(dag("d", "a", schedule=Days(at(10), at(20))))
    w.do(PauseDag("d"))
    w.run(100)
    w.do(UnpauseDag("d"))
    assert w.points() == [("SKIPPED", at(10), None)]
    w.restart(after=100)
    assert w.points() == [("SKIPPED", at(10), None)]
    w.do(TriggerRun("d"))
    assert len(w.runs()) == 1
