"""Fixed: exact integer arithmetic, one division away from the next point."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.errors import ScheduleError
from ppacer.schedule import Fixed, Schedule

NOON = datetime(2024, 3, 11, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

instants = st.datetimes(timezones=st.just(UTC))
intervals = st.timedeltas(min_value=TICK, max_value=timedelta(days=400))


def micros(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def test_start_is_the_first_point() -> None:
    every_ten = Fixed(NOON, 10 * SECOND)
    assert every_ten.next(NOON - timedelta(days=900)) == NOON
    assert every_ten.next(NOON - TICK) == NOON


def test_a_point_on_current_itself_is_excluded() -> None:
    every_ten = Fixed(NOON, 10 * SECOND)
    assert every_ten.next(NOON) == NOON + 10 * SECOND
    assert every_ten.next(NOON + 10 * SECOND - TICK) == NOON + 10 * SECOND
    assert every_ten.next(NOON + 10 * SECOND) == NOON + 20 * SECOND


def test_sixty_billion_points_later_the_answer_is_exact_and_immediate() -> None:
    """Counting them from the start, as the original did, would take hours."""
    every_second = Fixed(datetime(1, 1, 1, tzinfo=UTC), SECOND)
    assert every_second.next(NOON + TICK) == NOON + SECOND
    every_microsecond = Fixed(datetime(1, 1, 1, tzinfo=UTC), TICK)
    assert every_microsecond.next(NOON) == NOON + TICK
    in_thirds = Fixed(datetime(1, 1, 1, tzinfo=UTC), timedelta(microseconds=333_333))
    point = in_thirds.next(NOON)
    assert point is not None
    assert micros(point - in_thirds.start) % 333_333 == 0
    assert 0 < micros(point - NOON) <= 333_333


@given(start=instants, interval=intervals, current=instants)
def test_the_next_point_is_the_first_multiple_of_the_interval_after_current(
    start: datetime, interval: timedelta, current: datetime
) -> None:
    point = Fixed(start, interval).next(current)
    passed, step = micros(current - start), micros(interval)
    expected = 0 if passed < 0 else (passed // step + 1) * step
    if expected > micros(datetime.max.replace(tzinfo=UTC) - start):
        assert point is None
    else:
        assert point is not None
        assert micros(point - start) == expected


def test_after_the_year_9999_there_are_no_more_points() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert Fixed(NOON, SECOND).next(last) is None
    assert Fixed(last - SECOND, SECOND).next(last - TICK) == last
    assert Fixed(last, timedelta.max).next(last - TICK) == last
    assert Fixed(NOON, timedelta.max).next(NOON) is None


def test_a_day_is_24_hours_also_when_clocks_change() -> None:
    warsaw = ZoneInfo("Europe/Warsaw")
    daily = Fixed(datetime(2024, 3, 30, 12, tzinfo=warsaw), timedelta(days=1))
    assert daily.next(datetime(2024, 3, 30, 12, tzinfo=warsaw)) == datetime(2024, 3, 31, 13, tzinfo=warsaw)


def test_points_are_in_utc_whatever_the_zone_of_start_and_current() -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    fixed = Fixed(NOON.astimezone(east), SECOND)
    point = fixed.next(NOON.astimezone(east))
    assert fixed.start.tzinfo is UTC
    assert point is not None
    assert point.tzinfo is UTC
    assert point == NOON + SECOND
    assert fixed == Fixed(NOON, SECOND)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (timedelta(seconds=10), "FixedSchedule: 10s"),
        (timedelta(milliseconds=250), "FixedSchedule: 250ms"),
        (timedelta(seconds=1.5), "FixedSchedule: 1.5s"),
        (timedelta(hours=1, minutes=30), "FixedSchedule: 1h30m"),
    ],
)
def test_the_text_is_that_of_the_tutorial(interval: timedelta, text: str) -> None:
    assert str(Fixed(NOON, interval)) == text


@given(one=intervals, other=intervals)
def test_another_interval_is_another_text(one: timedelta, other: timedelta) -> None:
    assert (str(Fixed(NOON, one)) == str(Fixed(NOON, other))) == (one == other)


@pytest.mark.parametrize("interval", [timedelta(0), -SECOND, 10, None])
def test_an_interval_that_is_not_a_positive_duration_is_refused(interval: object) -> None:
    with pytest.raises(ScheduleError, match="interval of a Fixed schedule must be"):
        Fixed(NOON, interval)  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("start", [NOON.replace(tzinfo=None), None, "2024-03-11T12:00:00Z", NOON.date()])
def test_a_start_that_is_not_an_aware_datetime_is_refused(start: object) -> None:
    with pytest.raises(ScheduleError, match="start of a Fixed schedule"):
        Fixed(start, SECOND)  # type: ignore[arg-type]  # that is the test


def test_a_start_outside_the_years_of_utc_is_refused() -> None:
    west = timezone(timedelta(hours=-5))
    with pytest.raises(ScheduleError, match="cannot be told in UTC"):
        Fixed(datetime.max.replace(tzinfo=west), SECOND)


def test_a_naive_current_is_refused() -> None:
    with pytest.raises(ScheduleError, match="time zone"):
        Fixed(NOON, SECOND).next(NOON.replace(tzinfo=None))


def test_it_is_a_schedule_and_cannot_be_changed() -> None:
    schedule: Schedule = Fixed(NOON, SECOND)
    with pytest.raises(AttributeError):
        schedule.start = NOON  # type: ignore[misc]  # that is the test
