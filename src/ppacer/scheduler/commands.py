"""Carries out what people ask for: each command becomes changes, a reply, and a way to see if it happened."""

from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import msgspec

from ppacer.clock import Now
from ppacer.dag.values import dumps
from ppacer.engine import AttemptRow, RunRef, RunRow
from ppacer.engine.changes import Change, DrainAsked
from ppacer.engine.events import Cancel, Restart, Triggered
from ppacer.errors import ConflictError, NotFoundError
from ppacer.scheduler import backfill_commands, tokens
from ppacer.scheduler.decision import Decision
from ppacer.scheduler.instants import in_utc
from ppacer.scheduler.memory import Memory
from ppacer.scheduler.requests import (
    CancelBackfill,
    CancelRun,
    Command,
    CreateToken,
    DrainExecutor,
    PauseBackfill,
    PauseDag,
    RestartRun,
    RevokeToken,
    StartBackfill,
    TriggerRun,
    UndrainExecutor,
    UnpauseBackfill,
    UnpauseDag,
)
from ppacer.store import DagRow
from ppacer.store.tokens import TokenRow

SHOWN_MAX = 200  # characters of an unknown id, which is as long as an id can be
COMPARED_MAX = 1_000  # ids that are looked through for the one that was meant: 0.06 s of the only thread


class Commands:
    """Decides commands in memory. Raises PpacerError for what cannot be: nothing has changed then."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._store = memory.store

    def obey(self, command: Command, actor: str, now: Now) -> Decision:
        """Decides one command of this actor."""
        match command:
            case TriggerRun():
                return self._trigger(command, now)
            case CancelRun(run_id):
                return self._cancel(run_id, now)
            case RestartRun(run_id):
                return self._restart(run_id, now)
            case PauseDag(dag_id):
                return self._pause(dag_id, now)
            case UnpauseDag(dag_id):
                return self._unpause(dag_id, now)
            case StartBackfill(dag_id):
                dag = self._memory.registry[self._known(dag_id)]
                return backfill_commands.start(self._memory, dag, command, actor, now)
            case PauseBackfill(backfill_id):
                return backfill_commands.pause(self._memory, backfill_id, now)
            case UnpauseBackfill(backfill_id):
                return backfill_commands.unpause(self._memory, backfill_id)
            case CancelBackfill(backfill_id):
                return backfill_commands.cancel(self._memory, backfill_id, now)
            case DrainExecutor(executor):
                return self._drain(executor, now.utc)
            case UndrainExecutor(executor):
                return self._drain(executor, None)
            case CreateToken():
                return self._create_token(command, actor, now)
            case RevokeToken():
                return self._revoke_token(command, now)

    def _trigger(self, command: TriggerRun, now: Now) -> Decision:
        dag = self._memory.registry[self._known(command.dag_id)]
        params = dag.params.validate(command.params)
        if command.exec_ts is None:
            ref = self._memory.triggered_ref(dag.id, now.utc)
        else:
            ref = self._chosen_ref(dag.id, command.exec_ts)
        event = Triggered(ref, dag.graph, dag.version, dumps(params) if params else None)
        changes = self._memory.engine.handle(event, now.utc)
        return Decision(changes, ref, lambda: self._row(ref.run_id, lambda row: row.ref == ref))

    def _chosen_ref(self, dag_id: str, exec_ts: datetime) -> RunRef:
        exec_ts = in_utc("the execution time", exec_ts)
        ref = self._memory.new_ref(dag_id, exec_ts)
        if ref is None:
            raise ConflictError(
                f"dag {dag_id!r} has a run with the execution time {exec_ts.isoformat()} already; "
                "`ppacer restart` lets one that has failed or was cancelled go on"
            )
        return ref

    def _cancel(self, run_id: int, now: Now) -> Decision:
        run = self._memory.engine.runs.get(run_id)
        if run is None:
            row = self._stored(run_id)[0]
            raise ConflictError(f"run {run_id} has ended with {row.status}; it cannot be cancelled")
        changes = self._memory.engine.handle(Cancel(run_id), now.utc)
        return Decision(changes, run.ref, lambda: self._row(run_id, lambda row: row.cancelling))

    def _restart(self, run_id: int, now: Now) -> Decision:
        engine = self._memory.engine
        run = engine.runs.get(run_id)
        if run is None:
            run = engine.restore(*self._stored(run_id))
        status = run.status
        changes = engine.handle(Restart(run_id), now.utc)
        if not changes:
            engine.forget(run_id)
            raise ConflictError(f"run {run_id} is {status}; only failed or cancelled runs can be restarted")
        number = run.restart
        return Decision(changes, run.ref, lambda: self._row(run_id, lambda row: row.restart >= number))

    def _pause(self, dag_id: str, now: Now) -> Decision:
        changes: list[Change] = list(self._memory.watcher.pause(self._known(dag_id), now.utc))
        return Decision(changes, dag_id, lambda: self._marked(dag_id, lambda row: row.paused_at is not None))

    def _unpause(self, dag_id: str, now: Now) -> Decision:
        changes: list[Change] = []
        for event in self._memory.watcher.unpause(self._known(dag_id), now.utc):
            changes += self._memory.take(event, now.utc)
        return Decision(changes, dag_id, lambda: self._marked(dag_id, _is_free))

    def _drain(self, name: str, at: datetime | None) -> Decision:
        """Whoever said hello once can be told; what it has was given to it, and it finishes that."""
        roll, wanted = self._memory.roll, at is not None
        if name not in roll.rows:
            raise NotFoundError(f"there is no executor {name[:SHOWN_MAX]!r}; `ppacer executors` lists them")
        changes: list[Change] = [] if roll.rows[name].is_drained is wanted else [DrainAsked(name, at)]
        roll.drain(name, wanted)
        return Decision(changes, name, lambda: self._is_drained(name) is wanted)

    def _is_drained(self, name: str) -> bool | None:
        row = self._store.executor_rows().get(name)
        return None if row is None else row.is_drained

    def _create_token(self, command: CreateToken, actor: str, now: Now) -> Decision:
        made = tokens.create(command, self._store.token_rows(), actor, now.utc)
        row = TokenRow(
            made.token_id, made.name, command.role, made.token_hash, made.at, actor, made.expires_at, None
        )
        return Decision([made], row, lambda: row in self._store.token_rows())

    def _revoke_token(self, command: RevokeToken, now: Now) -> Decision:
        row, revoked = tokens.revoke(command, self._store.token_rows(), now.utc)
        row = msgspec.structs.replace(row, revoked_at=now.utc)
        return Decision([revoked], row, lambda: row in self._store.token_rows())

    def _known(self, dag_id: str) -> str:
        dag_ids = self._memory.watcher.cursors
        if dag_id in dag_ids:
            return dag_id
        is_quick = len(dag_id) <= SHOWN_MAX and len(dag_ids) <= COMPARED_MAX
        near = get_close_matches(dag_id, dag_ids, n=1) if is_quick else []
        hint = f"; did you mean {near[0]!r}?" if near else "; `ppacer dags` lists them"
        raise NotFoundError(f"there is no dag {dag_id[:SHOWN_MAX]!r}{hint}")

    def _stored(self, run_id: int) -> tuple[RunRow, Any, list[AttemptRow]]:
        rows = self._store.run(run_id)
        if rows is None:
            raise NotFoundError(f"there is no run {run_id}")
        return rows

    def _row(self, run_id: int, is_so: Callable[[RunRow], bool]) -> bool:
        rows = self._store.run(run_id)
        return rows is not None and is_so(rows[0])

    def _marked(self, dag_id: str, is_so: Callable[[DagRow], bool]) -> bool:
        row = self._store.dag_rows().get(dag_id)
        return row is not None and is_so(row)


def _is_free(row: DagRow) -> bool:
    return row.paused_at is None and row.disabled_reason is None
