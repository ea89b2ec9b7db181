"""Checks of what users write: each refuses with one sentence that says what to write instead."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ppacer.errors import DagError, PpacerError
from ppacer.schedule import Schedule, validate_catch_up
from ppacer.schedule.points import as_utc

ID_GRAMMAR = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
SHOWN_MAX = 80  # characters of a foreign value quoted in a sentence
TAGS_MAX = 100
TAG_CHARS_MAX = 100
SCHEDULE_CHARS_MAX = 1_000


def shown(value: object) -> str:
    """`repr(value)` for an error sentence: short, and never an exception of its own."""
    try:
        text = repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def check_id(kind: str, id: str) -> str:
    """Ids are 1 to 200 letters, digits, `_`, `-` and `.`: safe in URLs, file names, SQL and logs."""
    if not isinstance(id, str) or not ID_GRAMMAR.fullmatch(id) or id in (".", ".."):
        raise DagError(
            f"{kind} id {shown(id)} is not possible: use 1 to 200 letters (a-z), digits, '_', '-' and '.'"
        )
    if kind == "dag" and id.isdigit():
        raise DagError(f"dag id {shown(id)} is a number, and numbers mean runs: add a letter to it")
    return str.__str__(id)  # the plain text, also of an enum


def check_limit(dag_id: str, name: str, value: int, limit: int) -> int:
    """A whole number from 1 to `limit`."""
    if not is_whole(value) or not 1 <= value <= limit:
        raise DagError(f"dag {dag_id!r}: {name} is {shown(value)}; it must be a number from 1 to {limit}")
    return int(value)


def check_tags(dag_id: str, tags: Iterable[str]) -> tuple[str, ...]:
    """The tags, each once; those of a set in alphabetical order, because a set has none."""
    if isinstance(tags, str):
        raise DagError(f"dag {dag_id!r}: tags is the text {shown(tags)}; write tags=[{shown(tags)}]")
    if not isinstance(tags, Iterable):
        raise DagError(f"dag {dag_id!r}: tags is {shown(tags)}; it must be a list of texts")
    found = list(tags)
    for tag in found:
        if not isinstance(tag, str) or not tag.isprintable() or not 1 <= len(tag.strip()) <= TAG_CHARS_MAX:
            raise DagError(
                f"dag {dag_id!r}: tag {shown(tag)} is not a printable text of 1 to {TAG_CHARS_MAX} characters"
            )
    result = tuple(dict.fromkeys(sorted(found) if isinstance(tags, set | frozenset) else found))
    if len(result) > TAGS_MAX:
        raise DagError(f"dag {dag_id!r} has {len(result)} tags; at most {TAGS_MAX} are possible")
    return result


def check_catch_up(dag_id: str, catch_up: object) -> Any:
    """A policy for missed points, as `ppacer.schedule` knows them."""
    try:
        return validate_catch_up(catch_up)
    except PpacerError as error:
        raise DagError(f"dag {dag_id!r}: {error}") from error


def check_schedule(dag_id: str, schedule: Schedule | None) -> tuple[str | None, datetime | None]:
    """The text and the start (in UTC) of anything that is a schedule."""
    if schedule is None:
        return None, None
    where = f"dag {dag_id!r}: schedule={shown(schedule)}"
    if isinstance(schedule, str):
        raise DagError(f"{where} is a text; write schedule=Cron({shown(schedule)})")
    if isinstance(schedule, timedelta):
        raise DagError(f"{where} is a timedelta; write schedule=Fixed(start, interval)")
    if isinstance(schedule, type):
        raise DagError(f"{where} is a class; write schedule={schedule.__name__}(…)")
    if not callable(getattr(schedule, "next", None)):
        raise DagError(f"{where} is not a schedule: it has no `next(current, previous)`")
    return _text(where, schedule), _start(where, schedule)


def _text(where: str, schedule: Schedule) -> str:
    """Another text is another schedule, so the same one must say the same in every process."""
    try:
        text = str(schedule)
    except Exception as error:
        raise DagError(f"{where} is not a schedule: its __str__ raised {error!r}") from error
    if ADDRESS.search(text):
        raise DagError(f"{where} needs a __str__ that says when it runs; this one differs in every process")
    if not text.isprintable() or not 1 <= len(text) <= SCHEDULE_CHARS_MAX:
        raise DagError(f"{where}: its __str__ must give 1 to {SCHEDULE_CHARS_MAX} printable characters")
    return text


def _start(where: str, schedule: Schedule) -> datetime | None:
    try:
        return None if schedule.start is None else as_utc(schedule.start, "its start")
    except AttributeError as error:
        raise DagError(f"{where} is not a schedule: it has no `start` (None means no bound)") from error
    except Exception as error:  # a property may raise anything
        raise DagError(f"{where}: {error}") from error


def is_whole(value: object) -> bool:
    """A whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)
