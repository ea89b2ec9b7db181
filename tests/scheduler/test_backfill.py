"""Backfills: each point of a range without a run gets one, some at once, behind the dag's own points."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ppacer.dag import Dag
from ppacer.engine.changes import BackfillMarked
from ppacer.errors import ConflictError, NotFoundError, ParamsError, SchedulerUnavailable
from ppacer.protocol import End
from ppacer.schedule import Cron, Fixed
from ppacer.scheduler import (
    CancelBackfill,
    CancelRun,
    Origin,
    PauseBackfill,
    PauseDag,
    RestartRun,
    StartBackfill,
    TriggerRun,
    UnpauseBackfill,
    UnpauseDag,
)
from ppacer.scheduler.requests import Request
from ppacer.store.backfills import BackfillRef
from scheduler.harness import T0, Executor, World, at, dag, failing
from scheduler.test_commands import unchanged

Make = Callable[..., World]
HOUR = timedelta(hours=1)
AGO = T0 - 10 * HOUR  # the last point before T0 is at T0 - 30 min
BEGIN = AGO + HOUR / 2
TEN = [BEGIN + n * HOUR for n in range(10)]


def hourly(id: str = "d", **options: Any) -> Dag:
    """Every hour at half past, since long ago."""
    return dag(id, "a", schedule=Fixed(BEGIN - 100 * HOUR, HOUR), **options)


def start(w: World, begin: datetime = AGO, end: datetime | None = None, **options: Any) -> int:
    """A backfill; its number, after the step in which its first runs begin."""
    ref: BackfillRef = w.do(StartBackfill("d", begin, end, **options))
    assert ref.dag_id == "d"
    w.send()
    return ref.backfill_id


def row(w: World, backfill_id: int = 1) -> dict[str, Any]:
    [found] = w.rows("SELECT * FROM backfills WHERE BackfillId = ?", backfill_id)
    return found


def mine(w: World, backfill_id: int = 1) -> list[datetime]:
    """The execution times of its runs, in the order of their creation."""
    found = w.rows("SELECT ExecTs FROM dagruns WHERE BackfillId = ? ORDER BY RunId", backfill_id)
    return [datetime.fromisoformat(each["ExecTs"]) for each in found]


def open_runs(w: World, backfill_id: int = 1) -> int:
    where = "BackfillId = ? AND Status IN ('RUNNING', 'SCHEDULED')"
    return int(w.rows(f"SELECT COUNT(*) AS n FROM dagruns WHERE {where}", backfill_id)[0]["n"])


def finish(w: World, ex: Executor, end: End = End.SUCCESS) -> None:
    """Lets everything run to its end."""
    for _ in range(100):
        w.send()
        if not ex.held and not ex.claim(wait=0.0):
            return
        for grant in list(ex.held.values()):
            ex.report(grant, end)
    raise AssertionError("never came to an end")


# -- what runs -----------------------------------------------------------------------------------------------


def test_each_point_of_the_range_gets_one_run_oldest_first(world: Make) -> None:
    w = world(hourly())
    start(w)
    finish(w, w.executor())
    assert mine(w) == TEN
    assert {each["TriggeredBy"] for each in w.rows("SELECT TriggeredBy FROM dagruns")} == {"backfill"}
    assert (row(w)["Position"], row(w)["Passed"], row(w)["EndedAt"] is not None) == (10, 0, True)
    assert w.events() == ["MANUALLY_TRIGGERED"] * 10


def test_newest_first_begins_with_the_newest(world: Make) -> None:
    w = world(hourly())
    start(w, newest_first=True)
    finish(w, w.executor())
    assert mine(w) == TEN[::-1]


def test_the_end_of_the_range_does_not_belong_to_it_and_the_begin_does(world: Make) -> None:
    w = world(hourly())
    start(w, TEN[2], TEN[4])
    finish(w, w.executor())
    assert mine(w) == TEN[2:4]


@pytest.mark.parametrize("at_once", [1, 3, 9, 10, 11])
def test_as_many_are_open_at_once_as_it_may_have(world: Make, at_once: int) -> None:
    w = world(hourly())
    start(w, max_active_runs=at_once)
    ex = w.executor()
    begun = min(at_once, 10)
    assert open_runs(w) == begun
    while mine(w) != TEN:
        ex.claim(wait=0.0)
        ex.report(next(iter(ex.held.values())))
        w.send()
        begun = min(begun + 1, 10)
        assert len(mine(w)) == begun
        assert open_runs(w) <= at_once


def test_nothing_is_begun_while_nothing_ends(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=2)
    commits = w.store.commits
    w.run(1000)
    assert (len(mine(w)), w.store.commits) == (2, commits)
    assert not w.scheduler.memory.backfills.are_due


def test_its_own_limit_and_the_one_of_the_dag_both_hold(world: Make) -> None:
    w = world(hourly(max_active_runs=3))
    ids = [w.trigger(), w.trigger()]
    start(w, max_active_runs=2)
    assert open_runs(w) == 1
    w.do(CancelRun(ids[0]))
    w.send()
    assert open_runs(w) == 2
    w.do(CancelRun(ids[1]))
    w.send()
    assert open_runs(w) == 2


def test_a_point_that_has_a_run_is_none_of_its_points(world: Make) -> None:
    w = world(hourly())
    w.do(TriggerRun("d", {}, TEN[3]))
    start(w)
    assert row(w)["PointCount"] == 9
    finish(w, w.executor())
    assert mine(w) == [*TEN[:3], *TEN[4:]]
    assert len(w.exec_times()) == 10


def test_a_point_that_has_got_a_run_meanwhile_is_passed_over(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=1)
    w.do(TriggerRun("d", {}, TEN[5]))
    w.do(TriggerRun("d", {}, TEN[9]))
    finish(w, w.executor())
    assert mine(w) == [*TEN[:5], *TEN[6:9]]
    assert (row(w)["Position"], row(w)["Passed"]) == (10, 2)
    assert row(w)["EndedAt"] is not None


def test_two_backfills_of_one_range_make_each_run_once(world: Make) -> None:
    w = world(hourly())
    one, two = w.send(StartBackfill("d", AGO), StartBackfill("d", AGO, newest_first=True))
    assert [r.future.result(0).backfill_id for r in (one, two)] == [1, 2]
    finish(w, w.executor())
    assert sorted(mine(w, 1) + mine(w, 2)) == TEN
    assert mine(w, 2)[0] == TEN[9]
    assert row(w, 1)["Passed"] + row(w, 2)["Passed"] == 10


def test_points_that_were_skipped_get_their_runs(world: Make) -> None:
    w = world(hourly())
    w.do(PauseDag("d"))
    w.run(3 * 3600, step=600)
    w.do(UnpauseDag("d"))
    assert w.events() == ["SKIPPED"]
    start(w, T0)
    finish(w, w.executor())
    assert mine(w) == [T0 + HOUR / 2 + n * HOUR for n in range(3)]


def test_parameters_are_those_of_every_run_with_the_defaults_filled_in(world: Make) -> None:
    w = world(hourly(params=Defaults))
    start(w, params={"size": 3})
    assert [grant.params for grant in w.executor().claim()] == [{"size": 3, "name": "x"}] * 4


@dataclass
class Defaults:
    """Parameters with defaults, as a dag with a schedule needs."""

    size: int = 1
    name: str = "x"


def test_a_dag_without_tasks_is_done_at_once(world: Make) -> None:
    w = world(dag("d", schedule=Fixed(BEGIN, HOUR)))
    start(w)
    assert mine(w) == TEN
    assert row(w)["EndedAt"] is not None


def test_more_points_than_one_step_takes(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.scheduler.backfills.POINTS_PER_STEP", 3)
    monkeypatch.setattr("ppacer.scheduler.backfills.POINTS_READ", 2)
    w = world(hourly(max_active_runs=100))
    start(w, max_active_runs=50)
    assert mine(w) == TEN[:3]
    w.send()
    assert mine(w) == TEN[:6]
    finish(w, w.executor())
    assert mine(w) == TEN


# -- beside the dag's own points -----------------------------------------------------------------------------


def test_the_points_of_the_dag_go_first(world: Make) -> None:
    """At the cap a point falls due: the next free place is its own, and only the one after that goes on."""
    w = world(hourly(max_active_runs=2))
    start(w, max_active_runs=2)
    ex = w.executor()
    ex.claim(wait=0.0)
    w.run(1800, beat=[ex])
    assert w.exec_times() == TEN[:2]
    ex.report(next(iter(ex.held.values())))
    w.send()
    assert w.exec_times() == [*TEN[:2], at(1800)]
    ex.report(next(iter(ex.held.values())))
    w.send()
    assert w.exec_times() == [*TEN[:2], at(1800), TEN[2]]


def test_points_that_take_several_steps_all_go_first(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppacer.scheduler.watcher.POINTS_PER_STEP", 1)
    w = world(hourly())
    w.send(StartBackfill("d", AGO, max_active_runs=1), PauseBackfill(1))
    w.restart(hourly(catch_up=True), after=5 * 3600)
    w.do(UnpauseBackfill(1))
    for _ in range(5):
        w.send()
    assert w.exec_times() == [*(T0 + HOUR / 2 + n * HOUR for n in range(5)), TEN[0]]


def test_a_dag_that_is_behind_holds_its_backfill_up_and_not_for_ever(world: Make) -> None:
    w = world(hourly(max_active_runs=1))
    ex = w.executor()
    w.run(1800)
    ex.claim(wait=0.0)
    start(w)
    w.run(7200, beat=[ex])
    assert mine(w) == []
    finish(w, ex)
    assert w.exec_times() == [at(1800), at(5400), at(9000), *TEN]


def test_a_paused_dag_can_be_backfilled_even_where_its_points_wait(world: Make) -> None:
    w = world(hourly(max_active_runs=1))
    ex = w.executor()
    w.run(1800)
    ex.claim(wait=0.0)
    w.run(3660, beat=[ex])
    w.do(PauseDag("d"))
    start(w, T0, max_active_runs=1)
    finish(w, ex)
    assert mine(w) == [at(5400)]
    w.do(UnpauseDag("d"))
    assert w.exec_times() == [at(1800), at(5400)]
    w.run(3600)
    assert w.exec_times() == [at(1800), at(5400), at(9000)]


def test_a_disabled_dag_can_be_backfilled(world: Make) -> None:
    w = world(hourly())
    ref = w.do(StartBackfill("d", AGO, max_active_runs=1))
    w.scheduler.memory.watcher.disable("d", ValueError("no"), w.utc)
    w.checks = False  # memory was changed by hand
    finish(w, w.executor())
    assert mine(w, ref.backfill_id) == TEN


# -- pausing, cancelling -------------------------------------------------------------------------------------


def test_a_pause_lets_open_runs_go_on_and_begins_none(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=2)
    assert w.do(PauseBackfill(1)) == BackfillRef(1, "d")
    finish(w, w.executor())
    assert len(mine(w)) == 2
    assert row(w)["PausedAt"] is not None
    w.do(UnpauseBackfill(1))
    finish(w, w.executor())
    assert mine(w) == TEN
    assert row(w)["PausedAt"] is None


def test_a_pause_twice_is_one(world: Make) -> None:
    w = world(hourly())
    start(w)
    w.do(PauseBackfill(1))
    before = row(w)
    w.jump(1)
    w.do(PauseBackfill(1))
    assert row(w) == before


def test_a_cancel_ends_its_open_runs_in_the_same_commit(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=3)
    other = w.trigger()
    commits = w.store.commits
    w.do(CancelBackfill(1))
    assert w.store.commits == commits + 1
    assert [status for _, status in w.runs()] == ["CANCELLED"] * 3 + ["RUNNING"]
    assert row(w)["EndedAt"] is None
    w.send()
    assert row(w)["EndedAt"] is not None
    w.do(CancelRun(other))
    w.send()
    assert len(mine(w)) == 3


def test_a_cancelled_backfill_ends_when_its_running_tasks_have(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=2)
    ex = w.executor()
    ex.claim(wait=0.0)
    w.do(CancelBackfill(1))
    w.send()
    assert row(w)["EndedAt"] is None
    ex.beat()
    assert sorted(ex.cancelled) == sorted(ex.held)
    for grant in list(ex.held.values()):
        ex.report(grant, End.CANCELLED)
    w.send()
    assert row(w)["EndedAt"] is not None
    assert {status for _, status in w.runs()} == {"CANCELLED"}


def test_a_paused_backfill_can_be_cancelled(world: Make) -> None:
    w = world(hourly())
    start(w)
    w.do(PauseBackfill(1))
    w.do(CancelBackfill(1))
    w.send()
    assert row(w)["EndedAt"] is not None


@pytest.mark.parametrize("command", [PauseBackfill, UnpauseBackfill, CancelBackfill])
def test_what_has_ended_or_never_was_is_refused(world: Make, command: Any) -> None:
    w = world(hourly())
    for number in (0, -1, 1, 2**31, 10**17):
        assert isinstance(unchanged(w, command(number)), NotFoundError)
    start(w)
    finish(w, w.executor())
    error = unchanged(w, command(1))
    assert isinstance(error, ConflictError)
    assert str(error) == "backfill 1 has ended"


def test_commands_of_one_batch_follow_each_other(world: Make) -> None:
    w = world(hourly())
    requests = w.send(
        StartBackfill("d", AGO), PauseBackfill(1), UnpauseBackfill(1), PauseBackfill(1), CancelBackfill(1)
    )
    assert [request.future.result(0).backfill_id for request in requests] == [1] * 5
    w.send()
    assert mine(w) == []
    assert row(w)["EndedAt"] is not None


def test_a_run_that_is_restarted_by_hand_counts_as_open_again(world: Make) -> None:
    w = world(hourly())
    start(w, TEN[7], max_active_runs=1)
    ex = w.executor()
    [grant] = ex.claim(wait=0.0)
    ex.report(grant, End.FAILED)
    w.do(RestartRun(1))  # in this step the second run begins, too
    assert open_runs(w) == 2
    for grant in ex.claim(wait=0.0)[:1]:
        ex.report(grant)
    w.send()
    assert (open_runs(w), mine(w)) == (1, TEN[7:9])
    finish(w, ex)
    assert mine(w) == TEN[7:]
    assert row(w)["EndedAt"] is not None


def test_a_restart_after_its_end_leaves_a_backfill_ended(world: Make) -> None:
    w = world(hourly())
    start(w, TEN[9])
    finish(w, w.executor(), End.FAILED)
    before = row(w)
    assert before["EndedAt"] is not None
    w.do(RestartRun(1))
    finish(w, w.executor())
    assert w.status(1) == "SUCCESS"
    assert row(w) == before


# -- what cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (at(1), None, "begins at 2026-03-02T12:00:01Z, which is to come"),
        (AGO, at(1), "ends at 2026-03-02T12:00:01Z, which is to come"),
        (AGO, AGO, "so it is empty"),
        (AGO + HOUR, AGO, "begins at 2026-03-02T03:00:00Z and ends at 2026-03-02T02:00:00Z, so it is empty"),
        (AGO, BEGIN, "has no points"),
        (T0, None, "so it is empty"),
        (datetime.min.replace(tzinfo=timezone(HOUR)), None, "has none in UTC"),
    ],
)
def test_a_range_that_cannot_be_is_refused(
    world: Make, begin: datetime, end: datetime | None, words: str
) -> None:
    w = world(hourly())
    error = unchanged(w, StartBackfill("d", begin, end))
    assert isinstance(error, ParamsError)
    assert words in str(error)


def test_too_many_points_are_refused_with_a_range_that_is_not(world: Make) -> None:
    w = world(dag("d", "a", schedule=Fixed(T0 - timedelta(days=1), timedelta(seconds=8))))
    error = unchanged(w, StartBackfill("d", T0 - timedelta(days=1)))
    assert isinstance(error, ParamsError)
    last = T0 - timedelta(days=1) + 10_000 * timedelta(seconds=8)
    assert f"let it end at {last.isoformat().replace('+00:00', 'Z')}" in str(error)
    w.do(StartBackfill("d", T0 - timedelta(days=1), last))
    assert row(w)["PointCount"] == 10_000
    w.do(StartBackfill("d", last))
    assert row(w, 2)["PointCount"] == 800


def test_a_range_of_which_every_point_has_a_run_is_refused(world: Make) -> None:
    w = world(hourly())
    start(w)
    finish(w, w.executor())
    error = unchanged(w, StartBackfill("d", AGO))
    assert isinstance(error, ConflictError)
    assert "all of its 10 points have a run already" in str(error)
    assert "its only point has" in str(unchanged(w, StartBackfill("d", TEN[9])))


def test_a_dag_that_is_unknown_or_has_no_schedule_is_refused(world: Make) -> None:
    w = world(dag("d", "a"), hourly("e"))
    assert "has no schedule" in str(unchanged(w, StartBackfill("d", AGO)))
    assert isinstance(unchanged(w, StartBackfill("f", AGO)), NotFoundError)
    w.restart(dag("d", "a"))
    assert isinstance(unchanged(w, StartBackfill("e", AGO)), NotFoundError)


@pytest.mark.parametrize("at_once", [0, -1, 1001])
def test_a_limit_that_cannot_be_is_refused(world: Make, at_once: int) -> None:
    w = world(hourly())
    assert "1 to 1,000 runs at once" in str(unchanged(w, StartBackfill("d", AGO, max_active_runs=at_once)))


def test_wrong_parameters_are_refused(world: Make) -> None:
    w = world(hourly())
    assert isinstance(unchanged(w, StartBackfill("d", AGO, params={"x": 1})), ParamsError)


def test_a_hundred_are_open_at_once_and_no_more(world: Make) -> None:
    w = world(hourly(max_active_runs=1))
    w.send(*(StartBackfill("d", AGO) for _ in range(100)))
    w.send()
    assert "100 backfills are open" in str(unchanged(w, StartBackfill("d", AGO)))
    w.do(CancelBackfill(50))
    w.send()
    assert w.do(StartBackfill("d", AGO)).backfill_id == 101


def test_times_without_a_zone_are_on_the_clock_of_the_schedule(world: Make) -> None:
    cron = Cron("0 0 * * *", tz="Europe/Warsaw")
    w = world(dag("d", "a", schedule=cron))
    start(w, datetime.fromisoformat("2026-02-01"), datetime.fromisoformat("2026-02-03"))
    finish(w, w.executor())
    assert mine(w) == [datetime(2026, 1, 31, 23, tzinfo=UTC), datetime(2026, 2, 1, 23, tzinfo=UTC)]


def test_around_a_change_of_the_clocks_each_point_is_one_run(world: Make) -> None:
    cron = Cron("30 1,2,3 * * *", tz="Europe/Warsaw")
    w = world(dag("d", "a", schedule=cron))
    for day in map(datetime.fromisoformat, ("2025-03-30", "2025-10-26")):
        number = start(w, day, day + timedelta(days=1), max_active_runs=16)
        local = [each.strftime("%H:%M") for each in mine(w, number)]
        assert len(local) == len(set(local)) == 3
        finish(w, w.executor())


# -- nothing is lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("skip", range(8))
def test_a_commit_that_fails_anywhere_loses_and_doubles_nothing(world: Make, when: str, skip: int) -> None:
    w = world(hourly())
    w.store.faults = [None] * skip + list(failing(when))
    [request] = w.send(StartBackfill("d", AGO, max_active_runs=3))
    for _ in range(20):
        w.jump(1)
        w.send()
    if request.future.exception(0) is not None:
        w.do(StartBackfill("d", AGO, max_active_runs=3))
    finish(w, w.executor())
    assert mine(w) == TEN
    assert len(w.rows("SELECT * FROM backfills")) == 1


@pytest.mark.parametrize("steps", range(6))
def test_a_program_that_dies_after_any_step_goes_on_where_it_was(world: Make, steps: int) -> None:
    w = world(hourly())
    w.do(StartBackfill("d", AGO, max_active_runs=3))
    ex = w.executor()
    for _ in range(steps):
        w.send()
        ex.claim(wait=0.0)
        for grant in list(ex.held.values())[:1]:
            ex.report(grant)
    w.restart()
    assert open_runs(w) <= 3
    finish(w, w.executor())
    assert mine(w) == TEN
    assert row(w)["EndedAt"] is not None


def test_what_was_paused_or_cancelled_stays_so_over_a_restart(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=1)
    start(w, max_active_runs=1, newest_first=True)
    w.do(PauseBackfill(1))
    ex = w.executor()
    ex.claim(wait=0.0)
    w.do(CancelBackfill(2))
    w.restart()
    finish(w, w.executor())
    assert (len(mine(w, 1)), len(mine(w, 2))) == (1, 1)
    assert (row(w, 1)["EndedAt"], row(w, 2)["EndedAt"] is not None) == (None, True)


def test_while_its_dag_is_not_served_it_waits(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=1)
    w.restart(dag("e", "a"))
    finish(w, w.executor())
    assert len(mine(w)) == 1
    w.restart(hourly())
    finish(w, w.executor())
    assert mine(w) == TEN


def test_a_cancel_reaches_a_backfill_whose_dag_is_not_served(world: Make) -> None:
    w = world(hourly())
    start(w)
    w.restart(dag("e", "a"))
    w.do(CancelBackfill(1))
    w.send()
    assert row(w)["EndedAt"] is not None


def test_a_change_of_the_schedule_leaves_its_points_alone(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=1)
    w.restart(dag("d", "a", "b", schedule=Fixed(T0, timedelta(minutes=7))))
    w.do(PauseDag("d"))
    w.breaks = 1
    finish(w, w.executor())
    assert mine(w) == TEN


def test_one_that_cannot_be_written_is_paused_with_the_reason_and_the_others_go_on(world: Make) -> None:
    w = world(hourly())
    start(w, max_active_runs=1)
    w.do(PauseBackfill(1))
    start(w, TEN[5], max_active_runs=1)
    w.write("UPDATE backfillpoints SET ExecTs = 'nonsense' WHERE BackfillId = 1")
    w.restart()
    w.do(UnpauseBackfill(1))
    finish(w, w.executor())
    assert mine(w, 2) == TEN[5:]
    assert row(w)["PausedAt"] is not None
    assert "ValueError" in row(w)["PauseReason"]
    heard = [change for change in w.changes if isinstance(change, BackfillMarked) and change.pause_reason]
    assert len(heard) == 1  # pages that are open show it


def test_a_row_that_was_changed_behind_its_back_stops_nobody_else(world: Make) -> None:
    w = world(hourly(), dag("e", "a"))
    start(w, max_active_runs=1)
    w.checks = False  # of memory with the rows, until it was read back
    w.write("UPDATE backfills SET Position = 7 WHERE BackfillId = 1")
    ex = w.executor()
    w.trigger("e")
    finish(w, ex)
    assert {status for _, status in w.runs("e")} == {"SUCCESS"}
    assert mine(w) == [TEN[0], *TEN[7:]]


# -- who asked -----------------------------------------------------------------------------------------------


def test_the_same_command_again_is_answered_as_before(world: Make) -> None:
    w = world(hourly())
    origin = Origin("ann", "::1", "key-1")
    first = w.do(Request(StartBackfill("d", AGO), origin))
    w.restart()
    assert w.do(Request(StartBackfill("d", AGO), origin)) == first
    assert len(w.rows("SELECT * FROM backfills")) == 1
    assert row(w)["CreatedBy"] == "ann"


def test_every_command_leaves_a_row_in_the_audit(world: Make) -> None:
    w = world(hourly())
    start(w)
    for command in (PauseBackfill(1), UnpauseBackfill(1), CancelBackfill(1), PauseBackfill(2)):
        w.send(command)
    w.refused(StartBackfill("d", at(5)))
    rows = w.rows("SELECT Command, DagId, Outcome FROM audit ORDER BY AuditId")
    assert [tuple(each.values()) for each in rows] == [
        ("start_backfill", "d", "done"),
        ("pause_backfill", "d", "done"),
        ("unpause_backfill", "d", "done"),
        ("cancel_backfill", "d", "done"),
        ("pause_backfill", None, "not_found"),
        ("start_backfill", "d", "not_possible"),
    ]


def test_a_command_is_refused_while_the_database_is_away(world: Make) -> None:
    w = world(hourly())
    start(w)
    w.store.away = True
    [request] = w.send(CancelBackfill(1))
    w.store.away = False
    w.jump(10)
    w.send()
    assert isinstance(request.future.exception(0), SchedulerUnavailable)
    assert row(w)["CancelRequestedAt"] is None
    assert {status for _, status in w.runs()} == {"RUNNING"}
