"""Backfills of a dag: what one would do, starting it, and looking after those that there are."""

from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ppacer.api.door import BACKFILLS, Door, dag_of
from ppacer.api.parameters import choice, moment, whole
from ppacer.api.why_backfill import why_backfill
from ppacer.dag import Dag
from ppacer.engine import RUN_FINAL
from ppacer.errors import ConflictError, ParamsError, ScheduleError
from ppacer.scheduler.span import span_of
from ppacer.store.views import BackfillDetail, BackfillView, DagView
from ppacer.ui.charts import TRACK
from ppacer.ui.dag import head_of
from ppacer.ui.filters import plural
from ppacer.ui.forms import fields_of
from ppacer.ui.page import Page

BACKFILLS_MAX = 10
SHOWN_MAX = 6  # points at each end of what will be created
AT_ONCE = 4
NEWEST = "newest"
FINISHED = ("DONE", "CANCELLED")
SHAPES = {"DONE": "SUCCESS", "PAUSED": "paused", "CANCELLING": "CANCELLED"}  # the state with the same look


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill would do: of its points so many have a run, for the others one is created."""

    begin: datetime
    end: datetime
    points: int
    taken: int
    free: int
    first: list[datetime]
    last: list[datetime]


@dataclass(frozen=True, slots=True)
class Row:
    """A backfill, its range on the clock of the schedule, how far it is, why, and what a cancel would do."""

    one: BackfillView
    begin: datetime
    end: datetime
    state: str
    far: float
    why: str
    cancel: list[str]


def show(door: Door, now: datetime, dag_id: str, **asked: Any) -> dict[str, Any]:
    """The form, what it would do if a range was given, and the latest backfills."""
    head = head_of(door, now, dag_id, "Backfill")
    begin, end, zone = asked["from"], asked["to"], ZoneInfo(head["zone"])
    dag = door.scheduler.registry.get(dag_id)
    plan, error = None, ""
    if begin is not None and dag is not None:
        try:
            plan = _plan(door, dag, begin, end, zone, now)
        except (ConflictError, ParamsError, ScheduleError) as trouble:
            error = str(trouble)
    return {
        **head,
        "can_start": dag is not None and dag.schedule is not None,
        "begin": _on_clock(begin, zone),
        "end": _on_clock(end, zone),
        "at_once": min(max(1, asked["at_once"]), 1_000),
        "is_newest_first": asked["order"] == NEWEST,
        "plan": plan,
        "error": error,
        "fields": fields_of(head["dag"].params_schema),
        "rows": [_row(door, head["dag"], one, zone, now) for one in _latest(door, dag_id)],
    }


def _on_clock(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    """As the form has it; what comes without a zone is meant so already."""
    if at is None or at.tzinfo is None:
        return at
    with suppress(OverflowError):  # at the ends of the calendar
        return at.astimezone(zone)
    return at


def _plan(door: Door, dag: Dag, begin: datetime, end: datetime | None, zone: ZoneInfo, now: datetime) -> Plan:
    span = span_of(dag, begin, end, now)
    free = door.reads.without_runs(dag.id, span.points)
    first = [point.astimezone(zone) for point in free[:SHOWN_MAX]]
    last = [point.astimezone(zone) for point in free[SHOWN_MAX:][-SHOWN_MAX:]]
    return Plan(
        span.begin.astimezone(zone),
        span.end.astimezone(zone),
        len(span.points),
        len(span.points) - len(free),
        len(free),
        first,
        last,
    )


def _latest(door: Door, dag_id: str) -> list[BackfillView]:
    return door.reads.backfills(dag_id=dag_id, limit=BACKFILLS_MAX)


def _row(door: Door, dag: DagView, one: BackfillView, zone: ZoneInfo, now: datetime) -> Row:
    """Those that go on are explained, which takes a count of their runs."""
    why, cancel = "", list[str]()
    if one.state not in FINISHED:
        detail = door.reads.backfill(one.backfill_id)
        why = why_backfill(dag, detail, now, door.is_live)
        why = why.removeprefix(f"backfill {one.backfill_id} of {one.dag_id} ")
        cancel = _cancel(detail)
    begin, end = one.from_ts.astimezone(zone), one.to_ts.astimezone(zone)
    far = round(TRACK * one.position / one.points, 1)
    return Row(one, begin, end, SHAPES.get(one.state, one.state), far, why, cancel)


def _cancel(detail: BackfillDetail) -> list[str]:
    """What ends and what stays."""
    ended = sum(count for status, count in detail.runs.items() if status in RUN_FINAL)
    still_open = sum(detail.runs.values()) - ended
    left = detail.backfill.points - detail.backfill.position
    found = (
        (still_open, f"{plural(still_open, 'open run')} will be told to end"),
        (left, f"{plural(left, 'point')} it has not come to will get no run of it"),
        (ended, f"{plural(ended, 'run')} that {'has' if ended == 1 else 'have'} ended will stay"),
    )
    return [words for count, words in found if count]


def _watches(dag_id: str, **_: Any) -> tuple[Hashable, ...]:
    return dag_of(dag_id), BACKFILLS


QUERY = (
    moment("from", "The begin of the range; without a zone on the clock of the dag's schedule."),
    moment("to", "Its end, which does not belong to it; now when not given."),
    whole("at_once", "How many runs at once.", AT_ONCE),
    choice("order", "Which points come first.", ("oldest", NEWEST), "oldest"),
)
PAGE = Page("/dags/{dag_id}/backfill", "dag_backfill.html", show, _watches, query=QUERY, refreshes=False)
