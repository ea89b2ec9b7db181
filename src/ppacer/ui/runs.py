"""Runs: all of them, found by dag, state, time and text; and what can be done with the selected ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ppacer.api.door import RUNS, Door, run_of
from ppacer.api.parameters import STATUS, Parameter, choice, moment, text, whole
from ppacer.engine import RUN_FINAL, RunStatus
from ppacer.engine.model import Trigger
from ppacer.store.run_lists import RunSearch
from ppacer.store.views import RunView
from ppacer.ui.addresses import address
from ppacer.ui.beside import whys, zones
from ppacer.ui.charts import TRACK, span_of
from ppacer.ui.filters import plural
from ppacer.ui.page import Page

RUNS_MAX = 50  # on one page, and so in one form
PERIODS = {"1h": 1, "6h": 6, "24h": 24, "7d": 7 * 24, "30d": 30 * 24}
NEWEST, SLOWEST = "newest", "slowest"


@dataclass(frozen=True, slots=True)
class Row:
    """A run with the bar of its duration, in units of a track."""

    run: RunView
    width: float


def show(
    door: Door,
    now: datetime,
    *,
    dag: str | None,
    status: list[RunStatus],
    text: str | None,
    trigger: str | None,
    last: str | None,
    since: datetime | None,
    until: datetime | None,
    sort: str,
    before: int | None,
) -> dict[str, Any]:
    """A page of runs, as far as they fit."""
    begins = [since] if since else []
    begins += [now - timedelta(hours=PERIODS[last])] if last else []
    search = RunSearch(dag, status, max(begins, default=None), until, text, trigger, sort == SLOWEST, before)
    found = door.reads.find_runs(search, now, limit=RUNS_MAX)
    asked = {
        "dag": dag, "status": [*status], "text": text, "trigger": trigger, "last": last,
        "since": _typed(since), "until": _typed(until), "sort": sort if sort == SLOWEST else None,
    }  # fmt: skip
    return {
        "rows": _rows(found.runs, now),
        "whys": whys(door, found.runs, now),
        "zones": zones(door, [run.dag_id for run in found.runs]),
        "asked": asked,
        "is_asked": any(value for name, value in asked.items() if name != "sort"),
        "states": [_toggle(one, asked) for one in RunStatus],
        "periods": tuple(PERIODS),
        "triggers": tuple(Trigger),
        "any_dag": url_of({**asked, "dag": None}),
        "first": url_of(asked) if before else None,
        "next": url_of({**asked, "before": found.before}) if found.before else None,
        "looked": found.looked,
        "is_cut": sort == SLOWEST and len(found.runs) == RUNS_MAX,
    }


def _rows(runs: Sequence[RunView], now: datetime) -> list[Row]:
    spans = [span_of(run, now) for run in runs]
    longest = max(spans, default=timedelta()) or timedelta(seconds=1)
    return [
        Row(run, round(TRACK * (span / longest), 1) if span else 0.0)
        for run, span in zip(runs, spans, strict=True)
    ]


def _toggle(status: RunStatus, asked: dict[str, Any]) -> tuple[str, str, bool]:
    """A state, the list with it more or less, and whether it is asked for."""
    taken: list[str] = asked["status"]
    without = [one for one in taken if one != status]
    is_taken = status in taken
    return status, url_of({**asked, "status": without if is_taken else [*taken, status]}), is_taken


def url_of(asked: dict[str, Any]) -> str:
    """The address of a list of runs."""
    return address("/runs", **asked)


def _typed(at: datetime | None) -> str:
    """As a field for date and time has it."""
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M}"


# -- what was selected -----------------------------------------------------------------------------------


def show_selected(door: Door, now: datetime, *, do: str | None, run: list[int]) -> dict[str, Any]:
    """What a command would do to each of the selected runs."""
    runs = door.reads.runs_of(run[:RUNS_MAX])
    is_cancel = do != RESTART
    fits = [one for one in runs if (_can_cancel(one) if is_cancel else _can_restart(one))]
    return {
        "do": CANCEL if is_cancel else RESTART,
        "runs": runs,
        "whys": whys(door, runs, now),
        "zones": zones(door, [one.dag_id for one in runs]),
        "numbers": " ".join(str(one.run_id) for one in fits),
        "fits": {one.run_id for one in fits},
        "words": _cancel_words(fits) if is_cancel else _restart_words(fits),
        "button": f"{'Cancel' if is_cancel else 'Restart'} {plural(len(fits), 'run')}",
        "others": _other_words(len(runs), len(fits), is_cancel),
    }


def _can_cancel(run: RunView) -> bool:
    return run.status not in RUN_FINAL and run.cancel_requested_at is None


def _can_restart(run: RunView) -> bool:
    return run.status in RUN_FINAL and run.status != RunStatus.SUCCESS


def _cancel_words(runs: Sequence[RunView]) -> str:
    dags = len({run.dag_id for run in runs})
    return (
        f"{plural(len(runs), 'run')} of {plural(dags, 'dag')} will be cancelled: running tasks are told to "
        "end, no other begins. What has succeeded stays, and a cancelled run can be restarted."
    )


def _restart_words(runs: Sequence[RunView]) -> str:
    dags = len({run.dag_id for run in runs})
    return (
        f"{plural(len(runs), 'run')} of {plural(dags, 'dag')} will go on: tasks that did not succeed run "
        "again, with a new budget of retries; those that succeeded do not."
    )


def _other_words(count: int, fits: int, is_cancel: bool) -> str:
    """Of those that stay as they are."""
    why = "have ended already, or are being cancelled" if is_cancel else "have not failed, nor were cancelled"
    if count == fits:
        return ""
    if not fits:
        return f"None of these {count} can be {'cancelled' if is_cancel else 'restarted'}: they {why}."
    return f"{count - fits} of the {count} selected stay as they are: they {why}."


# -- parameters ------------------------------------------------------------------------------------------


def _number(word: str) -> int:
    found = whole("run", "").read(word)
    assert isinstance(found, int)
    return found


CANCEL, RESTART = "cancel", "restart"
PAGE = Page(
    "/runs",
    "runs.html",
    show,
    lambda **_: (RUNS,),
    query=(
        text("dag", "Only runs of this dag."),
        STATUS,
        text("text", "Only runs with this text in the id of their dag or in their parameters."),
        choice("trigger", "Only runs started by this.", tuple(Trigger)),
        choice("last", "Only runs created in this time up to now.", tuple(PERIODS)),
        moment("since", "Only runs created since then; without a zone in UTC.", UTC),
        moment("until", "Only runs created before; without a zone in UTC.", UTC),
        choice("sort", "Which come first.", (NEWEST, SLOWEST), NEWEST),
        whole("before", "Only runs with a lower number: the page behind the last one."),
    ),
    tab="Runs",
    refreshes=False,
)
SELECTED = Page(
    "/runs/selected",
    "runs_selected.html",
    show_selected,
    lambda do, run: tuple(run_of(one) for one in run[:RUNS_MAX]),
    query=(
        choice("do", "What is to be done with them.", (CANCEL, RESTART)),
        Parameter("run", "The numbers of the runs.", _number, {"type": "integer"}, repeated=True),
    ),
    refreshes=False,
)
