"""Cron when clocks are changed: examples by hand, and an oracle that tries every minute of UTC.

The oracle shares no code with ppacer or cronsim: it has its own reader of the field grammar, and it
finds gaps and repeated hours by comparing the wall clock of one minute with that of the minute before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from ppacer.errors import ScheduleError
from ppacer.schedule import Cron
from ppacer.schedule.wall_clock import next_by_the_wall

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

# Zone and a day (UTC noon) near a change of its clock.
CHANGES = [
    ("Europe/Warsaw", "2024-03-31"),  # 02:00 → 03:00
    ("Europe/Warsaw", "2024-10-27"),  # 03:00 → 02:00
    ("America/New_York", "2024-03-10"),  # 02:00 → 03:00
    ("America/New_York", "2024-11-03"),  # 02:00 → 01:00
    ("Australia/Lord_Howe", "2024-10-06"),  # 02:00 → 02:30
    ("Australia/Lord_Howe", "2024-04-06"),  # 02:00 → 01:30
    ("Africa/Casablanca", "2024-03-10"),  # 03:00 → 02:00, Ramadan
    ("Africa/Casablanca", "2024-04-14"),  # 02:00 → 03:00
    ("Africa/Cairo", "2024-04-26"),  # 00:00 → 01:00
    ("America/Havana", "2024-03-10"),  # 00:00 → 01:00
    ("America/Havana", "2024-11-03"),  # 01:00 → 00:00
    ("America/Sao_Paulo", "2018-11-04"),  # 00:00 → 01:00
    ("America/Sao_Paulo", "2019-02-17"),  # 24:00 → 23:00
    ("America/Caracas", "2016-05-01"),  # 02:30 → 03:00, for good
    ("America/Caracas", "2007-12-09"),  # 03:00 → 02:30, for good
    ("Asia/Pyongyang", "2018-05-04"),  # 23:30 → 24:00, for good
    ("Asia/Kathmandu", "1985-12-31"),  # 00:00 → 00:15, for good
    ("Antarctica/Troll", "2024-03-31"),  # two hours: 01:00 → 03:00
    ("Antarctica/Troll", "2024-10-27"),  # two hours: 03:00 → 01:00
    ("Pacific/Apia", "2011-12-30"),  # a whole day that never was
    ("Pacific/Kwajalein", "1969-10-01"),  # 23 hours repeated: 12:00 → 13:00 of the day before
    ("Asia/Tokyo", "2024-03-31"),  # nothing at all
    ("UTC", "2024-03-31"),
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def points(cron: Cron, first: datetime, end: datetime) -> list[datetime]:
    """All points in [first, end)."""
    found: list[datetime] = []
    point = cron.next(first - timedelta(microseconds=1))
    while point is not None and point < end:
        assert not found or point > found[-1]
        found.append(point)
        point = cron.next(point)
    return found


def walls(cron: Cron, day: str, days: int = 1) -> list[str]:
    """What the clock on the wall shows at all points of a local day, with the offset where it matters."""
    zone = ZoneInfo(cron.tz)
    first = datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(UTC)
    end = (datetime.fromisoformat(day) + days * DAY).replace(tzinfo=zone).astimezone(UTC)
    return [f"{point.astimezone(zone):%H:%M%z}" for point in points(cron, first, end)]


# --- by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["03:00+0200"]),
        ("15,45 2 * * *", ["03:00+0200"]),
        ("0 2,3 * * *", ["03:00+0200"]),
        ("30 2,3 * * *", ["03:00+0200", "03:30+0200"]),
        ("0 3 * * *", ["03:00+0200"]),
        ("59 1 * * *", ["01:59+0100"]),
        ("0 */2 * * *", [f"{h:02}:00+0{1 if h < 2 else 2}00" for h in range(0, 24, 2) if h != 2]),
        ("*/20 1-3 * * *", [f"{h:02}:{m:02}+0{1 if h < 2 else 2}00" for h in (1, 3) for m in (0, 20, 40)]),
        ("*/5 2 * * *", []),
    ],
)
def test_in_spring_a_job_in_the_gap_runs_once_right_after_it(expression: str, expected: list[str]) -> None:
    assert walls(Cron(expression, tz="Europe/Warsaw"), "2024-03-31") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["02:30+0200"]),
        ("0 3 * * *", ["03:00+0100"]),
        (
            "0,30 1-3 * * *",
            ["01:00+0200", "01:30+0200", "02:00+0200", "02:30+0200", "03:00+0100", "03:30+0100"],
        ),
        ("*/30 2 * * *", ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
    ],
)
def test_in_autumn_a_job_at_a_fixed_time_runs_once_and_others_run_through(
    expression: str, expected: list[str]
) -> None:
    assert walls(Cron(expression, tz="Europe/Warsaw"), "2024-10-27") == expected


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-06-01", 24)])
def test_an_hourly_job_runs_every_hour_of_a_long_and_of_a_short_day(day: str, hours: int) -> None:
    assert len(walls(Cron("@hourly", tz="Europe/Warsaw"), day)) == hours
    assert len(walls(Cron("@daily", tz="Europe/Warsaw"), day)) == 1


def test_asked_in_the_second_pass_of_a_repeated_hour_it_never_answers_with_the_first() -> None:
    second_pass = at("2024-10-27 01:10")  # 02:10 in winter time; 02:30 in summer time was at 00:30
    assert Cron("30 2 * * *", tz="Europe/Warsaw").next(second_pass) == at("2024-10-28 01:30")
    assert Cron("30 * * * *", tz="Europe/Warsaw").next(second_pass) == at("2024-10-27 01:30")


def test_half_an_hour_is_repeated_on_lord_howe() -> None:
    zone = "Australia/Lord_Howe"
    assert walls(Cron("30 * * * *", tz=zone), "2024-04-07")[:4] == [
        "00:30+1100",
        "01:30+1100",
        "01:30+1030",
        "02:30+1030",
    ]
    assert walls(Cron("45 1 * * *", tz=zone), "2024-04-07") == ["01:45+1100"]
    assert walls(Cron("* 2 * * *", tz=zone), "2024-04-07")[0] == "02:00+1030"


def test_half_an_hour_is_missing_on_lord_howe() -> None:
    zone = "Australia/Lord_Howe"
    assert walls(Cron("15 2 * * *", tz=zone), "2024-10-06") == ["02:30+1100"]
    assert walls(Cron("*/10 2 * * *", tz=zone), "2024-10-06") == ["02:30+1100", "02:40+1100", "02:50+1100"]
    assert walls(Cron("*/20 3 * * *", tz=zone), "2024-10-06") == ["03:00+1100", "03:20+1100", "03:40+1100"]


def test_midnight_is_missing_in_cairo_and_the_day_is_not_lost() -> None:
    zone = "Africa/Cairo"
    assert walls(Cron("@daily", tz=zone), "2024-04-25", days=3) == ["00:00+0200", "01:00+0300", "00:00+0300"]
    assert walls(Cron("*/30 0 * * *", tz=zone), "2024-04-25", days=3) == [
        "00:00+0200",
        "00:30+0200",
        "00:00+0300",
        "00:30+0300",
    ]


def test_ramadan_is_known_in_casablanca() -> None:
    zone = "Africa/Casablanca"
    assert walls(Cron("30 2 * * *", tz=zone), "2024-03-10") == ["02:30+0100"]
    assert walls(Cron("30 2 * * *", tz=zone), "2024-03-11") == ["02:30+0000"]
    assert walls(Cron("30 2 * * *", tz=zone), "2024-04-14") == ["03:00+0100"]


def test_the_day_that_never_was_in_samoa_runs_its_jobs_at_its_end() -> None:
    daily = Cron("0 9 * * *", tz="Pacific/Apia")
    assert points(daily, at("2011-12-29 20:00"), at("2011-12-31 19:00")) == [
        at("2011-12-30 10:00"),  # Saturday 00:00, for the Friday that is missing
        at("2011-12-30 19:00"),  # Saturday 09:00
    ]


def test_an_offset_with_seconds_gives_points_with_seconds() -> None:
    """Liberia was 44 minutes and 30 seconds behind until 7 January 1972, and nobody rounds."""
    zone = "Africa/Monrovia"
    assert points(Cron("@daily", tz=zone), at("1972-01-06"), at("1972-01-09")) == [
        at("1972-01-06 00:44:30"),
        at("1972-01-07 00:44:30"),  # midnight became 00:44:30
        at("1972-01-08 00:00"),
    ]
    assert Cron("*/15 * * * *", tz=zone).next(at("1972-01-07 00:40")) == at("1972-01-07 00:45")


@pytest.mark.parametrize("expression", ["* * * * *", "*/5 2 * * *", "0 * 1 1 *", "* * * 2 MON#5"])
def test_a_point_in_forty_years_takes_no_longer_than_one_in_a_minute(expression: str) -> None:
    asked: list[datetime] = []

    def walls_after(wall: datetime) -> Iterator[datetime]:
        asked.append(wall)
        return CronSim(expression, wall)

    current = at("2072-03-01 01:30")
    point = next_by_the_wall(walls_after, ZoneInfo("Europe/Warsaw"), current)
    assert point == Cron(expression, tz="Europe/Warsaw").next(current)
    assert len(asked) <= 4


# --- the oracle -----------------------------------------------------------------------------------------

NAMES = {"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
NAMES |= {"JAN": 1, "FEB": 2, "MAR": 3, "APR": 4, "MAY": 5, "JUN": 6}
NAMES |= {"JUL": 7, "AUG": 8, "SEP": 9, "OCT": 10, "NOV": 11, "DEC": 12}
LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


@dataclass(frozen=True)
class Oracle:
    """Which minutes of UTC are points, by trying them."""

    sets: tuple[frozenset[int], ...]
    either_day: bool
    at_fixed_times: bool
    zone: ZoneInfo

    @staticmethod
    def reading(expression: str, tz: str) -> "Oracle":
        fields = expression.split()
        return Oracle(
            tuple(frozenset(values(text, *limit)) for text, limit in zip(fields, LIMITS, strict=True)),
            either_day=fields[2][0] != "*" and fields[4][0] != "*",
            at_fixed_times=fields[0][0] != "*" and fields[1][0] != "*",
            zone=ZoneInfo(tz),
        )

    def matches(self, wall: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.sets
        day = wall.day in days
        weekday = wall.isoweekday() in weekdays or wall.isoweekday() % 7 in weekdays
        return (
            wall.minute in minutes
            and wall.hour in hours
            and wall.month in months
            and ((day or weekday) if self.either_day else (day and weekday))
        )

    def points(self, first: datetime, end: datetime) -> list[datetime]:
        """All points in [first, end), both on full minutes."""
        found: list[datetime] = []
        seen = (first - DAY - MINUTE).astimezone(self.zone).replace(tzinfo=None)
        latest = seen  # the latest wall time that has come
        minute = first - DAY
        while minute < end:
            wall = minute.astimezone(self.zone).replace(tzinfo=None)
            if not self.at_fixed_times:
                due = self.matches(wall)
            else:
                due = wall > latest and any(
                    self.matches(latest + n * MINUTE) for n in range(1, (wall - latest) // MINUTE + 1)
                )
            latest = max(latest, wall)
            if due and minute >= first:
                found.append(minute)
            minute += MINUTE
        return found


def values(text: str, low: int, high: int) -> set[int]:
    """The values of a field: `*`, `a`, `a-b`, each with `/step`, in lists."""
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            bounds = low, high
        else:
            bounds = number(first), number(last) if dash else high if step else number(first)
        found |= set(range(bounds[0], bounds[1] + 1, int(step or 1)))
    return found


def number(text: str) -> int:
    return NAMES[text] if text in NAMES else int(text)


def fields(low: int, high: int, names: list[str], stars: int) -> st.SearchStrategy[str]:
    """Texts of one field; `stars` makes plain stars more likely, for an expression that is not too rare."""
    single = st.integers(low, high).map(str) | (st.sampled_from(names) if names else st.nothing())
    span = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda p: f"{min(p)}-{max(p)}")
    steps = st.integers(1, high)
    stepped = st.builds("{}/{}".format, st.just("*") | span, steps)
    some = st.lists(single | span | stepped, min_size=1, max_size=3).map(",".join)
    return st.one_of(*[st.just("*")] * stars, single, span, stepped, some)


expressions = st.builds(
    "{} {} {} {} {}".format,
    fields(0, 59, [], 1),
    # Half of the single hours lie where clocks are changed.
    fields(0, 23, [], 1) | st.sampled_from(["0", "1", "2", "3", "1-3", "0,2", "23"]),
    fields(1, 31, [], 5),
    fields(1, 12, ["JAN", "MAR", "OCT", "NOV", "DEC"], 8),
    fields(0, 7, ["SUN", "MON", "SAT"], 4),
)
changes = st.sampled_from(CHANGES)


def cron_or_none(expression: str, tz: str) -> Cron | None:
    try:
        return Cron(expression, tz=tz)
    except ScheduleError as error:
        if "never comes" not in str(error):
            raise
        return None


@pytest.mark.slow
@given(expression=expressions, change=changes)
@settings(max_examples=150)
def test_around_every_change_the_points_are_those_of_the_oracle(
    expression: str, change: tuple[str, str]
) -> None:
    tz, day = change
    cron = cron_or_none(expression, tz)
    if cron is None:
        return
    first, end = at(day) - 12 * HOUR, at(day) + 36 * HOUR
    assert points(cron, first, end) == Oracle.reading(expression, tz).points(first, end)


@pytest.mark.parametrize(("tz", "day"), CHANGES)
@pytest.mark.parametrize(
    "expression", ["* * * * *", "0-59 0-23 * * *", "30 * * * *", "15 */2 * * *", "0,45 0,1,2,3,23 * * *"]
)
def test_at_every_change_the_points_are_those_of_the_oracle(tz: str, day: str, expression: str) -> None:
    first, end = at(day) - 12 * HOUR, at(day) + 36 * HOUR
    assert points(Cron(expression, tz=tz), first, end) == Oracle.reading(expression, tz).points(first, end)


@given(
    expression=expressions,
    change=changes,
    offset=st.timedeltas(timedelta(hours=-12), timedelta(hours=36)),
)
@settings(max_examples=150)
def test_from_any_instant_the_next_point_is_the_first_later_one(
    expression: str, change: tuple[str, str], offset: timedelta
) -> None:
    tz, day = change
    cron = cron_or_none(expression, tz)
    if cron is None:
        return
    current, end = at(day) + offset, at(day) + 2 * DAY
    point = cron.next(current)
    first_minute = current.replace(second=0, microsecond=0)
    later = [p for p in Oracle.reading(expression, tz).points(first_minute, end) if p > current]
    assert (point if point is not None and point < end else None) == (later[0] if later else None)


@given(
    expression=expressions,
    tz=st.sampled_from(sorted({tz for tz, _ in CHANGES})),
    current=st.datetimes(datetime(1880, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
)
@settings(max_examples=150)
def test_points_strictly_increase_and_none_is_jumped_over(
    expression: str, tz: str, current: datetime
) -> None:
    cron = cron_or_none(expression, tz)
    if cron is None:
        return
    chain = [current]
    for _ in range(20):
        point = cron.next(chain[-1])
        assert point is not None
        assert point > chain[-1]
        assert point.tzinfo is UTC
        chain.append(point)
    for earlier, later in pairwise(chain):
        middle = earlier + (later - earlier) / 2
        if middle < later:
            assert cron.next(middle) == later
        assert cron.next(later - timedelta(microseconds=1)) == later


@given(expression=expressions, change=changes, before=st.timedeltas(timedelta(0), timedelta(days=40)))
@settings(max_examples=150)
def test_the_points_of_a_range_are_those_that_come_one_after_the_other(
    expression: str, change: tuple[str, str], before: timedelta
) -> None:
    tz, day = change
    cron = cron_or_none(expression, tz)
    if cron is None:
        return
    first, end = at(day) - before, at(day) + 3 * DAY
    assert list(islice(cron.between(first, end), 500)) == list(islice(following(cron, first, end), 500))


def following(cron: Cron, after: datetime, end: datetime) -> Iterator[datetime]:
    while (point := cron.next(after)) is not None and point < end:
        yield point
        after = point


@pytest.mark.parametrize(("tz", "day"), CHANGES)
@pytest.mark.parametrize("expression", ["*/10 * * * *", "30 2 * * *", "0,45 0,1,2,3,23 * * *"])
def test_the_points_of_a_range_over_a_change_are_those_that_come_one_after_the_other(
    tz: str, day: str, expression: str
) -> None:
    cron = Cron(expression, tz=tz)
    for hours in range(-30, 30, 7):
        first = at(day) + hours * HOUR
        assert list(cron.between(first, first + 2 * DAY)) == list(following(cron, first, first + 2 * DAY))
