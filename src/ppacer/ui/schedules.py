"""Schedules: what ran in the past hours and what comes in the next ones, dag by dag on one axis.

Only what is shown is computed: of the dags of a page, up to so many points and runs; more of them are a band.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from ppacer.api.door import DAGS, RUNS, Door
from ppacer.api.parameters import choice, text
from ppacer.engine import RunStatus
from ppacer.schedule import Cron, Fixed
from ppacer.store.views import DagView, RunMark
from ppacer.ui.addresses import address
from ppacer.ui.charts import TRACK
from ppacer.ui.filters import plural
from ppacer.ui.page import Page
from ppacer.ui.points import points_after
from ppacer.ui.words import zone_of

DAGS_MAX = 50  # on one page
POINTS_MAX = 48  # of one dag; what comes more often is a band
RUNS_MAX = 100  # of one dag; what ran before them is not drawn
LINKS_MAX = 24  # runs of one dag that can be pointed at and opened; more of them are drawn as one
MARK = 4  # units of the track that one run or point takes
TOP, FLOOR = 4, 16
FAILED = RunStatus.FAILED


class Span(NamedTuple):
    """How far the axis goes, and how far apart its ticks are; a third of it is behind us."""

    ahead: timedelta
    step: timedelta


SPANS = {
    "6h": Span(timedelta(hours=6), timedelta(hours=1)),
    "24h": Span(timedelta(hours=24), timedelta(hours=4)),
    "7d": Span(timedelta(days=7), timedelta(days=1)),
}
DAY = "24h"


@dataclass(frozen=True, slots=True)
class Axis:
    """From which instant to which one, a whole number of steps, and where now is."""

    begin: datetime
    end: datetime
    step: timedelta
    now: datetime

    def at(self, instant: datetime) -> float:
        """The place of an instant."""
        return round(TRACK * ((instant - self.begin) / (self.end - self.begin)), 1)

    @property
    def ticks(self) -> list[datetime]:
        """The begin of each step."""
        return [self.begin + self.step * number for number in range((self.end - self.begin) // self.step)]


@dataclass(frozen=True, slots=True)
class Mark:
    """A run on the axis."""

    run_id: int
    state: str
    x: float
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A dag on the axis: runs one by one, or by state as the paths of `many`; points, or a band of them."""

    dag: DagView
    zone: str
    runs: list[Mark]
    many: list[tuple[str, str]]
    unknown: float | None  # up to here there are more runs than are drawn
    points: str
    band: float | None
    words: str


def show(door: Door, now: datetime, *, after: str | None, text: str | None, span: str) -> dict[str, Any]:
    """A page of dags that have a schedule."""
    axis = _axis(now, SPANS[span])
    dags = door.reads.dags(after=after or "", limit=DAGS_MAX + 1, text=text, planned=True)
    some, has_more = dags[:DAGS_MAX], len(dags) > DAGS_MAX
    runs = door.reads.recent_runs([dag.dag_id for dag in some], RUNS_MAX, axis.begin)
    asked = {"text": text, "span": span if span != DAY else None}
    return {
        "lanes": [_lane(door, dag, runs[dag.dag_id], axis) for dag in some],
        "axis": axis,
        "here_at": axis.at(now),
        "grid": [axis.at(tick) for tick in axis.ticks[1:]],
        "days": SPANS[span].step >= timedelta(days=1),
        "text": text,
        "spans": [
            (
                f"next {word}",
                address("/schedules", text=text, span=word if word != DAY else None),
                word == span,
            )
            for word in SPANS
        ],
        "span": asked["span"],
        "first": address("/schedules", **asked) if after else None,
        "next": address("/schedules", **asked, after=some[-1].dag_id) if has_more else None,
    }


def _axis(now: datetime, span: Span) -> Axis:
    """Whole steps, so that the ticks of all zones that keep whole hours are whole hours."""
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=7)
    begin = midnight + (now - span.ahead / 3 - midnight) // span.step * span.step
    steps = -((begin - now - span.ahead) // span.step)
    return Axis(begin, begin + steps * span.step, span.step, now)


def _lane(door: Door, dag: DagView, runs: Sequence[RunMark], axis: Axis) -> Lane:
    seen = [run for run in runs if axis.begin <= run.exec_ts <= axis.end]
    points, words = _points_of(door, dag, axis)
    is_band = len(points) > POINTS_MAX
    is_cut = len(runs) == RUNS_MAX and bool(seen)
    few = len(seen) <= LINKS_MAX
    return Lane(
        dag,
        zone_of(dag.schedule),
        [_mark(run, axis) for run in seen] if few else [],
        [] if few else _by_state(seen, axis),
        axis.at(seen[0].exec_ts) if is_cut else None,
        "" if is_band else _path([axis.at(point) for point in points]),
        axis.at(points[0]) if is_band else None,
        f"{plural(len(seen), 'run')} behind, {words}",
    )


def _mark(run: RunMark, axis: Axis) -> Mark:
    title = f"run {run.run_id}: {run.status}, {run.exec_ts:%Y-%m-%d %H:%M:%S} UTC"
    return Mark(run.run_id, run.status, axis.at(run.exec_ts), title)


def _by_state(runs: Sequence[RunMark], axis: Axis) -> list[tuple[str, str]]:
    """One path for each state; what failed is drawn last, above all others."""
    ordered = sorted(runs, key=lambda run: (run.status == FAILED, run.status))
    return [
        (state, _path([axis.at(run.exec_ts) for run in some], is_tall=state == FAILED))
        for state, some in groupby(ordered, key=lambda run: run.status)
    ]


def _path(places: Sequence[float], is_tall: bool = False) -> str:
    """A mark at each place; what failed is taller, so that no colour is needed to see it."""
    top, floor = (0, 20) if is_tall else (TOP, FLOOR)
    return "".join(f"M{x} {top}h{MARK}V{floor}h-{MARK}z" for x in places)


def _points_of(door: Door, dag: DagView, axis: Axis) -> tuple[list[datetime], str]:
    """The points ahead, one more than fit a lane at most; and what is said of them."""
    if dag.disabled_reason is not None or dag.paused_at is not None or dag.next_at is None:
        return [], "none ahead"
    served = door.scheduler.registry.get(dag.dag_id)
    schedule = None if served is None else served.schedule
    first = max(dag.next_at, axis.begin)
    points = [first]
    if isinstance(schedule, Cron | Fixed):  # of the user's own nobody knows what it costs
        points += points_after(schedule, first, POINTS_MAX)
    seen = [point for point in points if point <= axis.end]
    if len(seen) > POINTS_MAX:
        return seen, "more ahead than can be drawn"
    return seen, f"{len(seen)} ahead"


PAGE = Page(
    "/schedules",
    "schedules.html",
    show,
    lambda **_: (RUNS, DAGS),
    query=(
        text("after", "Only dags whose ids come after this one."),
        text("text", "Only dags with this text in their id or in a tag."),
        choice("span", "How far ahead to look.", SPANS, DAY),
    ),
    tab="Schedules",
)
