"""The guarded door: whatever a schedule does, it is one ScheduleError with a sentence, or a point in UTC."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import pytest

from ppacer.errors import ScheduleError
from ppacer.schedule import Fixed, Schedule, first_point, next_point

NOON = datetime(2024, 3, 11, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
HOURLY = Fixed(NOON, HOUR)


class Answering:
    """A schedule of the user's, with a plain attribute `start`, that answers always the same."""

    start: datetime | None = None

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def next(self, now: datetime, before: datetime | None) -> datetime | None:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # users do not run a type checker

    def __str__(self) -> str:
        return "my\nschedule"


class Recording(Answering):
    """Remembers what it was asked."""

    def next(self, now: datetime, before: datetime | None) -> datetime | None:
        self.asked = now, before
        return super().next(now, before)


class BrokenZone(tzinfo):
    """A time zone of the user's that raises."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        raise RuntimeError("no tables")

    dst = utcoffset

    def tzname(self, when: datetime | None) -> str:
        return "broken"


class OwnDatetime(datetime):
    """A datetime with its own idea of order, as pandas.Timestamp is one with its own resolution."""

    def __le__(self, other: object) -> bool:
        return False


def test_a_point_comes_out_in_utc() -> None:
    point = next_point(Answering((NOON + HOUR).astimezone(timezone(timedelta(hours=9)))), NOON, None)
    assert point == NOON + HOUR
    assert point is not None
    assert point.tzinfo is UTC


def test_none_means_no_more_points() -> None:
    assert next_point(Answering(None), NOON, NOON) is None


def test_a_schedule_is_told_where_it_stands() -> None:
    schedule = Recording(NOON + HOUR)
    next_point(schedule, NOON, NOON - HOUR)
    assert schedule.asked == (NOON, NOON - HOUR)


@pytest.mark.parametrize(
    "answer", [NOON, NOON - TICK, datetime.min.replace(tzinfo=UTC), OwnDatetime(2024, 1, 1, tzinfo=UTC)]
)
def test_a_schedule_that_does_not_advance_is_out_of_band(answer: datetime) -> None:
    with pytest.raises(
        ScheduleError, match=r"'my schedule' is out of band: .* after 2024-03-11T12:00:00\+00:00"
    ):
        next_point(Answering(answer), NOON, None)


def test_one_microsecond_is_an_advance() -> None:
    assert next_point(Answering(NOON + TICK), NOON, None) == NOON + TICK


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((NOON + HOUR).replace(tzinfo=None), "2024-03-11T13:00:00 without time zone"),
        ("2024-03-11T13:00:00Z", "must be a datetime, not str"),
        (date(2024, 3, 12), "must be a datetime, not date"),
        (1.0e9, "must be a datetime, not float"),
        (False, "must be a datetime, not bool"),
        ((NOON + HOUR).replace(tzinfo=BrokenZone()), "cannot be told in UTC: RuntimeError: no tables"),
        (datetime.max.replace(tzinfo=timezone(-HOUR)), "cannot be told in UTC: OverflowError"),
    ],
)
def test_an_answer_that_is_no_instant_is_refused(answer: object, words: str) -> None:
    with pytest.raises(ScheduleError, match=f"next point of schedule 'my schedule'.* {words}"):
        next_point(Answering(answer), NOON, None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("division by zero"), "raised ZeroDivisionError: division by zero$"),
        (KeyError("x"), "raised KeyError: 'x'$"),
        (ValueError(), "raised ValueError$"),
        (SystemExit(3), "raised SystemExit: 3$"),
        (BaseException("odd"), "raised BaseException: odd$"),
        (RuntimeError("two\nlines"), "raised RuntimeError: two lines$"),
        (RuntimeError("x" * 10_000), "raised RuntimeError: x{300}…$"),
    ],
)
def test_an_exception_of_a_schedule_is_wrapped_and_named(error: BaseException, words: str) -> None:
    with pytest.raises(ScheduleError, match=words) as caught:
        next_point(Answering(error), NOON, None)
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


def test_ctrl_c_is_not_the_fault_of_a_schedule() -> None:
    with pytest.raises(KeyboardInterrupt):
        next_point(Answering(KeyboardInterrupt()), NOON, None)


def test_a_schedule_without_a_text_is_named_by_its_type() -> None:
    class Nameless(Answering):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(ScheduleError, match="schedule of type Nameless is out of band"):
        next_point(Nameless(NOON), NOON, None)


def test_an_object_that_is_no_schedule_is_refused_with_a_sentence() -> None:
    with pytest.raises(ScheduleError, match="AttributeError"):
        next_point("every day", NOON, None)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ScheduleError, match="'every day' has no start: AttributeError"):
        first_point("every day", NOON, False)  # type: ignore[arg-type]  # that is the test


# --- the first point ------------------------------------------------------------------------------------


@pytest.mark.parametrize("catch_up", [True, 1, HOUR])
def test_with_catch_up_the_first_point_is_start(catch_up: bool | int | timedelta) -> None:
    assert first_point(HOURLY, NOON + 100 * HOUR, catch_up) == NOON
    assert first_point(HOURLY, NOON - 100 * HOUR, catch_up) == NOON


@pytest.mark.parametrize("catch_up", [False, 0])
def test_without_catch_up_the_first_point_is_the_first_from_registration_on(catch_up: bool | int) -> None:
    assert first_point(HOURLY, NOON + 100 * HOUR - TICK, catch_up) == NOON + 100 * HOUR
    assert first_point(HOURLY, NOON + 100 * HOUR, catch_up) == NOON + 100 * HOUR
    assert first_point(HOURLY, NOON + 100 * HOUR + TICK, catch_up) == NOON + 101 * HOUR
    assert first_point(HOURLY, NOON - 100 * HOUR, catch_up) == NOON


def test_where_nothing_bounds_the_past_catch_up_begins_at_registration() -> None:
    schedule = Recording(NOON + HOUR)
    assert first_point(schedule, NOON, True) == NOON + HOUR
    assert schedule.asked == (NOON - TICK, None)


def test_a_start_of_the_user_holds_although_its_next_forgets_it() -> None:
    schedule = Recording(NOON + 3 * HOUR)
    schedule.start = NOON + 2 * HOUR
    first_point(schedule, NOON, False)
    assert schedule.asked == (NOON + 2 * HOUR - TICK, None)


def test_the_beginning_of_time_is_a_start_too() -> None:
    dawn = datetime.min.replace(tzinfo=UTC)
    assert first_point(Fixed(dawn, HOUR), NOON, True) == dawn + HOUR
    assert first_point(Fixed(dawn, HOUR), NOON, False) == NOON


def test_a_start_that_is_no_instant_is_refused() -> None:
    schedule = Answering(NOON + HOUR)
    schedule.start = NOON.replace(tzinfo=None)
    with pytest.raises(ScheduleError, match=r"start of schedule 'my schedule' is .* without time zone"):
        first_point(schedule, NOON, False)


def test_a_start_may_be_a_property_and_may_raise() -> None:
    class Asking:
        @property
        def start(self) -> datetime | None:
            raise OSError("no file")

        def next(self, current: datetime, previous: datetime | None) -> datetime | None:
            return None

    schedule: Schedule = Asking()
    with pytest.raises(ScheduleError, match="has no start: OSError: no file"):
        first_point(schedule, NOON, True)
