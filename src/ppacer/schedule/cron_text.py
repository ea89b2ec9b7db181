"""Reading what a user writes for a Cron: the expression and the time zone, refused with a sentence."""

import difflib
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from ppacer.errors import ScheduleError

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last day) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT (0 and 7 are Sunday), MON#2 (the second Monday) or 5L (the last Friday)",
}

ONE_VALUE = re.compile(r"\b(\w+)-\1/\d+\b")
EXPRESSION_MAX = 1000  # characters; every value of every field written out is fewer than 400
A_LEAP_YEAR = datetime(2000, 1, 1, tzinfo=UTC)  # any would do: what matches at all matches within 40 years


def normal_expression(text: str) -> str:
    """The five fields in capitals with single spaces, nicknames spelled out; ScheduleError if impossible."""
    if not isinstance(text, str):
        raise ScheduleError(f"a cron expression is text such as '15 3 * * *', not {type(text).__name__}")
    if len(text) > EXPRESSION_MAX:
        raise ScheduleError(f"a cron expression has at most {EXPRESSION_MAX} characters, not {len(text)}")
    if text.strip().startswith("@"):
        return _nickname(text)
    fields = text.upper().split()
    if len(fields) != len(FIELDS):
        seconds = "; seconds are not possible, use Fixed for less than a minute" if len(fields) == 6 else ""
        raise ScheduleError(
            f"cron expression {text!r} has {_counted(len(fields))}, not five: {' '.join(FIELDS)}{seconds}"
        )
    for at, (name, allowed) in enumerate(FIELDS.items()):
        if not _is_possible(fields[at], at):
            raise ScheduleError(
                f"cron expression {text!r}: {name} {fields[at]!r} is not possible; it takes {allowed}, "
                "and *, lists 1,2, rising ranges 1-5 and steps */2"
            )
    # cronsim (2.8) reads 5-5/10 as 5/10, which is 5, 15, 25 and so on.
    expression = ONE_VALUE.sub(r"\1", " ".join(fields))
    if not _has_points(expression):
        raise ScheduleError(f"cron expression {text!r} never comes: no year has such a day")
    return expression


def known_zone(name: str) -> ZoneInfo:
    """The time zone of this name; ScheduleError with the likeliest spelling when there is none."""
    if not isinstance(name, str):
        raise ScheduleError(
            f"tz takes the name of a time zone such as 'Europe/Warsaw', not {type(name).__name__}"
        )
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown; not a name; a folder, or too long
        raise ScheduleError(f"there is no time zone {name[:80]!r}; {_advice(name[:80])}") from None


def is_number(value: object, low: int, high: int) -> bool:
    """Whether this is a whole number from `low` to `high`; True and False are not numbers here."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _nickname(text: str) -> str:
    try:
        return NICKNAMES[text.strip().lower()]
    except KeyError:
        raise ScheduleError(f"there is no cron nickname {text!r}; there are {', '.join(NICKNAMES)}") from None


def _is_possible(field: str, at: int) -> bool:
    """Whether this field alone, beside stars, is an expression."""
    others = ["*"] * len(FIELDS)
    others[at] = field
    try:
        CronSim(" ".join(others), A_LEAP_YEAR)
    except CronSimError:
        return False
    return True


def _has_points(expression: str) -> bool:
    """Whether any date fits. cronsim looks 50 years ahead; 29 February is every weekday once in 40."""
    try:
        return next(CronSim(expression, A_LEAP_YEAR), None) is not None
    except CronSimError:  # it sees by itself that 30 February does not exist
        return False


def _advice(name: str) -> str:
    """`did you mean …?`, also for a city alone or the wrong capitals."""
    zones = {zone.lower(): zone for zone in sorted(available_timezones())}
    cities = {key.rpartition("/")[2]: zone for key, zone in zones.items()}
    spelled = cities | zones
    close = difflib.get_close_matches(name.strip().lower().replace(" ", "_"), spelled, n=1)
    return f"did you mean {spelled[close[0]]!r}?" if close else "names look like 'Europe/Warsaw' or 'UTC'"


def _counted(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"
