"""Which runs are created when: every point of a schedule has one run or one recorded reason why not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ppacer.protocol import End
from ppacer.schedule import CatchUp, Cron, Fixed
from ppacer.scheduler import TriggerRun
from scheduler.harness import T0, World, at, dag, seconds

Make = Callable[..., World]
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def fixed(interval: timedelta = HOUR, start: datetime = T0) -> Fixed:
    return Fixed(start, interval)


def test_a_run_is_created_exactly_on_the_point(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))))
    w.until(at(59))
    w.jump(0.999999)
    w.send()
    assert w.runs() == []
    w.jump(0.000001)
    w.send()
    assert w.runs() == [(at(60), "RUNNING")]
    assert w.points() == [("REGULAR", at(60), at(60) + HOUR)]


def test_a_point_on_the_instant_of_the_start_runs(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed()))
    assert w.points() == [("REGULAR", T0, T0 + HOUR)]


def test_a_step_a_bit_late_keeps_the_time_of_the_point(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(10))))
    w.run(13.7, step=13.7)
    assert w.exec_times() == [at(10)]


def test_nothing_runs_before_the_schedule_starts(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(MINUTE, start=at(1000)), catch_up=True))
    w.run(990)
    assert w.points() == []
    w.run(10)
    assert w.exec_times() == [at(1000)]


def test_a_dag_without_schedule_has_no_runs_and_no_points(world: Make) -> None:
    w = world(dag("d", "a"))
    w.run(600, step=20)
    assert (w.runs(), w.points()) == ([], [])


def test_three_hours_late_keeps_the_execution_time_with_catch_up(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(timedelta(days=1), start=at(60)), catch_up=True))
    w.restart(after=3 * 3600)
    assert w.runs() == [(at(60), "RUNNING")]
    assert w.points() == [("CAUGHT_UP", at(60), at(60) + timedelta(days=1))]


def test_three_hours_late_at_the_cap_keeps_the_execution_time(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(), max_active_runs=1))
    ex = w.executor()
    ex.claim()
    w.run(3 * 3600 + 10, step=10, beat=[ex])
    assert w.exec_times() == [T0]
    ex.report(ex.holding("a"))
    ex.finish()
    for _ in range(10):
        ex.finish()
    assert w.exec_times() == [T0, T0 + HOUR, T0 + 2 * HOUR, T0 + 3 * HOUR]
    assert w.events() == ["REGULAR"] * 4


@pytest.mark.parametrize(
    ("catch_up", "caught", "stretch"),
    [
        (False, [], (1, 6)),
        (True, [1, 2, 3, 4, 5], None),
        (0, [], (1, 6)),
        (1, [5], (1, 5)),
        (3, [3, 4, 5], (1, 3)),
        (5, [1, 2, 3, 4, 5], None),
        (100, [1, 2, 3, 4, 5], None),
        (timedelta(minutes=10), [], (1, 6)),
        (timedelta(hours=2), [4, 5], (1, 4)),
        (timedelta(hours=2, minutes=30), [3, 4, 5], (1, 3)),
        (timedelta(minutes=30), [5], (1, 5)),
        (timedelta(days=1), [1, 2, 3, 4, 5], None),
    ],
)
def test_catch_up_after_a_downtime_runs_what_the_policy_says(
    world: Make, catch_up: CatchUp, caught: list[int], stretch: tuple[int, int] | None
) -> None:
    """Stopped right after the point at 0 h, started at 5 h 30 min: the points 1 … 5 h were missed."""
    w = world(dag("d", "a", schedule=fixed(), catch_up=catch_up))
    assert w.exec_times() == [T0]
    w.restart(after=5.5 * 3600)
    wanted = [("REGULAR", T0, T0 + HOUR)]
    if stretch is not None:
        wanted.append(("SKIPPED", T0 + stretch[0] * HOUR, T0 + stretch[1] * HOUR))
    wanted += [("CAUGHT_UP", T0 + n * HOUR, T0 + (n + 1) * HOUR) for n in caught]
    assert w.points() == wanted
    w.until(T0 + 6 * HOUR, step=20)
    assert w.points() == [*wanted, ("REGULAR", T0 + 6 * HOUR, T0 + 7 * HOUR)]


@pytest.mark.parametrize("late", [0, 0.000001, 5, 59.999, 60])
def test_a_deploy_just_after_the_point_does_not_skip_it(world: Make, late: float) -> None:
    w = world(dag("d", "a", schedule=Cron("0 13 * * *")))
    w.jump(3600 - 5)
    w.send()
    w.restart(after=5 + late)
    assert w.points() == [("REGULAR", T0 + HOUR, T0 + 25 * HOUR)]


@pytest.mark.parametrize("late", [60.000001, 61])
def test_a_deploy_more_than_a_minute_after_the_point_skips_it(world: Make, late: float) -> None:
    w = world(dag("d", "a", schedule=Cron("0 13 * * *")))
    w.restart(after=3600 + late)
    assert w.points() == [("SKIPPED", T0 + HOUR, T0 + 25 * HOUR)]


def test_only_the_newest_of_the_missed_points_counts_as_recent(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(10), start=at(10))))
    w.restart(after=3605)
    assert w.points()[0] == ("SKIPPED", at(10), at(3600))
    assert w.exec_times() == [at(3600)]


def test_a_gap_between_two_steps_means_missed_points(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(100), start=at(100))))
    w.jump(975)
    w.send()
    assert w.points() == [("SKIPPED", at(100), at(1000))]
    w.run(25)
    assert w.points()[1:] == [("REGULAR", at(1000), at(1100))]


def test_up_to_a_minute_between_two_steps_is_no_gap(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(10), start=at(10))))
    w.jump(60)
    w.send()
    assert w.exec_times() == [at(10 * n) for n in range(1, 7)]
    assert set(w.events()) == {"REGULAR"}


@pytest.mark.parametrize(("catch_up", "runs"), [(False, 1), (2, 2), (True, 360)])
def test_points_that_fell_due_while_the_database_was_away_are_missed(
    world: Make, catch_up: CatchUp, runs: int
) -> None:
    w = world(dag("d", "a", schedule=fixed(MINUTE, start=at(60)), catch_up=catch_up, max_active_runs=1000))
    w.store.gone = True
    w.checks = False
    w.run(360 * 60 + 30, step=10)
    w.store.gone = False
    w.checks = True
    w.run(20, step=1)
    times = w.exec_times()
    assert times == [at(60 * n) for n in range(361 - runs, 361)]
    if not catch_up:
        assert w.points()[0] == ("SKIPPED", at(60), at(360 * 60))


def test_points_that_fell_due_in_a_short_outage_run_late(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(10), start=at(10))))
    w.run(5, step=1)
    w.store.gone = True
    w.checks = False
    w.run(50, step=1)
    w.store.gone = False
    w.checks = True
    w.run(4, step=1)
    assert w.exec_times() == [at(10 * n) for n in range(1, 6)]


def test_points_that_waited_at_the_cap_when_a_gap_came_are_late_and_not_missed(world: Make) -> None:
    """Late is what fell due while the scheduler was stepping; missed is what fell due in the gap."""
    w = world(dag("d", "a", schedule=fixed(seconds(100), start=at(100)), max_active_runs=1))
    ex = w.executor()
    w.until(at(100))
    ex.claim()
    w.run(250, beat=[ex])  # the points 200 and 300 wait
    w.jump(640)  # 400 … 900 are missed
    w.send()
    for _ in range(5):
        ex.finish()
    assert w.points() == [
        ("REGULAR", at(100), at(200)),
        ("REGULAR", at(200), at(300)),
        ("REGULAR", at(300), at(400)),
        ("SKIPPED", at(400), at(1000)),
    ]


def test_clock_set_back_runs_nothing_twice(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(MINUTE, start=at(60))))
    ex = w.executor()
    w.run(185)
    ex.finish()
    assert w.exec_times() == [at(60), at(120), at(180)]
    w.set_clock(-170)
    w.run(165)
    assert w.utc < at(240)
    assert w.exec_times() == [at(60), at(120), at(180)]
    w.until(at(240))
    assert w.exec_times() == [at(60), at(120), at(180), at(240)]


def test_clock_set_back_over_a_restart_runs_nothing_twice(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(MINUTE, start=at(60)), catch_up=True))
    w.run(185)
    w.set_clock(-3600)
    w.restart()
    w.restart(after=3600 - 10)
    assert w.exec_times() == [at(60), at(120), at(180)]
    w.until(at(240))
    assert w.exec_times() == [at(60), at(120), at(180), at(240)]


@pytest.mark.parametrize(("catch_up", "runs"), [(False, 0), (True, 5), (2, 2)])
def test_clock_set_forward_is_a_gap(world: Make, catch_up: CatchUp, runs: int) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(3600)), catch_up=catch_up))
    w.set_clock(5.5 * 3600)
    w.send()
    assert len(w.runs()) == runs


def test_clock_forward_by_mistake_and_back_skips_and_repeats_nothing(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(3600))))
    w.set_clock(5.5 * 3600)
    w.run(20)
    w.set_clock(-5.5 * 3600)
    w.run(6 * 3600, step=20)
    assert w.points() == [("SKIPPED", at(3600), at(6 * 3600)), ("REGULAR", at(6 * 3600), at(7 * 3600))]


def test_a_cron_job_in_the_gap_of_spring_runs_once_right_after_it(world: Make) -> None:
    """Warsaw, 29 March 2026: 02:00 is followed by 03:00, which is 01:00 UTC."""
    w = world(
        dag("d", "a", schedule=Cron("30 2 * * *", tz="Europe/Warsaw")),
        begin=datetime(2026, 3, 28, 0, 0, tzinfo=UTC),
    )
    w.run(3 * 86_400, step=50)
    assert w.exec_times() == [
        datetime(2026, 3, 28, 1, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
    ]


def test_a_cron_job_in_the_repeated_hour_of_autumn_runs_once(world: Make) -> None:
    """Warsaw, 25 October 2026: 03:00 is followed by 02:00; the first 02:30 is 00:30 UTC."""
    w = world(
        dag("d", "a", schedule=Cron("30 2 * * *", tz="Europe/Warsaw")),
        begin=datetime(2026, 10, 24, 0, 0, tzinfo=UTC),
    )
    w.run(3 * 86_400, step=50)
    assert w.exec_times() == [
        datetime(2026, 10, 24, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


def test_a_restart_inside_the_repeated_hour_runs_nothing_twice(world: Make) -> None:
    w = world(
        dag("d", "a", schedule=Cron("30 2 * * *", tz="Europe/Warsaw"), catch_up=True),
        begin=datetime(2026, 10, 25, 0, 0, tzinfo=UTC),
    )
    w.run(45 * 60, step=50)
    w.restart(after=60 * 60)  # 01:45 UTC, 02:45 on the wall for the second time
    assert w.exec_times() == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


def test_at_the_cap_the_cursor_waits_and_nothing_is_dropped_or_created_ahead(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(10), start=at(10)), max_active_runs=2))
    ex = w.executor()
    w.run(65, beat=[ex])
    assert w.runs() == [(at(10), "RUNNING"), (at(20), "RUNNING")]
    assert [grant.exec_ts for grant in ex.seen] == [at(10), at(20)]
    ex.report(ex.seen[0])
    w.send()
    assert w.exec_times() == [at(10), at(20), at(30)]
    for _ in range(10):
        ex.finish()
    assert w.exec_times() == [at(10 * n) for n in range(1, 7)]


def test_catching_up_with_thousands_of_points_creates_never_more_than_the_cap_at_once(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(10), start=at(-50_000)), catch_up=True, max_active_runs=7))
    w.checks = False
    ex = w.executor()
    for _ in range(30):
        assert len([status for _, status in w.runs() if status == "RUNNING"]) == 7
        w.send(ex.claims())
        w.send(ex.reports(*((grant, End.SUCCESS) for grant in ex.held.values())))
        ex.held.clear()
        w.send()
    assert len(w.runs()) == 7 * 31
    assert w.exec_times()[:3] == [at(-50_000), at(-49_990), at(-49_980)]
    w.check()


def test_thousands_of_missed_points_that_are_skipped_are_one_row(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(0.01), start=at(0.01)), max_active_runs=3))
    w.restart(after=3600 + 0.005)
    assert w.points()[0] == ("SKIPPED", at(0.01), at(3600))
    assert w.exec_times() == [at(3600)]


def test_a_point_every_10_ms_each_has_its_run(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(0.01)), max_active_runs=1000))
    w.checks = False
    w.run(5, step=0.25)
    assert w.exec_times() == [at(n / 100) for n in range(501)]
    w.check()


def test_two_dags_at_the_same_instant_both_run(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))), dag("e", "a", schedule=fixed(start=at(60))))
    w.until(at(60))
    assert w.exec_times("d") == w.exec_times("e") == [at(60)]


def test_two_points_due_in_one_step_both_run(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(seconds(10), start=at(10))))
    w.run(20, step=20)
    assert w.exec_times() == [at(10), at(20)]


class Days:
    """A schedule of a few given points, which ends."""

    start = None

    def __init__(self, *points: datetime) -> None:
        self.points = points

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        return next((point for point in self.points if point > current), None)

    def __str__(self) -> str:
        return "a few days"


def test_a_schedule_that_ends_runs_its_last_point_and_no_more(world: Make) -> None:
    w = world(dag("d", "a", schedule=Days(at(10), at(20))))
    w.run(100)
    wanted = [("REGULAR", at(10), at(20)), ("REGULAR", at(20), None)]
    assert w.points() == wanted
    w.restart(after=3600)
    w.run(100)
    assert w.points() == wanted


def test_a_schedule_that_ended_during_a_downtime_is_skipped_once(world: Make) -> None:
    w = world(dag("d", "a", schedule=Days(at(10), at(20), at(30))))
    w.restart(after=3600)
    wanted = [("SKIPPED", at(10), None)]
    assert w.points() == wanted
    w.restart(after=3600)
    w.run(100)
    assert w.points() == wanted


def test_a_schedule_without_any_point_is_no_trouble(world: Make) -> None:
    w = world(dag("d", "a", schedule=Days()))
    w.run(100)
    w.restart()
    assert w.points() == []
    assert w.dag_row()["DisabledAt"] is None


def test_a_manual_run_at_the_very_microsecond_of_a_point_gives_way(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))))
    w.until(at(59))
    w.jump(1)
    w.send(TriggerRun("d"))
    assert w.exec_times() == [at(60), at(60.000001)]
    assert sorted(w.events()) == ["MANUALLY_TRIGGERED", "REGULAR"]


def test_a_point_whose_execution_time_is_taken_is_recorded_as_skipped(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))))
    w.do(TriggerRun("d", exec_ts=at(60)))
    w.until(at(60))
    assert w.exec_times() == [at(60)]
    assert w.points()[1:] == [("SKIPPED", at(60), at(60) + HOUR)]


def test_a_changed_schedule_begins_now(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))))
    w.run(70)
    w.breaks = 1
    w.restart(dag("d", "a", schedule=fixed(seconds(300), start=at(-86_400)), catch_up=True), after=30)
    assert w.exec_times() == [at(60)]  # nothing of the time before the change
    w.until(at(300))
    assert w.points()[1:] == [("REGULAR", at(300), at(600))]


def test_a_schedule_given_to_a_dag_that_had_none_begins_now(world: Make) -> None:
    w = world(dag("d", "a"))
    w.restart(dag("d", "a", schedule=fixed(seconds(300), start=at(-86_400)), catch_up=True), after=30)
    assert w.runs() == []
    w.until(at(300))
    assert w.points() == [("REGULAR", at(300), at(600))]


def test_a_new_dag_with_catch_up_begins_at_its_start(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(-3 * 3600)), catch_up=True))
    assert w.exec_times() == [at(-3 * 3600), at(-2 * 3600), at(-3600), T0]


def test_a_new_dag_without_catch_up_begins_with_the_next_point(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(-3 * 3600 + 60))))
    assert w.points() == []
    w.until(at(60))
    assert w.points() == [("REGULAR", at(60), at(3660))]


def test_another_start_is_another_schedule(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))))
    w.run(70)
    w.breaks = 1
    w.restart(dag("d", "a", schedule=fixed(start=at(90))))
    w.run(60)
    assert w.exec_times() == [at(60), at(90)]


def test_other_tasks_leave_the_cursor_alone(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))))
    w.run(70)
    w.restart(dag("d", "a", "b: a", schedule=fixed(start=at(60))), after=3600)
    assert w.points() == [("REGULAR", at(60), at(3660)), ("REGULAR", at(3660), at(7260))]


def test_a_dag_that_is_removed_gets_no_runs_and_begins_anew_when_it_returns(world: Make) -> None:
    there = dag("d", "a", schedule=fixed(start=at(60)), catch_up=True)
    other = dag("e", "a")
    w = world(there, other)
    w.run(70)
    w.breaks = 1
    w.restart(other, after=30)
    w.run(3 * 3600, step=50)
    assert w.exec_times() == [at(60)]
    assert w.dag_row()["RemovedAt"] is not None
    w.restart(there, other, after=5)
    assert w.exec_times() == [at(60)]
    assert w.dag_row()["RemovedAt"] is None
    w.until(at(4 * 3600 + 60), step=50)
    assert w.exec_times() == [at(60), at(4 * 3600 + 60)]


def test_open_runs_of_a_removed_dag_go_on(world: Make) -> None:
    w = world(dag("d", "a", "b: a"), dag("e", "a"))
    run = w.trigger("d")
    w.restart(dag("e", "a"))
    w.executor().finish()
    assert w.status(run) == "SUCCESS"


def test_a_smaller_cap_after_a_restart_holds_for_new_runs(world: Make) -> None:
    points = fixed(seconds(10), start=at(10))
    w = world(dag("d", "a", schedule=points, max_active_runs=3))
    ex = w.executor()
    w.run(65)
    assert len(w.runs()) == 3
    w.checks = False  # the three that run may stay
    w.restart(dag("d", "a", schedule=points, max_active_runs=1, catch_up=True))
    ex.claim()
    for grant in list(ex.held.values())[:2]:
        ex.report(grant)
    w.checks = True
    w.run(10)
    assert [status for _, status in w.runs()].count("RUNNING") == 1


def test_a_larger_cap_after_a_restart_lets_waiting_runs_begin(world: Make) -> None:
    w = world(dag("d", "a", max_active_runs=1))
    runs = [w.trigger() for _ in range(3)]
    assert [w.status(run) for run in runs] == ["RUNNING", "SCHEDULED", "SCHEDULED"]
    w.restart(dag("d", "a", max_active_runs=2))
    assert [w.status(run) for run in runs] == ["RUNNING", "RUNNING", "SCHEDULED"]


def test_the_next_wake_is_the_next_point(world: Make) -> None:
    w = world(dag("d", "a", schedule=fixed(start=at(60))), dag("e", "a", schedule=fixed(start=at(70))))
    assert w.scheduler.memory.watcher.next_wake() == at(60)
    w.until(at(60))
    assert w.scheduler.memory.watcher.next_wake() == at(70)


def test_runs_without_tasks_end_at_once_and_every_point_has_one(world: Make) -> None:
    w = world(dag("d", schedule=fixed(seconds(10), start=at(10)), max_active_runs=1))
    w.run(40, step=40)
    assert w.runs() == [(at(10 * n), "SUCCESS") for n in range(1, 5)]


def test_a_scheduled_run_takes_the_default_parameters(world: Make) -> None:
    import msgspec

    class Params(msgspec.Struct):
        size: int = 3
        name: str = "x"

    w = world(dag("d", "a", schedule=fixed(start=at(10)), params=Params))
    ex = w.executor()
    w.run(10)
    [grant] = ex.claim()
    assert (grant.params, grant.trigger) == ({"size": 3, "name": "x"}, "schedule")


def test_what_a_clock_set_back_makes_the_future_again_is_not_missed(world: Make) -> None:
    """A start counts all before it as missed; then the clock is mended, before the first step."""
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(30))))
    w.jump(600)
    w.scheduler.start(w.now())
    w.set_clock(-300)
    w.send()
    w.run(60)
    assert w.exec_times() == [at(0), at(300), at(330), at(360)]


def test_a_cursor_that_leaves_one_gap_for_another_is_settled_again(world: Make) -> None:
    """What a downtime leaves over may lie in a second gap, before the first step."""
    w = world(dag("d", "a", schedule=Fixed(T0, seconds(200))))
    w.jump(595)
    w.scheduler.start(w.now())
    w.set_clock(410)
    w.send()
    assert w.exec_times() == [at(0), at(1000)]
