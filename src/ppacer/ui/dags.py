"""The list of dags, and the form that starts a run of one."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from ppacer.api.door import DAGS, RUNS, Door, dag_of
from ppacer.api.parameters import choice, text
from ppacer.choices import DagState
from ppacer.store.views import DagView, RunMark
from ppacer.ui.addresses import address
from ppacer.ui.beside import whys
from ppacer.ui.charts import latest_runs
from ppacer.ui.environment import render
from ppacer.ui.forms import fields_of
from ppacer.ui.numbers import run_by_number
from ppacer.ui.page import Page
from ppacer.ui.words import zone_of

DAGS_MAX = 50  # on one page
RUNS_SHOWN = 20  # of each dag
PICTURES_MAX = 256  # that are kept; each takes some 8 KB
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # of what has ended it does not matter what time it is


@dataclass(frozen=True, slots=True)
class Row:
    """A dag with a picture of its latest runs."""

    dag: DagView
    latest_runs: Markup
    zone: str


def show(
    door: Door, now: datetime, after: str | None, text: str | None, tag: str | None, state: DagState | None
) -> dict[str, Any]:
    """A page of dags, as far as they fit."""
    dags = door.reads.dags(after=after or "", limit=DAGS_MAX + 1, text=text, tag=tag or None, state=state)
    shown, has_more = dags[:DAGS_MAX], len(dags) > DAGS_MAX
    runs = door.reads.recent_runs([dag.dag_id for dag in shown], RUNS_SHOWN)
    rows = [Row(dag, _picture(dag.dag_id, runs[dag.dag_id], now), zone_of(dag.schedule)) for dag in shown]
    return {
        "rows": rows,
        "run": None if rows else run_by_number(door, text),
        "whys": whys(door, [dag.latest for dag in shown], now),
        "text": text,
        "tag": tag,
        "chosen": state,
        "untagged": address("/dags", text=text, state=state),
        "states": [
            ("all", address("/dags", text=text, tag=tag), state is None),
            *(
                (word.value, address("/dags", text=text, tag=tag, state=word), word is state)
                for word in DagState
            ),
        ],
        "first": address("/dags", text=text, tag=tag, state=state) if after else None,
        "next": address("/dags", text=text, tag=tag, state=state, after=shown[-1].dag_id)
        if has_more
        else None,
    }


def _picture(dag_id: str, runs: Sequence[RunMark], now: datetime) -> Markup:
    """Runs that have ended look the same for ever, and most dags have no new one since the page before."""
    is_over = all(run.ended_at is not None for run in runs)
    return _kept(dag_id, tuple(runs)) if is_over else _drawn(dag_id, runs, now)


@lru_cache(maxsize=PICTURES_MAX)
def _kept(dag_id: str, runs: tuple[RunMark, ...]) -> Markup:
    return _drawn(dag_id, runs, LONG_AGO)


def _drawn(dag_id: str, runs: Sequence[RunMark], now: datetime) -> Markup:
    drawing = latest_runs(runs, RUNS_SHOWN, now)
    return Markup(render("parts/bars.html", name=dag_id, drawing=drawing)) if runs else Markup()


def _watches(**question: Any) -> tuple[Hashable, ...]:
    return DAGS, RUNS


def show_trigger(door: Door, now: datetime, dag_id: str) -> dict[str, Any]:
    """The form for a run of the dag."""
    return trigger_values(door.reads.dag(dag_id))


def trigger_values(dag: DagView, given: dict[str, str] | None = None, error: str = "") -> dict[str, Any]:
    """The form, perhaps once more, with what was filled in and what is wrong with it."""
    return {"dag": dag, "fields": fields_of(dag.params_schema), "given": given or {}, "error": error}


AFTER = text("after", "Only dags whose ids come after this one.")
TEXT = text("text", "Only dags with this text in their id or in a tag; #123 leads to run 123.")
TAG = text("tag", "Only dags with this tag.")
STATE = choice("state", "Only dags in this state.", [*DagState])
PAGE = Page(
    "/dags",
    "dags.html",
    show,
    _watches,
    query=(AFTER, TEXT, TAG, STATE),
    tab="Dags",
    leads=lambda door, text, **_: run_by_number(door, text) if (text or "").startswith("#") else None,
)
TRIGGER = Page(
    "/dags/{dag_id}/trigger",
    "trigger.html",
    show_trigger,
    lambda dag_id: (dag_of(dag_id),),
    refreshes=False,
)
