"""Commands about backfills: each becomes changes, a reply, and a way to see if it happened."""

from collections.abc import Callable
from datetime import datetime

from ppacer.clock import Now
from ppacer.dag import Dag
from ppacer.dag.values import dumps
from ppacer.engine.changes import BackfillCreated, Change
from ppacer.engine.events import Cancel
from ppacer.errors import ConflictError, NotFoundError, ParamsError
from ppacer.scheduler.backfills import Backfill
from ppacer.scheduler.decision import Decision
from ppacer.scheduler.memory import Memory
from ppacer.scheduler.requests import StartBackfill
from ppacer.scheduler.span import span_of
from ppacer.store.backfills import BackfillRef, BackfillRow

OPEN_MAX = 100  # backfills open at once
ACTIVE_MAX = 1_000  # runs of one backfill open at once


def start(memory: Memory, dag: Dag, command: StartBackfill, actor: str, now: Now) -> Decision:
    """A new backfill. Raises ConflictError, ParamsError or ScheduleError."""
    if not 1 <= command.max_active_runs <= ACTIVE_MAX:
        raise ParamsError(f"a backfill has 1 to {ACTIVE_MAX:,} runs at once, not {command.max_active_runs}")
    params = dag.params.validate(command.params)
    if len(memory.backfills.open) >= OPEN_MAX:
        raise ConflictError(f"{OPEN_MAX} backfills are open; one must end first, or be cancelled")
    begin, end, points = span_of(dag, command.begin, command.end, now.utc)
    made = BackfillCreated(
        memory.backfills.next_id(),
        dag.id,
        begin,
        end,
        command.newest_first,
        command.max_active_runs,
        dumps(params) if params else None,
        _to_run(memory, dag, points, command.newest_first),
        now.utc,
        actor,
    )
    memory.backfills.add(made)
    ref = BackfillRef(made.backfill_id, dag.id)
    mine = (made.at, actor)
    return Decision([made], ref, _row(memory, ref, lambda row: (row.created_at, row.created_by) == mine))


def _to_run(memory: Memory, dag: Dag, points: list[datetime], newest_first: bool) -> list[datetime]:
    """The points without a run, in the order in which they shall get one."""
    free = memory.store.without_runs(dag.id, points)
    if not free:
        count = "its only point has" if len(points) == 1 else f"all of its {len(points):,} points have"
        raise ConflictError(f"there is nothing to run in this range: {count} a run already")
    return free[::-1] if newest_first else free


def pause(memory: Memory, backfill_id: int, now: Now) -> Decision:
    """No more runs for now."""
    one = _open(memory, backfill_id)
    changes: list[Change] = list(memory.backfills.pause(one, now.utc))
    return Decision(changes, one.ref, _row(memory, one.ref, lambda row: row.paused_at is not None))


def unpause(memory: Memory, backfill_id: int) -> Decision:
    """It goes on."""
    one = _open(memory, backfill_id)
    changes: list[Change] = list(memory.backfills.unpause(one))
    return Decision(changes, one.ref, _row(memory, one.ref, lambda row: row.paused_at is None))


def cancel(memory: Memory, backfill_id: int, now: Now) -> Decision:
    """No more runs, and its open ones are cancelled with it."""
    one = _open(memory, backfill_id)
    changes: list[Change] = list(memory.backfills.cancel(one, now.utc))
    mine = [run_id for run_id, run in memory.engine.runs.items() if run.backfill_id == backfill_id]
    for run_id in mine:
        changes += memory.engine.handle(Cancel(run_id), now.utc)
    return Decision(changes, one.ref, _row(memory, one.ref, lambda row: row.cancel_requested_at is not None))


def _open(memory: Memory, backfill_id: int) -> Backfill:
    one = memory.backfills.open.get(backfill_id)
    if one is None:
        if memory.store.backfill(backfill_id) is None:
            raise NotFoundError(f"there is no backfill {backfill_id}; `ppacer backfill list` lists them")
        raise ConflictError(f"backfill {backfill_id} has ended")
    return one


def _row(memory: Memory, ref: BackfillRef, is_so: Callable[[BackfillRow], bool]) -> Callable[[], bool]:
    """Whether something is so by the row of a backfill."""

    def look() -> bool:
        row = memory.store.backfill(ref.backfill_id)
        return row is not None and row.ref == ref and is_so(row)

    return look
