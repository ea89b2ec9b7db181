"""What an executor is told of the attempts it was granted: everything it needs to make them."""

import msgspec

from ppacer.engine import Engine
from ppacer.protocol import INPUTS_BYTES_MAX, Grant
from ppacer.scheduler.task_scheduler import Session
from ppacer.store import Store

FRAMING = 10  # bytes around a result and its name in a message, at most


def take_grants(store: Store, engine: Engine, session: Session) -> list[Grant]:
    """The grants that an executor has not been told yet, oldest first; from now on they count as told.

    After so many bytes of inputs the rest waits for the next answer. Raises StoreError when inputs cannot be
    read; then none is told.
    """
    grants: list[Grant] = []
    size = 0
    for token in session.untold:
        grants.append(_grant(store, engine, session, token))
        size += sum(_size(*item) for item in grants[-1].results.items())
        if size >= INPUTS_BYTES_MAX:
            break
    del session.untold[: len(grants)]
    return grants


def _grant(store: Store, engine: Engine, session: Session, token: str) -> Grant:
    held = session.held[token]
    run = engine.runs[held.ref.run_id]
    spec = run.graph.tasks[held.position]
    results: dict[str, str] = {}
    size, problem = 0, None
    for parent in spec.parents:
        parent_id = run.graph.tasks[parent].id
        if run.tasks[parent].has_result and (result := store.result(held.ref, parent_id)) is not None:
            results[parent_id] = result
            size += _size(parent_id, result)
        if size > INPUTS_BYTES_MAX:
            results, problem = {}, _too_much(spec.id, len(spec.parents))
            break
    return Grant(
        run_id=held.ref.run_id,
        dag_id=held.ref.dag_id,
        exec_ts=held.ref.exec_ts,
        task_id=held.task_id,
        retry=held.retry,
        token=token,
        trigger=run.trigger,
        timeout=spec.timeout,
        runner=spec.runner,
        params=msgspec.json.decode(run.params) if run.params else {},
        results=results,
        problem=problem,
    )


def _size(task_id: str, result: str) -> int:
    """The bytes of one input in a message."""
    return len(task_id) + (len(result) if result.isascii() else len(result.encode())) + FRAMING


def _too_much(task_id: str, parents: int) -> str:
    return (
        f"the results that task {task_id!r} takes from its {parents} parents have more than "
        f"{INPUTS_BYTES_MAX:,} bytes together, which is the limit; "
        "let the parents write files and return their names"
    )
