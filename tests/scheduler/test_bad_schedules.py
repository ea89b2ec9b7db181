"""A schedule is the user's code: one that misbehaves takes its own dag out of service, and nothing else."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from ppacer.schedule import Fixed
from ppacer.scheduler import PauseDag, UnpauseDag
from scheduler.harness import T0, World, at, dag, seconds

Make = Callable[..., World]


class Moody:
    """Every ten seconds, until `mood` is set: then it answers what `mood` does."""

    start = None

    def __init__(self, mood: Callable[[datetime], Any] | None = None) -> None:
        self.mood = mood

    def next(self, current: datetime, previous: datetime | None) -> Any:
        good = Fixed(T0, seconds(10)).next(current)
        return good if self.mood is None else self.mood(current)

    def __str__(self) -> str:
        return "moody"


def raises(current: datetime) -> Any:
    raise RuntimeError("the calendar service is away")


def exits(current: datetime) -> Any:
    raise SystemExit(3)


def naive(current: datetime) -> Any:
    return (current + timedelta(seconds=10)).replace(tzinfo=None)


def same(current: datetime) -> Any:
    return current


def backwards(current: datetime) -> Any:
    return current - timedelta(days=1)


def words(current: datetime) -> Any:
    return "tomorrow"


MOODS = {
    "raises": (raises, "the calendar service is away"),
    "exits": (exits, "SystemExit"),
    "naive": (naive, "time zone"),
    "same": (same, "out of band"),
    "backwards": (backwards, "out of band"),
    "words": (words, "datetime"),
}


@pytest.mark.parametrize("mood", MOODS)
def test_a_schedule_that_misbehaves_disables_its_own_dag_visibly(world: Make, mood: str) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody), dag("e", "a", schedule=Fixed(T0, seconds(10))))
    w.run(20)
    assert len(w.runs("d")) == 3
    moody.mood, reason = MOODS[mood]
    w.run(30)
    row = w.dag_row("d")
    assert reason in row["DisabledReason"]
    assert row["DisabledAt"] is not None
    assert len(w.runs("d")) == 3
    assert w.dag_row("e")["DisabledAt"] is None
    assert w.exec_times("e") == [at(10 * n) for n in range(6)]


@pytest.mark.parametrize("mood", MOODS)
def test_a_schedule_that_misbehaves_at_the_start_disables_its_own_dag(world: Make, mood: str) -> None:
    w = world(dag("d", "a", schedule=Moody(MOODS[mood][0])), dag("e", "a", schedule=Fixed(T0, seconds(10))))
    assert MOODS[mood][1] in w.dag_row("d")["DisabledReason"]
    w.run(10)
    assert w.exec_times("e") == [T0, at(10)]
    assert w.runs("d") == []


def test_a_schedule_that_misbehaves_after_a_downtime_disables_its_own_dag(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody), dag("e", "a"))
    moody.mood = raises
    w.restart(after=3600)
    assert w.dag_row("d")["DisabledReason"] is not None
    w.trigger("e")


def test_a_disabled_dag_gets_another_chance_at_a_restart(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody))
    w.run(20)
    moody.mood = raises
    w.run(20)
    moody.mood = None
    w.restart(after=20)
    assert w.dag_row()["DisabledReason"] is None
    assert w.exec_times() == [T0, at(10), at(20), at(60)]
    w.run(10)
    assert w.exec_times()[4:] == [at(70)]


def test_a_dag_that_is_bad_again_after_a_restart_is_disabled_again(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody))
    moody.mood = raises
    w.run(20)
    w.restart(after=20)
    assert w.dag_row()["DisabledReason"] is not None


def test_unpausing_a_disabled_dag_gives_it_another_chance_from_now_on(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody))
    moody.mood = raises
    w.run(3605)
    moody.mood = None
    w.do(UnpauseDag("d"))
    assert w.dag_row()["DisabledReason"] is None
    assert [p for p in w.points() if p[0] != "OUT_OF_BAND"] == [
        ("REGULAR", T0, at(10)),
        ("SKIPPED", at(10), at(3610)),
    ]
    w.run(5)
    assert w.exec_times() == [T0, at(3610)]


def test_unpausing_a_dag_that_was_bad_from_the_start_gives_it_another_chance(world: Make) -> None:
    moody = Moody(raises)
    w = world(dag("d", "a", schedule=moody))
    w.run(20)
    moody.mood = None
    w.do(UnpauseDag("d"))
    assert w.dag_row()["DisabledReason"] is None
    w.run(10)
    assert w.exec_times() == [at(30)]


def test_unpausing_a_dag_that_is_still_bad_is_refused(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody), dag("e", "a"))
    moody.mood = raises
    w.run(20)
    before = w.everything()
    assert "dag 'd' cannot go on" in str(w.refused(UnpauseDag("d")))
    assert w.everything() == before
    w.trigger("e")


def test_a_paused_dag_whose_schedule_fails_stays_paused_and_its_points_never_run(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody, catch_up=True))
    w.do(PauseDag("d"))
    w.run(30)
    moody.mood = raises
    assert "the calendar service is away" in str(w.refused(UnpauseDag("d")))
    moody.mood = None
    w.restart(after=25)
    w.do(UnpauseDag("d"))
    w.run(5)
    assert w.points() == [("REGULAR", T0, at(10)), ("SKIPPED", at(10), at(60)), ("REGULAR", at(60), at(70))]


def test_pausing_a_disabled_dag_keeps_the_reason(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody))
    moody.mood = raises
    w.run(20)
    before = w.dag_row()
    w.do(PauseDag("d"))
    row = w.dag_row()
    assert row["DisabledReason"] == before["DisabledReason"]
    assert row["DisabledAt"] == before["DisabledAt"]
    assert row["PausedAt"] is not None


def test_a_manual_run_of_a_disabled_dag_works(world: Make) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody))
    moody.mood = raises
    w.run(20)
    run = w.trigger()
    w.executor().finish()
    assert w.status(run) == "SUCCESS"


@pytest.mark.parametrize("mood", ["same", "backwards"])
def test_a_schedule_that_does_not_advance_is_recorded_as_out_of_band(world: Make, mood: str) -> None:
    moody = Moody()
    w = world(dag("d", "a", schedule=moody))
    moody.mood = MOODS[mood][0]
    w.run(20)
    assert [event for event in w.events() if event == "OUT_OF_BAND"] == ["OUT_OF_BAND"]


def test_a_schedule_that_raises_in_the_middle_of_many_points_keeps_those_before(world: Make) -> None:
    moody = Moody()
    moody.mood = lambda current: (
        raises(current) if current >= at(30) else Fixed(T0, seconds(10)).next(current)
    )
    w = world(dag("d", "a", schedule=moody))
    w.run(60, step=60)
    assert w.exec_times() == [T0, at(10), at(20)]
    assert w.dag_row()["DisabledReason"] is not None
