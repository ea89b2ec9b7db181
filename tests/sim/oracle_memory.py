"""Judges the scheduler's memory, which is a cache of rows: 12, 15, 16, 34, 35.

The only part of the oracle that knows structures of the product: `memory.engine` (runs, ready, retries,
active, waiting), `memory.watcher.cursors`, `memory.tasks.sessions`. In trouble memory may be ahead of the
rows and nothing is looked at; after it, it is read back.
"""

from collections import Counter
from operator import attrgetter
from typing import Any

from ppacer.engine import Engine
from ppacer.engine.model import AttemptRow, RunRow, RunState, TaskState
from sim.oracle_model import RUN_ENDED, TASK_ENDED, Run, S, Task, wrong
from sim.oracle_runs import Runs

SLACK = 200  # entries that are out of date, or not yet thrown away, whatever the size of the work
RUN_FACTS = ("status", "restart", "cancelling", "open", "failed", "is_cancelled", "params", "trigger")
ROUND = ("ended", "untold", "cancels")  # lists of a session, each at most as long as what it holds


def judge_touched(memory: Any, runs: Runs) -> None:
    """After a step: the runs that it touched."""
    in_memory = memory.engine.runs
    for run_id, run in runs.touched.items():
        state = in_memory.get(run_id)
        if (state is None) != (run.status in RUN_ENDED):  # 34, 35
            wrong(34, f"{run} is {run.status}, and memory has {state and state.status}")
        if state is not None:
            _judge_run(run, state)


def _judge_run(run: Run, state: RunState) -> None:
    facts = (state.ref, state.status, state.restart, state.cancelling, state.open, len(state.tasks))
    mine = (run.ref, run.status, run.restart, run.cancel_at is not None, run.open, len(run.tasks))
    if facts != mine:  # 34
        wrong(34, f"{run} is {facts} in memory, and {mine} in its rows")
    for task, kept in zip(run.tasks, state.tasks, strict=True):
        _judge_task(run, task, kept, state)


def _judge_task(run: Run, task: Task, kept: TaskState, state: RunState) -> None:
    last = task.attempts[-1] if task.attempts else None
    if kept.status is not task.status or kept.retry != len(task.attempts) - 1:  # 34
        here = f"{kept.status}, attempt {kept.retry}"
        wrong(34, f"{task.spec.id!r} of {run} is {here} in memory, and {task.status} in its rows")
    unmet = 0
    for parent in task.parents:
        unmet += state.tasks[parent].status is not S.SUCCESS
    if kept.unmet != unmet:  # 15
        wrong(15, f"{task.spec.id!r} of {run} counts {kept.unmet} unmet parents, and has {unmet}")
    if task.status is S.RUNNING:
        assert last is not None
        if not kept.token or not kept.executor:  # 12
            wrong(12, f"{last} is RUNNING in memory with token {kept.token} of executor {kept.executor}")
        facts = (kept.token, kept.executor, kept.is_lost)
        mine = (last.token, last.executor, last.lost_at is not None)
        if facts != mine:  # 34
            wrong(34, f"{last} has {facts} in memory, and {mine} in its row")
    elif task.status is S.FAILED_PENDING_RETRY and last is not None and kept.retry_at != last.retry_at:  # 34
        wrong(34, f"{last} is to be repeated at {kept.retry_at} in memory, and at {last.retry_at} in its row")


def judge_everything(scheduler: Any, tables: Any, runs: Runs) -> None:
    """Now and then: all of memory, and what a new start would make of the rows."""
    if scheduler is None or scheduler.trouble is not None:
        return
    memory = scheduler.memory
    engine = memory.engine
    if engine.runs.keys() != runs.opened.keys():  # 34, 35
        wrong(34, f"memory has the runs {engine.runs.keys() ^ runs.opened.keys()} too many or too few")
    for run_id, run in runs.opened.items():
        _judge_run(run, engine.runs[run_id])
    _judge_ready(engine, runs)
    _judge_rooms(engine, runs)
    runs.backfills.judge_memory(memory)
    _judge_fresh(engine, tables, runs)
    _judge_cursors(memory.watcher, runs)
    _judge_sessions(memory.tasks, runs)
    _judge_bounds(scheduler, runs)


def _expected_ready(runs: Runs) -> set[tuple[int, int, int]]:
    return {
        (run_id, task.position, len(task.attempts) - 1)
        for run_id, run in runs.opened.items()
        for task in run.tasks
        if task.status is S.SCHEDULED or (task.status is S.RUNNING and task.attempts[-1].lost_at is not None)
    }


def _judge_ready(engine: Any, runs: Runs) -> None:
    """16: what is ready, or lost, waits in the queue, once; 13 follows: it will be granted."""
    expected = _expected_ready(runs)
    found = Counter(entry for entry in engine.ready if entry in expected)
    if found.keys() != expected or any(count > 1 for count in found.values()):
        wrong(16, f"ready are {sorted(expected)}, and in the queue of memory {sorted(found.elements())}")
    if engine.ready_count != len(expected):
        wrong(16, f"memory counts {engine.ready_count} ready tasks, and there are {len(expected)}")


def _judge_rooms(engine: Any, runs: Runs) -> None:
    """16, 17: who runs and who waits for room."""
    active = {dag_id: count for dag_id, count in runs.running.items() if count}
    waiting = {dag_id: ids for dag_id, ids in runs.waiting.items() if ids}
    in_memory = {dag_id: set(ids) for dag_id, ids in engine.waiting.items() if ids}
    if {dag_id: count for dag_id, count in engine.active.items() if count} != active:
        wrong(17, f"memory counts {engine.active} running runs, and there are {active}")
    if in_memory != waiting or any(len(ids) != len(set(ids)) for ids in engine.waiting.values()):
        wrong(16, f"in memory wait {engine.waiting}, and there wait {waiting}")


def _judge_fresh(engine: Any, tables: Any, runs: Runs) -> None:
    """34: a start that reads all rows back has the same in memory, but for the order of queues."""
    fresh = Engine()
    for run_id in runs.opened:
        row = tables.dagruns[run_id]
        attempts = sorted(tables.dagruntasks[run_id].values(), key=lambda one: int(one["Retry"]))
        graph = tables.dagversions[row["DagId"], row["DagVersion"]]
        fresh.restore(_run_row(runs.runs[run_id], row), graph, [_attempt_row(one) for one in attempts])
    for run_id, state in fresh.runs.items():
        kept = engine.runs[run_id]
        if _run_facts(state) != _run_facts(kept):
            wrong(34, f"run {run_id}: {RUN_FACTS} are {_run_facts(kept)}, and {_run_facts(state)} anew")
        if state.graph is not kept.graph and state.graph.to_json() != kept.graph.to_json():  # 5
            wrong(5, f"run {run_id} has another graph in memory than the pinned one")
        for position, (one, other) in enumerate(zip(state.tasks, kept.tasks, strict=True)):
            if _facts(one) != _facts(other):
                wrong(34, f"task {position} of run {run_id} is {_facts(other)}, and {_facts(one)} anew")
    due = {entry for entry in engine.retries if _is_due(entry, runs)}
    if due != set(fresh.retries):
        wrong(34, f"memory knows the retries {sorted(due)}, and anew {sorted(fresh.retries)}")


_run_facts = attrgetter(*RUN_FACTS)


def _facts(task: TaskState) -> tuple[Any, ...]:
    """What matters of a task's state in its status."""
    facts: tuple[Any, ...] = (task.status, task.retry, task.unmet, task.is_lost, task.token)
    if task.status is S.RUNNING:
        facts += (task.executor,)
    elif task.status is S.SUCCESS:
        return (*facts, task.has_result)
    elif task.status is S.FAILED_PENDING_RETRY:
        facts += (task.retry_at,)
    elif task.status in TASK_ENDED:
        return facts
    return (*facts, task.spent, task.lost, task.refusals)


def _is_due(entry: tuple[Any, int, int, int], runs: Runs) -> bool:
    at, run_id, position, retry = entry
    run = runs.opened.get(run_id)
    if run is None:
        return False
    task = run.tasks[position]
    is_latest = retry == len(task.attempts) - 1 and task.status is S.FAILED_PENDING_RETRY
    return is_latest and task.attempts[-1].retry_at == at


def _run_row(run: Run, row: dict[str, Any]) -> RunRow:
    return RunRow(
        run.ref,
        row["Status"],
        row["DagVersion"],
        row["TriggeredBy"],
        row["Params"],
        row["Restarts"],
        row["CancelRequestedAt"] is not None,
        row["BackfillId"],
    )


def _attempt_row(row: dict[str, Any]) -> AttemptRow:
    return AttemptRow(
        row["TaskId"],
        row["Retry"],
        row["Restart"],
        row["Status"],
        row["InsertTs"],
        row["Reason"],
        row["Token"],
        row["Executor"],
        row["LostAt"] is not None,
        row["RetryAt"],
        row["ResultBytes"] is not None,
    )


def _judge_cursors(watcher: Any, runs: Runs) -> None:
    """7, 27: memory and rows have one cursor, and it is the one that the records lead to."""
    for dag_id, state in runs.points.dags.items():
        cursor = watcher.cursors.get(dag_id)
        if state.is_removed:
            if cursor is not None:  # 18
                wrong(18, f"dag {dag_id!r} is removed, and memory watches it")
        elif cursor is None or cursor.next_at != state.cursor:
            at = None if cursor is None else cursor.next_at
            wrong(7, f"the cursor of {dag_id!r} is {at} in memory, and should be {state.cursor}")


def _judge_sessions(tasks: Any, runs: Runs) -> None:
    """34: every attempt that runs is in the hands of its executor's session, where its lease is; no other."""
    held = {(token, name) for name, session in tasks.sessions.items() for token in session.held}
    running = {
        (task.attempts[-1].token, task.attempts[-1].executor)
        for run in runs.opened.values()
        for task in run.tasks
        if task.status is S.RUNNING and task.attempts[-1].lost_at is None
    }
    if running - held:
        wrong(34, f"of these attempts nobody would notice that they are lost: {sorted(running - held)}")
    if held - running:
        wrong(35, f"these attempts have ended, and memory holds them: {sorted(held - running)}")


def _judge_bounds(scheduler: Any, runs: Runs) -> None:
    """35: queues are bounded by the open work."""
    engine, memory = scheduler.memory.engine, scheduler.memory
    work = SLACK + 10 * sum(len(run.tasks) for run in runs.opened.values())
    dags = SLACK + 10 * len(runs.points.dags)
    sizes = {
        "ready": (len(engine.ready), work),
        "retries": (len(engine.retries), work),
        "waiting": (len(engine.waiting), len(runs.opened)),
        "room": (len(engine.room), dags),
        "cursors": (len(memory.watcher.cursors), dags),
        "cursor heap": (len(memory.watcher._heap), dags),
        "gaps": (len(memory.watcher.gaps), SLACK),
        "fresh": (len(memory._fresh), 0),
        "sessions": (len(memory.tasks.sessions), SLACK),
    }
    for name, session in memory.tasks.sessions.items():
        sizes |= {f"{part} of {name}": (len(getattr(session, part)), SLACK) for part in ROUND}
    for name, (size, limit) in sizes.items():
        if size > limit:
            wrong(35, f"{name} has {size} entries for {len(runs.opened)} open runs")
