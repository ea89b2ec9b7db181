"""Schedules in words, for those patterns that people write; any other expression is shown as it is."""

import re
from functools import lru_cache
from zoneinfo import ZoneInfo

CRON = re.compile(r"Cron: (?P<expression>.+) \((?P<tz>[^()]+)\)")
FIXED = re.compile(r"FixedSchedule: (?P<interval>.+)")
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
NAMES = {day[:3].upper(): str(at) for at, day in reversed([*enumerate(DAYS)])}
TIMES_MAX = 4  # in one sentence


@lru_cache(maxsize=20_000)
def schedule_in_words(schedule: str | None) -> str:
    """`every day at 03:15, Europe/Warsaw`; what has no words of its own is shown as it is."""
    if schedule is None:
        return "by hand"
    if (fixed := FIXED.fullmatch(schedule)) is not None:
        return f"every {fixed['interval']}"
    if (cron := _found(schedule)) is None:
        return schedule
    words = _cron(*cron["expression"].split()) if cron["expression"].count(" ") == 4 else ""
    return f"{words or cron['expression']}, {cron['tz']}"


def zone_of(schedule: str | None) -> str:
    """The time zone by whose clock a schedule goes; UTC where it names none."""
    found = _found(schedule or "")
    return "UTC" if found is None else found["tz"]


@lru_cache(maxsize=1_000)
def _found(schedule: str) -> re.Match[str] | None:
    """A Cron; not the text of a user's own schedule that only looks like one."""
    found = CRON.fullmatch(schedule)
    return found if found is not None and _is_zone(found["tz"]) else None


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # no such zone, no name of one, a folder of zones
        return False
    return True


def _cron(minute: str, hour: str, day: str, month: str, weekday: str) -> str:
    """Empty when there are no simple words for it."""
    days = _days(day, month, weekday)
    time = _time(minute, hour)
    if not days or not time:
        return ""
    if time.startswith("at"):
        return f"{days} {time}"
    return time if days == "every day" else f"{time}, {days}"


def _time(minute: str, hour: str) -> str:
    if hour == "*":
        return _minutes(minute)
    hours, minutes = _numbers(hour), _numbers(minute)
    if len(minutes) == 1 and 0 < len(hours) <= TIMES_MAX:
        return f"at {_and([f'{at:02}:{minutes[0]:02}' for at in hours])}"
    if (step := _step(hour)) and len(minutes) == 1:
        return f"every {step} hours at :{minutes[0]:02}"
    if (span := re.fullmatch(r"(\d+)-(\d+)", hour)) and (words := _minutes(minute)):
        return f"{words}, {int(span[1]):02}:00 to {int(span[2]):02}:59"
    return ""


def _minutes(minute: str) -> str:
    if minute == "*":
        return "every minute"
    if step := _step(minute):
        return f"every {step} minutes"
    numbers = _numbers(minute)
    if numbers == [0]:
        return "every hour"
    return f"every hour at {_and([f':{at:02}' for at in numbers])}" if 0 < len(numbers) <= TIMES_MAX else ""


def _days(day: str, month: str, weekday: str) -> str:
    if day == "*" and weekday == "*":
        return "every day" if month == "*" else f"every day in {_months(month)}" if _months(month) else ""
    if day == "*" and month == "*":
        return _weekdays(weekday)
    if weekday == "*" and day == "L":
        return "on the last day of the month" if month == "*" else ""
    numbers = _numbers(day)
    if weekday != "*" or not 0 < len(numbers) <= TIMES_MAX:
        return ""
    if month == "*":
        return f"on the {_and([_ordinal(number) for number in numbers])} of the month"
    return f"on {_and([str(number) for number in numbers])} {_months(month)}" if _months(month) else ""


def _weekdays(text: str) -> str:
    for name, number in NAMES.items():
        text = text.upper().replace(name, number)
    if text in ("1-5", "1,2,3,4,5"):
        return "on weekdays"
    if text in ("6,0", "0,6", "6,7", "6-7"):
        return "on weekends"
    if span := re.fullmatch(r"([0-7])-([0-7])", text):
        return f"{DAYS[int(span[1])]} to {DAYS[int(span[2])]}"
    numbers = _numbers(text)
    if not numbers or max(numbers) > 7:
        return ""
    return f"every {_and([DAYS[number] for number in numbers])}"


def _months(text: str) -> str:
    numbers = _numbers(text)
    return _and([MONTHS[number] for number in numbers]) if numbers and max(numbers) <= 12 else ""


def _step(text: str) -> str:
    found = re.fullmatch(r"\*/(\d+)", text)
    return found[1] if found else ""


def _numbers(text: str) -> list[int]:
    """`1,15` → [1, 15]; empty for anything but plain numbers."""
    parts = text.split(",")
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else ending}"
