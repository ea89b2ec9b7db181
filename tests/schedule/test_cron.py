"""Cron: the calendar, what is refused, bounds, the fluent form. Changes of the clock: test_cron_clock.py."""

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.errors import ScheduleError
from ppacer.schedule import (
    FRIDAY,
    MONDAY,
    SATURDAY,
    SUNDAY,
    WEDNESDAY,
    Cron,
    Fixed,
    Schedule,
    Weekday,
    daily,
    every_minute,
    hourly,
    monthly,
    weekly,
    yearly,
)

TICK = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def points(cron: Cron, after: datetime, count: int) -> list[str]:
    """The next points as `2024-02-29 00:00`."""
    found: list[str] = []
    current: datetime | None = after
    for _ in range(count):
        assert current is not None
        current = cron.next(current)
        found.append(f"{current:%Y-%m-%d %H:%M}" if current else "none")
    return found


# --- the calendar ---------------------------------------------------------------------------------------


def test_every_minute_is_the_default() -> None:
    assert points(Cron(), at("2024-12-31 23:58"), 3) == [
        "2024-12-31 23:59",
        "2025-01-01 00:00",
        "2025-01-01 00:01",
    ]


def test_a_point_on_current_itself_is_excluded_and_one_a_microsecond_later_is_not() -> None:
    nightly = Cron("15 3 * * *")
    assert nightly.next(at("2024-05-01 03:15")) == at("2024-05-02 03:15")
    assert nightly.next(at("2024-05-01 03:15") - TICK) == at("2024-05-01 03:15")
    assert nightly.next(at("2024-05-01 03:15") + TICK) == at("2024-05-02 03:15")


def test_months_without_the_day_are_passed_over() -> None:
    assert points(Cron("0 0 31 * *"), at("2023-01-31"), 4) == [
        "2023-03-31 00:00",
        "2023-05-31 00:00",
        "2023-07-31 00:00",
        "2023-08-31 00:00",
    ]


def test_29_february_comes_in_leap_years_and_not_in_2100() -> None:
    assert points(Cron("0 0 29 2 *"), at("2023-01-01"), 2) == ["2024-02-29 00:00", "2028-02-29 00:00"]
    assert points(Cron("0 0 29 2 *"), at("2096-02-29"), 1) == ["2104-02-29 00:00"]


def test_a_point_forty_years_away_is_found() -> None:
    fifth_monday_of_february = Cron("0 0 * 2 MON#5")
    assert points(fifth_monday_of_february, at("2072-03-01"), 1) == ["2112-02-29 00:00"]


def test_the_last_day_and_the_last_weekday_of_a_month() -> None:
    assert points(Cron("0 0 L * *"), at("2024-01-31"), 2) == ["2024-02-29 00:00", "2024-03-31 00:00"]
    assert points(Cron("0 0 LW * *"), at("2024-03-01"), 1) == ["2024-03-29 00:00"]


def test_either_day_suffices_when_both_are_restricted() -> None:
    assert points(Cron("0 0 13 * FRI"), at("2024-09-07"), 3) == [
        "2024-09-13 00:00",
        "2024-09-20 00:00",
        "2024-09-27 00:00",
    ]
    assert points(Cron("0 0 13 * FRI"), at("2024-10-05"), 2) == ["2024-10-11 00:00", "2024-10-13 00:00"]


def test_both_days_must_fit_when_one_begins_with_a_star() -> None:
    odd_days_that_are_mondays = Cron("0 0 */2 * MON")
    assert points(odd_days_that_are_mondays, at("2024-07-01"), 2) == ["2024-07-15 00:00", "2024-07-29 00:00"]
    assert points(Cron("0 0 13 * */5"), at("2024-01-01"), 2) == ["2024-09-13 00:00", "2024-10-13 00:00"]


def test_sunday_is_0_and_7_and_monday_is_1() -> None:
    sunday = ["2024-07-07 00:00", "2024-07-14 00:00"]
    for text in ("0", "7", "SUN", "sun"):
        assert points(Cron(f"0 0 * * {text}"), at("2024-07-01"), 2) == sunday
    assert points(Cron("0 0 * * 1"), at("2024-07-01"), 1) == ["2024-07-08 00:00"]
    assert points(Cron("0 0 * * 6-7"), at("2024-07-01"), 2) == ["2024-07-06 00:00", "2024-07-07 00:00"]


def test_a_step_goes_to_the_end_of_its_range() -> None:
    assert points(Cron("50/5 * * * *"), at("2024-07-01"), 3) == [
        "2024-07-01 00:50",
        "2024-07-01 00:55",
        "2024-07-01 01:50",
    ]
    assert points(Cron("5-20/10 * * * *"), at("2024-07-01"), 3)[-1] == "2024-07-01 01:05"
    assert Cron("5-5/10,1-11/3 * * * MON-MON/2") == Cron("5,1-11/3 * * * MON")
    with pytest.raises(ScheduleError):
        Cron("5-5/0 * * * *")


def test_office_hours() -> None:
    office = Cron("*/5 9-17 * * MON-FRI")
    assert points(office, at("2024-07-05 17:50"), 2) == ["2024-07-05 17:55", "2024-07-08 09:00"]


@pytest.mark.parametrize(
    ("nickname", "expression"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        (" @Daily ", "0 0 * * *"),
    ],
)
def test_a_nickname_is_its_expression(nickname: str, expression: str) -> None:
    assert Cron(nickname) == Cron(expression)
    assert str(Cron(nickname)) == str(Cron(expression))


@pytest.mark.slow
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    days=st.sets(st.integers(1, 31), max_size=3),
    weekdays=st.sets(st.integers(1, 7), max_size=3),
    months=st.sets(st.integers(1, 12), min_size=1, max_size=12),
    first=st.dates(date(1990, 1, 1), date(2110, 1, 1)),
)
def test_the_calendar_agrees_with_counting_days(
    minute: int, hour: int, days: set[int], weekdays: set[int], months: set[int], first: date
) -> None:
    """Against an oracle that tries one day after the other for two years."""

    def fits(day: date) -> bool:
        by_date, by_weekday = day.day in days, day.isoweekday() in weekdays
        either = (
            by_date or by_weekday if days and weekdays else by_date if days else by_weekday or not weekdays
        )
        return day.month in months and either

    cron = Cron().at_minute(minute).at_hour(hour).in_months(*months)
    try:
        cron = cron.on_weekdays(*weekdays) if weekdays else cron
        cron = cron.on_month_days(*days) if days else cron
    except ScheduleError:  # such as only 31 in only November
        assert days
        return
    day_count = 730
    window = [first + timedelta(days=n) for n in range(day_count)]
    current = datetime(first.year, first.month, first.day, tzinfo=UTC) - TICK
    end = current + timedelta(days=day_count)
    found: list[date] = []
    while (point := cron.next(current)) is not None and point <= end:
        assert (point.hour, point.minute, point.second, point.microsecond) == (hour, minute, 0, 0)
        found.append(point.date())
        current = point
    assert found == [day for day in window if fits(day)]


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("60 * * * *", "minute '60' is not possible; it takes 0-59"),
        ("* 24 * * *", "hour '24' is not possible; it takes 0-23"),
        ("* * 0 * *", "day-of-month '0' is not possible; it takes 1-31"),
        ("* * 32 * *", "day-of-month '32'"),
        ("* * * 13 *", "month '13' is not possible; it takes 1-12 or JAN-DEC"),
        ("* * * janvier *", "month 'JANVIER'"),
        ("* * * * 8", "day-of-week '8' is not possible; it takes 0-7 or SUN-SAT"),
        ("* * * * FRI-SUN", "day-of-week 'FRI-SUN' is not possible; .* rising ranges"),
        ("*/0 * * * *", r"minute '\*/0'"),
        ("5- * * * *", "minute '5-'"),
        ("1,,2 * * * *", "minute '1,,2'"),
        ("-1 * * * *", "minute '-1'"),
        ("1.5 * * * *", "minute '1.5'"),
        ("² * * * *", "minute '²'"),
        ("? * * * *", r"minute '\?'"),
        ("9" * 990 + " * * * *", "minute '999"),
        ("", "has 0 fields, not five: minute hour day-of-month month day-of-week"),
        ("5", "has 1 field, not five"),
        ("* * * *", "has 4 fields, not five"),
        ("0 * * * * *", "has 6 fields, not five: .* seconds are not possible, use Fixed"),
        ("* * * * * * *", "has 7 fields"),
        ("@fortnightly", "no cron nickname '@fortnightly'; there are @hourly, @daily"),
        ("@", "no cron nickname"),
        ("* " * 600, "at most 1000 characters"),
        (None, "is text such as '15 3 .*', not NoneType"),
        (5, "is text"),
    ],
)
def test_an_expression_that_is_not_one_is_refused_with_the_field_and_what_it_takes(
    expression: str, words: str
) -> None:
    with pytest.raises(ScheduleError, match=words):
        Cron(expression)


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 FEB *", "0 0 LW 2 */7", "0 0 31 2 */3"]
)
def test_a_day_that_no_year_has_is_refused_at_construction(expression: str) -> None:
    with pytest.raises(ScheduleError, match="never comes: no year has such a day"):
        Cron(expression)


def test_an_impossible_date_beside_a_possible_weekday_is_accepted() -> None:
    assert points(Cron("0 0 30 2 MON"), at("2024-01-01"), 1) == ["2024-02-05 00:00"]


@given(st.text(max_size=40) | st.from_regex(r"[*/,\-0-9A-Z#L ]{0,40}", fullmatch=True))
def test_any_text_is_either_an_expression_or_refused_with_a_sentence(text: str) -> None:
    refusal, cron = "", Cron()
    try:
        cron = Cron(text)
    except ScheduleError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert Cron(cron.expression) == cron
    assert cron.next(at("2024-01-01")) is not None


@pytest.mark.parametrize(
    ("tz", "words"),
    [
        ("Europe/Warsawa", "no time zone 'Europe/Warsawa'; did you mean 'Europe/Warsaw'"),
        ("europe/warsaw", "did you mean 'Europe/Warsaw'"),
        ("Warsaw", "did you mean 'Europe/Warsaw'"),
        ("Rome", "did you mean 'Europe/Rome'"),
        (" EUROPE/WARSAW", "did you mean 'Europe/Warsaw'"),
        ("new york", "did you mean 'America/New_York'"),
        ("Mars/Olympus_Mons_Base", "names look like 'Europe/Warsaw'"),
        ("", "no time zone ''"),
        ("Europe", "no time zone 'Europe'"),
        ("../../etc/passwd", "no time zone"),
        ("/etc/passwd", "no time zone"),
        ("a\0b", "no time zone"),
        ("x" * 5000, "no time zone 'x{80}'"),
        (UTC, "tz takes the name of a time zone such as 'Europe/Warsaw', not timezone"),
        (None, "tz takes the name"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_the_likely_name(tz: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        Cron(tz=tz)


@pytest.mark.parametrize("start", [datetime(2024, 1, 1), "2024-01-01", date(2024, 1, 1)])  # noqa: DTZ001 - the test
def test_a_start_that_is_not_an_aware_datetime_is_refused(start: datetime) -> None:
    with pytest.raises(ScheduleError, match="start of a Cron schedule"):
        Cron(start=start)
    with pytest.raises(ScheduleError, match="start of a Cron schedule"):
        Cron().starts(start)


# --- zones, text, bounds --------------------------------------------------------------------------------


def test_points_are_wall_times_of_the_zone_told_in_utc() -> None:
    kathmandu = Cron("0 9 * * *", tz="Asia/Kathmandu")
    point = kathmandu.next(at("2024-07-01"))
    assert point == at("2024-07-01 03:15")
    assert point is not None
    assert point.tzinfo is UTC


def test_the_zone_of_current_does_not_matter() -> None:
    nightly = Cron("15 3 * * *", tz="Europe/Warsaw")
    now = at("2024-07-01 01:00")
    for zone in (ZoneInfo("America/New_York"), timezone(timedelta(hours=9)), ZoneInfo("Europe/Warsaw")):
        assert nightly.next(now.astimezone(zone)) == at("2024-07-01 01:15")


def test_the_text_holds_the_expression_and_the_named_zone() -> None:
    assert str(Cron("15  3 * * mon-fri", tz="Europe/Warsaw")) == "Cron: 15 3 * * MON-FRI (Europe/Warsaw)"
    assert str(Cron()) == "Cron: * * * * * (UTC)"


def test_the_named_zone_survives_what_a_restart_does_to_it() -> None:
    """The original turned it into the offset of the day."""
    nightly = Cron("15 3 * * *", tz="Europe/Warsaw")
    again = pickle.loads(pickle.dumps(nightly))
    assert again == nightly == Cron(nightly.expression, nightly.tz)
    assert hash(again) == hash(nightly)
    assert [again.next(at("2024-01-01")), again.next(at("2024-07-01"))] == [
        at("2024-01-01 02:15"),
        at("2024-07-01 01:15"),
    ]


def test_nothing_lies_before_start_and_a_point_on_it_counts() -> None:
    hourly_from_noon = Cron("@hourly").starts(at("2024-07-01 12:00"))
    assert hourly_from_noon.next(at("2020-01-01")) == at("2024-07-01 12:00")
    assert hourly_from_noon.next(at("2024-07-01 12:00") - TICK) == at("2024-07-01 12:00")
    assert hourly_from_noon.next(at("2024-07-01 12:00")) == at("2024-07-01 13:00")
    late = Cron("@hourly", start=at("2024-07-01 12:00") + TICK)
    assert late.next(at("2020-01-01")) == at("2024-07-01 13:00")


@pytest.mark.parametrize("tz", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_at_the_ends_of_time_there_is_an_answer_or_none(tz: str) -> None:
    for cron in (Cron("* * * * *", tz=tz), Cron("0 12 29 2 *", tz=tz), Cron("@yearly", tz=tz)):
        assert cron.next(datetime.max.replace(tzinfo=UTC)) is None
        first = cron.next(datetime.min.replace(tzinfo=UTC))
        assert first is not None
        assert first.year in (1, 2, 4)
        assert cron.starts(datetime.min.replace(tzinfo=UTC)).next(at("2024-01-01")) is not None


def test_after_the_last_point_of_the_calendar_comes_none() -> None:
    assert Cron("@yearly").next(at("9998-06-01")) == at("9999-01-01")
    assert Cron("@yearly").next(at("9999-01-01")) is None


# --- the fluent form and the shorthand ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "expression"),
    [
        (Cron(), "* * * * *"),
        (Cron().at_minute(10), "10 * * * *"),
        (Cron().at_minutes(55, 5, 30, 5), "5,30,55 * * * *"),
        (Cron().at_hour(12).at_minute(59), "59 12 * * *"),
        (Cron().at_minute(10).at_hours(16, 8).on_weekday(MONDAY), "10 8,16 * * 1"),
        (Cron().on_weekday(MONDAY).at_minute(59).at_hour(12), "59 12 * * 1"),
        (Cron().on_weekdays(SUNDAY, SATURDAY), "* * * * 0,6"),
        (Cron().on_weekdays(0, 7), "* * * * 0"),
        (Cron().on_month_day(31), "* * 31 * *"),
        (Cron().on_month_days(15, 1), "* * 1,15 * *"),
        (Cron().in_month(2), "* * * 2 *"),
        (Cron().in_months(12, 1), "* * * 1,12 *"),
        (Cron("*/5 9-17 * * MON-FRI").at_hour(0), "*/5 0 * * MON-FRI"),
        (every_minute(), "* * * * *"),
        (every_minute(15), "*/15 * * * *"),
        (hourly(), "0 * * * *"),
        (hourly(59), "59 * * * *"),
        (daily(), "0 0 * * *"),
        (daily(3, 15), "15 3 * * *"),
        (weekly(), "0 0 * * 1"),
        (weekly(FRIDAY, 17), "0 17 * * 5"),
        (weekly(SUNDAY), "0 0 * * 0"),
        (monthly(), "0 0 1 * *"),
        (monthly(day=15, hour=6), "0 6 15 * *"),
        (yearly(), "0 0 1 1 *"),
        (yearly(month=2, day=29, minute=5), "5 0 29 2 *"),
    ],
)
def test_each_step_replaces_its_own_field(cron: Cron, expression: str) -> None:
    assert cron == Cron(expression)
    assert cron.expression == expression


def test_a_step_changes_nothing_but_its_field() -> None:
    start = at("2024-07-01")
    base = Cron("5 4 * * *", tz="Europe/Warsaw", start=start)
    assert base.at_hour(6) == Cron("5 6 * * *", tz="Europe/Warsaw", start=start)
    assert base == Cron("5 4 * * *", tz="Europe/Warsaw", start=start)


@pytest.mark.parametrize(
    "short",
    [
        lambda tz, start: every_minute(5, tz=tz, start=start),
        lambda tz, start: hourly(tz=tz, start=start),
        lambda tz, start: daily(tz=tz, start=start),
        lambda tz, start: weekly(tz=tz, start=start),
        lambda tz, start: monthly(tz=tz, start=start),
        lambda tz, start: yearly(tz=tz, start=start),
    ],
)
def test_every_shorthand_takes_a_zone_and_a_start(short: Callable[[str, datetime], Cron]) -> None:
    cron = short("Asia/Tokyo", at("2024-07-01"))
    assert (cron.tz, cron.start) == ("Asia/Tokyo", at("2024-07-01"))


@pytest.mark.parametrize("weekday", Weekday)
def test_a_weekday_is_the_day_of_that_name(weekday: Weekday) -> None:
    point = Cron("0 0 * * *").on_weekday(weekday).next(at("2024-07-01"))
    assert point is not None
    assert f"{point:%A}".upper() == weekday.name
    assert point.isoweekday() == weekday
    assert Cron(f"0 0 * * {weekday.name[:3]}").next(at("2024-07-01")) == point


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Cron().at_minute(60), "minute 60 is not a number from 0 to 59"),
        (lambda: Cron().at_hour(-1), "hour -1 is not a number from 0 to 23"),
        (lambda: Cron().on_month_day(0), "month day 0 is not a number from 1 to 31"),
        (lambda: Cron().in_month(13), "month 13 is not a number from 1 to 12"),
        (lambda: Cron().on_weekday(8), "weekday 8 is not a number from 0 to 7"),
        (lambda: Cron().on_weekdays(WEDNESDAY, cast("int", 1.5)), "weekday 1.5 is not"),
        (lambda: Cron().at_minute(True), "minute True is not"),
        (lambda: Cron().at_minute(cast("int", "5")), "minute '5' is not"),
        (lambda: Cron().at_minutes(), "name at least one minute"),
        (lambda: Cron().on_weekdays(), "name at least one weekday"),
        (lambda: Cron().in_month(2).on_month_day(30), "never comes"),
        (lambda: daily(24), "hour 24"),
        (lambda: monthly(day=32), "month day 32"),
        (lambda: yearly(2, 30), "never comes"),
        (lambda: every_minute(7), "divisor of 60 .* not 7; .* use Fixed"),
        (lambda: every_minute(0), "divisor of 60"),
        (lambda: every_minute(60), "divisor of 60"),
        (lambda: every_minute(True), "divisor of 60"),
    ],
)
def test_a_number_out_of_range_is_refused(make: Callable[[], Cron], words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        make()


def test_both_kinds_are_schedules_to_the_type_checker() -> None:
    several: list[Schedule] = [Cron(), Fixed(at("2024-01-01"), timedelta(1)), daily()]
    assert all(schedule.next(at("2024-01-01"), None) for schedule in several)
