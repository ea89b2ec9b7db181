"""Says in words why a backfill is where it is, and what must happen next. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ppacer.api.why import NOBODY, be, count_of, sentence, when
from ppacer.engine import RUN_FINAL, RunStatus
from ppacer.store.views import BackfillDetail, BackfillView, DagView

SHOWN_MAX = 3  # backfills in the explanation of a dag


def why_backfill(dag: DagView, detail: BackfillDetail, now: datetime, is_live: bool) -> str:
    """Why the backfill is where it is."""
    one = detail.backfill
    name = f"backfill {one.backfill_id} of {one.dag_id}"
    match one.state:
        case "DONE":
            return f"{name} is done: {_done(detail)}."
        case "CANCELLED":
            return f"{name} was cancelled: {_done(detail)}; {_left(one)} it has not come to."
        case "CANCELLING":
            words = f"{name} is being cancelled; it ends when its open runs have: {_runs(detail)}."
        case "PAUSED":
            words = f"{name} is paused since {_paused(one)}"
        case _:
            words = f"{name} {_goes_on(dag, detail, now)} So far: {_done(detail)}; {_left(one)} to come."
    return words if is_live else words + NOBODY


def why_backfills(backfills: Sequence[BackfillView]) -> str:
    """What the explanation of a dag says of its open backfills; newest first."""
    parts = [
        f" Backfill {one.backfill_id} of it is {one.state}, with {_left(one)} to come."
        for one in backfills[:SHOWN_MAX]
    ]
    if not parts:
        return ""
    more = len(backfills) - SHOWN_MAX
    where = f" {more} more {be(more)} open; see" if more > 0 else " See"
    return f"{''.join(parts)}{where} `ppacer backfill list`."


def _paused(one: BackfillView) -> str:
    assert one.paused_at is not None, one
    why = "." if one.pause_reason is None else f", because it could not go on: {sentence(one.pause_reason)}"
    again = f"It goes on with `ppacer backfill unpause {one.backfill_id}`; {_left(one)} to come."
    return f"{when(one.paused_at)}{why} {again}"


def _goes_on(dag: DagView, detail: BackfillDetail, now: datetime) -> str:
    """What the next run waits for."""
    one, active = detail.backfill, _open(detail)
    if one.position == one.points:
        return f"waits for the last of its runs: {_runs(detail)}."
    if dag.removed_at is not None:
        return f"waits: since {when(dag.removed_at)} its dag is not among those that are served."
    if active >= one.max_active_runs:
        return (
            f"waits until one of its runs ends: {count_of(active, 'run')} {be(active)} open, and it has "
            f"{one.max_active_runs} at once."
        )
    if dag.running >= dag.max_active_runs:
        return (
            f"waits until a run of its dag ends: {count_of(dag.running, 'run')} {be(dag.running)} running, "
            f"and max_active_runs is {dag.max_active_runs}."
        )
    gets_runs = dag.paused_at is None and dag.disabled_reason is None
    if gets_runs and dag.next_at is not None and dag.next_at <= now:
        return f"waits for the dag's own points, which go first: the one of {when(dag.next_at)} is due."
    return "begins its next run at the next step of the scheduler."


def _done(detail: BackfillDetail) -> str:
    """What has become of the points that were dealt with."""
    one = detail.backfill
    begun = one.position - one.passed
    words = f"{count_of(begun, 'run')} begun"
    counts = _runs(detail)
    words += f" ({counts})" if counts else ""
    return f"{words}, {count_of(one.passed, 'point')} had a run by then" if one.passed else words


def _runs(detail: BackfillDetail) -> str:
    """`3 SUCCESS, 1 FAILED`."""
    return ", ".join(f"{detail.runs[status]} {status}" for status in RunStatus if detail.runs.get(status))


def _left(one: BackfillView) -> str:
    return count_of(one.points - one.position, "point")


def _open(detail: BackfillDetail) -> int:
    return sum(count for status, count in detail.runs.items() if status not in RUN_FINAL)
