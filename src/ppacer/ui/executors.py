"""Executors: who works, how much of it is in use, and whose code is not that of the scheduler."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ppacer.api.door import EXECUTORS, RUNS, Door
from ppacer.api.parameters import text
from ppacer.protocol import LOCAL
from ppacer.store.views import ExecutorView
from ppacer.ui.charts import TRACK
from ppacer.ui.filters import plural
from ppacer.ui.page import Page
from ppacer.version import VERSION

EXECUTORS_MAX = 100  # on one page
UP = "UP"


@dataclass(frozen=True, slots=True)
class Row:
    """An executor, and the bar of its slots: how much of the track they take, and how much is in use."""

    one: ExecutorView
    width: float
    used: float
    is_local: bool
    is_old: bool


def show(door: Door, now: datetime, after: str | None) -> dict[str, Any]:
    """A page of executors: those that live first, then those that are gone."""
    found = door.reads.executors(after=after or "", limit=EXECUTORS_MAX + 1)
    every, has_more = found[:EXECUTORS_MAX], len(found) > EXECUTORS_MAX
    living = [one for one in every if one.gone_at is None]
    most = max((one.slots for one in living), default=1) or 1
    return {
        "rows": [_row(one, most) for one in living],
        "gone": [_row(one, most) for one in every if one.gone_at is not None],
        "words": _words(living),
        "own_version": VERSION,
        "first": "/executors" if after else None,
        "next": f"/executors?after={every[-1].name}" if has_more else None,
    }


def _row(one: ExecutorView, most: int) -> Row:
    used = min(one.running, one.slots)
    return Row(
        one,
        round(TRACK * one.slots / most, 1),
        round(TRACK * used / most, 1),
        one.name == LOCAL,
        one.version != VERSION,
    )


def _words(living: list[ExecutorView]) -> str:
    taking = [one for one in living if one.state == UP]
    slots, running = sum(one.slots for one in taking), sum(one.running for one in living)
    busy = f"{plural(running, 'task')} running on {plural(slots, 'slot')}"
    draining = len(living) - len(taking)
    return f"{len(taking)} up, {busy}" + (f"; {draining} draining" if draining else "")


PAGE = Page(
    "/executors",
    "executors.html",
    show,
    lambda after: (EXECUTORS, RUNS),
    query=(text("after", "Only executors whose names come after this one."),),
    tab="Executors",
)
