"""Missed points: what stays and what is skipped, against an oracle that lists them all; and at what cost."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppacer.errors import ScheduleError
from ppacer.schedule import (
    RECENT,
    CatchUp,
    Cron,
    Fixed,
    Missed,
    Schedule,
    Stretch,
    backlog,
    next_point,
    settle_missed,
    validate_catch_up,
)

NOON = datetime(2024, 3, 11, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
HOURLY = Fixed(NOON, HOUR)
YEARS_LATER = NOON + timedelta(days=3650)


class Listed:
    """A schedule that ends: these points and no more."""

    start: datetime | None = None

    def __init__(self, points: Sequence[datetime]) -> None:
        self.points = list(points)

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        at = bisect.bisect_right(self.points, current)
        return self.points[at] if at < len(self.points) else None

    def __str__(self) -> str:
        return "listed"


@dataclass
class Counting:
    """Counts the calls of another schedule."""

    schedule: Schedule
    calls: int = 0

    @property
    def start(self) -> datetime | None:
        return self.schedule.start

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        self.calls += 1
        assert self.calls < 2_000_000, "the points are being enumerated"
        assert previous is None or previous <= current
        return self.schedule.next(current, previous)


def kept(missed: Missed, schedule: Schedule, now: datetime) -> list[datetime]:
    """The missed points that stay."""
    found: list[datetime] = []
    point = missed.resume
    while point is not None and point <= now:
        found.append(point)
        point = next_point(schedule, point, point)
    return found


# --- by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [False, True, 0, 1, 3, HOUR])
def test_nothing_is_missed_before_the_cursor(policy: CatchUp) -> None:
    schedule = Counting(HOURLY)
    assert settle_missed(schedule, NOON, NOON - TICK, policy) == Missed(None, NOON)
    assert schedule.calls == 0


@pytest.mark.parametrize("policy", [False, True, 0, 1, 3, HOUR, TICK])
@pytest.mark.parametrize("late", [timedelta(0), 5 * SECOND, RECENT])
def test_a_point_that_is_only_just_due_runs_under_every_policy(policy: CatchUp, late: timedelta) -> None:
    """A deploy at 03:00:05 does not skip the nightly job."""
    assert settle_missed(HOURLY, NOON, NOON + late, policy) == Missed(None, NOON)


def test_without_catch_up_all_is_skipped_up_to_the_next_point() -> None:
    now = NOON + 5 * HOUR + 2 * MINUTE
    assert settle_missed(HOURLY, NOON, now, False) == Missed(Stretch(NOON, NOON + 6 * HOUR), NOON + 6 * HOUR)
    assert settle_missed(HOURLY, NOON, now, 0) == settle_missed(HOURLY, NOON, now, False)


def test_without_catch_up_the_newest_point_stays_for_sixty_seconds() -> None:
    assert timedelta(seconds=60) == RECENT
    five = NOON + 5 * HOUR
    stays = Missed(Stretch(NOON, five), five)
    assert settle_missed(HOURLY, NOON, five, False) == stays
    assert settle_missed(HOURLY, NOON, five + RECENT, False) == stays
    assert settle_missed(HOURLY, NOON, five + RECENT + TICK, False).resume == five + HOUR


def test_of_several_recent_points_only_the_newest_stays_without_catch_up() -> None:
    every_ten = Fixed(NOON, 10 * SECOND)
    now = NOON + HOUR + 5 * SECOND
    assert settle_missed(every_ten, NOON, now, False) == Missed(Stretch(NOON, NOON + HOUR), NOON + HOUR)
    soon = NOON + 25 * SECOND
    newest = NOON + 20 * SECOND
    assert settle_missed(every_ten, NOON, soon, False) == Missed(Stretch(NOON, newest), newest)


def test_with_catch_up_all_stay() -> None:
    schedule = Counting(HOURLY)
    assert settle_missed(schedule, NOON, YEARS_LATER, True) == Missed(None, NOON)
    assert schedule.calls == 0


@pytest.mark.parametrize(("number", "first_kept"), [(1, 5), (2, 4), (5, 1), (6, 0), (7, 0), (100, 0)])
def test_a_number_keeps_the_newest_so_many(number: int, first_kept: int) -> None:
    now = NOON + 5 * HOUR + 2 * MINUTE  # six points missed
    resume = NOON + first_kept * HOUR
    assert settle_missed(HOURLY, NOON, now, number) == Missed(
        Stretch(NOON, resume) if first_kept else None, resume
    )


def test_one_is_a_number_and_not_true() -> None:
    assert settle_missed(HOURLY, NOON, NOON + 5 * HOUR, 1).resume == NOON + 5 * HOUR
    assert settle_missed(HOURLY, NOON, NOON + 5 * HOUR, True).resume == NOON


@pytest.mark.parametrize(
    ("age", "first_kept"),
    [
        (2 * HOUR + 2 * MINUTE, 3),
        (2 * HOUR + 2 * MINUTE - TICK, 4),
        (2 * MINUTE, 5),
        (2 * MINUTE - TICK, 6),
        (TICK, 6),
        (5 * HOUR + 2 * MINUTE, 0),
        (5 * HOUR + 2 * MINUTE - TICK, 1),
        (timedelta.max, 0),
    ],
)
def test_a_duration_keeps_the_points_no_older(age: timedelta, first_kept: int) -> None:
    now = NOON + 5 * HOUR + 2 * MINUTE
    resume = NOON + first_kept * HOUR
    assert settle_missed(HOURLY, NOON, now, age) == Missed(
        Stretch(NOON, resume) if first_kept else None, resume
    )


def test_a_duration_shorter_than_recent_still_keeps_the_newest_recent_point() -> None:
    now = NOON + 5 * HOUR + 30 * SECOND
    assert settle_missed(HOURLY, NOON, now, 10 * SECOND).resume == NOON + 5 * HOUR


def test_a_schedule_that_has_ended_is_skipped_to_its_end() -> None:
    over = Listed([NOON, NOON + HOUR])
    assert settle_missed(over, NOON, NOON + 9 * HOUR, False) == Missed(Stretch(NOON, None), None)
    assert settle_missed(over, NOON, NOON + 9 * HOUR, 8 * HOUR).resume == NOON + HOUR
    assert settle_missed(over, NOON, NOON + 9 * HOUR, HOUR) == Missed(Stretch(NOON, None), None)
    assert settle_missed(over, NOON, NOON + 9 * HOUR, 1) == Missed(Stretch(NOON, NOON + HOUR), NOON + HOUR)
    assert settle_missed(over, NOON, NOON + HOUR, False) == Missed(Stretch(NOON, NOON + HOUR), NOON + HOUR)


def test_the_cursor_counts_although_the_schedule_has_moved_on() -> None:
    """A certificate has been renewed: its schedule no longer knows the point that fell due."""
    moved = Listed([NOON + timedelta(days=60)])
    for late in (5 * SECOND, RECENT):
        assert settle_missed(moved, NOON, NOON + late, False) == Missed(None, NOON)
    assert settle_missed(moved, NOON, NOON + HOUR, 3) == Missed(None, NOON)
    assert settle_missed(moved, NOON, NOON + HOUR, False).resume == NOON + timedelta(days=60)


def test_a_night_without_the_host_over_the_change_of_the_clock() -> None:
    nightly = Cron("30 2 * * *", tz="Europe/Warsaw")
    cursor = datetime(2024, 3, 30, 1, 30, tzinfo=UTC)
    now = datetime(2024, 3, 31, 1, 0, 20, tzinfo=UTC)  # 03:00:20, just after the gap
    assert settle_missed(nightly, cursor, now, False).resume == datetime(2024, 3, 31, 1, 0, tzinfo=UTC)


# --- against an oracle ----------------------------------------------------------------------------------

gaps = st.one_of(
    st.timedeltas(TICK, SECOND), st.timedeltas(TICK, HOUR), st.timedeltas(TICK, timedelta(days=40))
)
policies = st.one_of(st.booleans(), st.integers(0, 40), st.timedeltas(TICK, timedelta(days=100)))


def oracle(points: list[datetime], now: datetime, policy: CatchUp) -> list[datetime]:
    """The missed points that stay, straight from the words of the contract."""
    missed = [point for point in points if point <= now]
    if policy is True:
        return missed
    if policy is False:
        stay = []
    elif isinstance(policy, timedelta):
        stay = [point for point in missed if now - point <= policy]
    else:
        stay = missed[len(missed) - policy :] if policy < len(missed) else missed
    if not stay and missed and now - missed[-1] <= RECENT:
        stay = [missed[-1]]
    return stay


@given(
    gap_list=st.lists(gaps, min_size=0, max_size=60),
    since_last=st.one_of(gaps, st.timedeltas(timedelta(0), 2 * RECENT), st.just(timedelta(0))),
    later=st.lists(gaps, max_size=1),
    policy=policies,
)
@settings(max_examples=600)
def test_any_points_and_policy_agree_with_the_oracle(
    gap_list: list[timedelta], since_last: timedelta, later: list[timedelta], policy: CatchUp
) -> None:
    points = [NOON]
    for gap in gap_list:
        points.append(points[-1] + gap)
    now = points[-1] + since_last
    points += [now + gap for gap in later]
    missed = settle_missed(Listed(points), NOON, now, policy)
    stay = oracle(points, now, policy)
    assert kept(missed, Listed(points), now) == stay
    assert missed.resume == (stay[0] if stay else next((p for p in points if p > now), None))
    assert missed.skipped == (None if missed.resume == NOON else Stretch(NOON, missed.resume))


@given(
    interval=st.timedeltas(TICK, timedelta(days=2)),
    span=st.timedeltas(timedelta(0), timedelta(days=4000)),
    policy=st.integers(0, 50) | st.booleans(),
)
def test_of_a_regular_schedule_exactly_the_asked_number_stays(
    interval: timedelta, span: timedelta, policy: int
) -> None:
    now = NOON + span
    missed_count = span // interval + 1
    recent = span - (missed_count - 1) * interval <= RECENT
    stay_count = missed_count if policy is True else min(missed_count, max(int(policy), int(recent)))
    schedule = Counting(Fixed(NOON, interval))
    resume = settle_missed(schedule, NOON, now, policy).resume
    assert resume == NOON + (missed_count - stay_count) * interval
    assert schedule.calls <= 3 * stay_count + 64


# --- the cost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [False, 1, 10, 1000, 61 * SECOND])
@pytest.mark.parametrize(
    "schedule",
    [
        Fixed(NOON, SECOND),  # 315 million points
        Fixed(NOON, TICK),
        Fixed(NOON, 100 * HOUR),
        Cron("* * * * *"),
        Cron("*/5 9-17 * * MON-FRI", tz="Europe/Warsaw"),
        Cron("0 0 29 2 *"),
    ],
    ids=str,
)
def test_ten_years_of_downtime_cost_what_is_kept_and_a_logarithm(schedule: Schedule, policy: CatchUp) -> None:
    counting = Counting(schedule)
    cursor = schedule.next(NOON, None)
    assert cursor is not None
    settle_missed(counting, cursor, YEARS_LATER, policy)
    number = policy if isinstance(policy, int) else 1
    assert counting.calls <= 4 * number + 64


def test_the_usual_downtime_costs_one_call() -> None:
    hourly = Counting(HOURLY)
    settle_missed(hourly, NOON, YEARS_LATER + 30 * MINUTE, False)
    assert hourly.calls == 1


def burst(first: datetime, count: int) -> list[datetime]:
    return [first + n * TICK for n in range(count)]


@pytest.mark.parametrize("number", [1, 2, 100])
@pytest.mark.parametrize(
    "points",
    [
        burst(NOON, 100_000),
        [NOON, *burst(NOON + 5 * TICK, 1_000)],
        [NOON, *burst(NOON + HOUR, 100_000)],
        [NOON, NOON + TICK, *burst(NOON + HOUR, 50_000), *burst(NOON + 2000 * HOUR, 50_000)],
        [NOON, *(p for n in range(1, 15) for p in burst(NOON + SECOND * 4**n, 4_000))],
        [NOON, *burst(NOON + timedelta(days=1000), 100_000), NOON + timedelta(days=3649)],
        [NOON, *(NOON + TICK * 2**n for n in range(48))],
        [NOON, *(NOON + timedelta(days=3650) - TICK * 2**n for n in range(48, -1, -1))],
    ],
    ids=[
        "dense",
        "dense but for the first",
        "one burst",
        "two",
        "many",
        "burst then one",
        "slowing down",
        "speeding up",
    ],
)
def test_bursts_are_not_enumerated(points: list[datetime], number: int) -> None:
    for now in (points[-1], YEARS_LATER):
        schedule = Counting(Listed(points))
        missed = settle_missed(schedule, NOON, now, number)
        assert missed.resume == points[-number:][0]
        assert schedule.calls <= 64 * (2 * number + 4)


# --- hostile schedules ----------------------------------------------------------------------------------


@dataclass
class Hostile:
    """Answers `step` after what it is asked about, whatever has been promised."""

    step: timedelta
    start: datetime | None = None

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        return current + self.step


@pytest.mark.parametrize("policy", [False, 1, 50, 2 * MINUTE])
@pytest.mark.parametrize("step", [timedelta(0), -TICK, -HOUR])
def test_a_schedule_that_does_not_advance_is_an_error_and_not_a_loop(
    step: timedelta, policy: CatchUp
) -> None:
    with pytest.raises(ScheduleError, match="out of band"):
        settle_missed(Hostile(step), NOON, YEARS_LATER, policy)


@pytest.mark.parametrize("policy", [False, 1, 50, 2 * MINUTE])
@pytest.mark.parametrize("step", [TICK, SECOND, timedelta(days=1)])
def test_a_schedule_whose_points_depend_on_the_question_ends_too(step: timedelta, policy: CatchUp) -> None:
    schedule = Counting(Hostile(step))
    resume = settle_missed(schedule, NOON, YEARS_LATER, policy).resume
    assert resume is not None
    assert NOON <= resume <= YEARS_LATER + step
    assert schedule.calls <= 64 * (2 * (policy if isinstance(policy, int) else 1) + 4)


def test_an_error_of_the_schedule_is_named() -> None:
    class Raising(Hostile):
        def next(self, current: datetime, previous: datetime | None) -> datetime | None:
            raise LookupError("gone")

    with pytest.raises(ScheduleError, match="raised LookupError: gone"):
        settle_missed(Raising(SECOND), NOON, YEARS_LATER, False)


def test_a_downtime_of_all_time_is_settled() -> None:
    dawn, dusk = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    every = Fixed(dawn, timedelta(days=1))
    assert settle_missed(every, dawn, dusk, False) == Missed(Stretch(dawn, None), None)
    assert settle_missed(every, dawn, dusk, 1).resume == dusk.replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    assert settle_missed(every, dawn, dusk, timedelta.max).resume == dawn
    rare = Listed([NOON, dusk])
    assert settle_missed(rare, NOON, YEARS_LATER, 1) == Missed(None, NOON)
    assert settle_missed(rare, NOON, YEARS_LATER, False).resume == dusk


# --- validation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [True, False, 0, 1, 100_000, TICK, timedelta.max])
def test_a_policy_is_given_back(value: CatchUp) -> None:
    assert validate_catch_up(value) is value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1, "takes 0 to 100000, not -1"),
        (100_001, "takes 0 to 100000, not 100001; True runs all"),
        (timedelta(0), "must be more than zero"),
        (-SECOND, "must be more than zero"),
        (1.5, "True, False, a number or a timedelta, not float"),
        ("all", "not str"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_policy_is_refused(value: object, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        validate_catch_up(value)


@pytest.mark.parametrize(
    ("minutes", "policy", "runs"),
    [
        (-1, True, 0),
        (0, True, 1),
        (100, True, 101),
        (100_000, True, 100_001),
        (100_000, 50, 50),
        (100_000, timedelta(minutes=10), 11),
        (100_000, False, 1),
    ],
)
def test_how_many_points_will_be_caught_up_is_about_right(minutes: int, policy: CatchUp, runs: int) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    now = start + timedelta(minutes=minutes)
    assert backlog(Fixed(start, timedelta(minutes=1)), start, now, policy) == pytest.approx(runs, rel=0.02)
