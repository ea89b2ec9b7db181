"""What must hold after every step, recounted from the rows. The numbers are those of docs/reliability.md.

Written from the documents: it knows the tables, and nothing of how the scheduler decides.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from ppacer.dag import Dag
from ppacer.engine import Engine
from ppacer.schedule import Fixed
from ppacer.scheduler import Scheduler
from ppacer.store import Store

RUN_END = {"SUCCESS", "FAILED", "CANCELLED"}
TASK_END = {"SUCCESS", "FAILED", "UPSTREAM_FAILED", "CANCELLED", "SKIPPED"}
LOST_MAX = 3

Rows = dict[str, list[dict[str, Any]]]
Parents = Mapping[tuple[str, str], Mapping[str, list[str]]]


def check_rows(rows: Rows, graphs: Parents, dags: Mapping[str, Dag], breaks: int = 0) -> None:
    """All invariants that rows alone can show."""
    attempts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for attempt in rows["dagruntasks"]:
        attempts[attempt["DagId"], attempt["ExecTs"]].append(attempt)
    for run in rows["dagruns"]:
        mine = attempts.pop((run["DagId"], run["ExecTs"]), [])
        _check_run(run, mine, graphs[run["DagId"], run["DagVersion"]])
    assert not attempts, f"attempts without a run: {list(attempts)}"
    keys = Counter((run["DagId"], run["ExecTs"]) for run in rows["dagruns"])
    assert not keys or max(keys.values()) == 1, keys  # 8
    _check_caps(rows, dags)
    _check_points(rows, dags, breaks)
    _check_outbox(rows)


def _check_run(run: dict[str, Any], attempts: list[dict[str, Any]], parents: Mapping[str, list[str]]) -> None:
    where = (run["DagId"], run["ExecTs"], run["Status"])
    tasks: dict[str, list[dict[str, Any]]] = {task_id: [] for task_id in parents}
    for attempt in sorted(attempts, key=lambda row: row["Retry"]):
        assert attempt["TaskId"] in tasks, (where, attempt["TaskId"])  # 5
        tasks[attempt["TaskId"]].append(attempt)
    for task_id, mine in tasks.items():
        _check_task((*where, task_id), mine)
    current = {
        task_id: mine[-1]
        if mine and (mine[-1]["Restart"] == run["Restarts"] or mine[-1]["Status"] == "SUCCESS")
        else None
        for task_id, mine in tasks.items()
    }
    status = {task_id: "NO_STATUS" if row is None else row["Status"] for task_id, row in current.items()}
    for task_id, row in current.items():
        ups = [status[parent] for parent in parents[task_id]]
        if row is None:
            waits = run["Status"] == "SCHEDULED" or any(up not in TASK_END for up in ups)
            assert run["Status"] not in RUN_END, (where, task_id, "has no end")  # 6
            assert waits, (where, task_id, ups, "should be ready")  # 13
            assert not {"FAILED", "UPSTREAM_FAILED"} & set(ups), (
                where,
                task_id,
                "has no upstream failure",
            )  # 33
        elif row["Status"] == "UPSTREAM_FAILED":
            assert {"FAILED", "UPSTREAM_FAILED"} & set(ups), (where, task_id, ups)
        elif row["Status"] != "CANCELLED":
            assert all(up == "SUCCESS" for up in ups), (where, task_id, ups)  # 4
    ended = all(each in TASK_END for each in status.values())
    if status:
        assert ended == (run["Status"] in RUN_END), (where, status)  # 6
    if run["Status"] in RUN_END and status:
        wanted = (
            "CANCELLED"
            if "CANCELLED" in status.values()
            else "FAILED"
            if "FAILED" in status.values()
            else "SUCCESS"
        )
        assert run["Status"] == wanted, (where, status)  # 6
    assert (run["EndedAt"] is not None) == (run["Status"] in RUN_END), where


def _check_task(where: tuple[Any, ...], attempts: list[dict[str, Any]]) -> None:
    assert [row["Retry"] for row in attempts] == list(range(len(attempts))), (where, "has a gap")  # 3
    active = [row for row in attempts if row["Status"] in ("SCHEDULED", "RUNNING")]
    assert len(active) <= 1, (where, active)  # 1
    assert not active or active[0] is attempts[-1], (where, "an older attempt is open")
    for row in attempts:
        running = row["Status"] == "RUNNING"
        assert not running or (row["Token"] and row["Executor"] and row["LeaseEndAt"]), (where, row)  # 12
        assert (row["EndedAt"] is None) == (row["Status"] in ("SCHEDULED", "RUNNING")), (where, row)
    successes = [row for row in attempts if row["Status"] == "SUCCESS"]
    assert len(successes) <= 1, (where, successes)
    assert not successes or successes[0] is attempts[-1], (where, "went on after its success")  # 2
    tokens = [row["Token"] for row in attempts if row["Token"]]
    assert len(tokens) == len(set(tokens)), (where, tokens)
    lost = Counter(
        row["Restart"] for row in attempts if row["Reason"] == "LOST" and row["Status"] != "CANCELLED"
    )
    assert not lost or max(lost.values()) <= LOST_MAX + 1, (where, lost)


def _check_caps(rows: Rows, dags: Mapping[str, Dag]) -> None:
    running = Counter(run["DagId"] for run in rows["dagruns"] if run["Status"] == "RUNNING")
    for dag_id, count in running.items():
        if dag_id in dags:
            assert count <= dags[dag_id].max_active_runs, (dag_id, count)  # 17


def _check_points(rows: Rows, dags: Mapping[str, Dag], breaks: int) -> None:
    """The rows of `schedules` tile the time from the first point to the cursor; each means a run, or none."""
    scheduled = {(run["DagId"], run["ExecTs"]) for run in rows["dagruns"] if run["TriggeredBy"] == "schedule"}
    asked = ("manual", "backfill")
    manual = {(run["DagId"], run["ExecTs"]) for run in rows["dagruns"] if run["TriggeredBy"] in asked}
    written: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_hand = set()
    for row in rows["schedules"]:
        if row["Event"] == "MANUALLY_TRIGGERED":
            by_hand.add((row["DagId"], row["ScheduleTs"]))
        elif row["Event"] != "OUT_OF_BAND":
            written[row["DagId"]].append(row)
    assert by_hand == manual, by_hand ^ manual
    ran = Counter(
        (row["DagId"], row["ScheduleTs"])
        for mine in written.values()
        for row in mine
        if row["Event"] != "SKIPPED"
    )
    assert set(ran) == scheduled, set(ran) ^ scheduled  # 7
    assert not ran or max(ran.values()) == 1, ran  # 7
    holes = 0
    for dag_id, mine in written.items():
        for before, after in pairwise(mine):
            assert before["ScheduleTs"] < after["ScheduleTs"], (dag_id, before, after)  # 27
            if before["NextScheduleTs"] != after["ScheduleTs"]:
                holes += 1
                assert (
                    before["NextScheduleTs"] is None
                    or before["NextScheduleTs"] <= after["ScheduleTs"]
                    or breaks
                )
        for row in mine:
            assert row["NextScheduleTs"] is None or row["NextScheduleTs"] > row["ScheduleTs"], (dag_id, row)
            if row["Event"] != "SKIPPED":
                assert row["ScheduleTs"] <= row["InsertTs"], (dag_id, row)  # 28
        if not breaks and dag_id in dags:
            _check_fixed(dags[dag_id], mine)
    assert holes <= breaks, (
        f"{holes} holes in schedules: {[dict(r) for mine in written.values() for r in mine]}"
    )
    for row in rows["dags"]:
        if row["LastScheduleAt"] is not None and written[row["DagId"]]:
            last = written[row["DagId"]][-1]
            assert (row["LastScheduleAt"], row["NextScheduleAt"]) == (
                last["ScheduleTs"],
                last["NextScheduleTs"],
            )


def _check_fixed(dag: Dag, written: list[dict[str, Any]]) -> None:
    """With a Fixed schedule the points are known without asking it."""
    if not isinstance(dag.schedule, Fixed):
        return
    for row in written:
        ts, after = datetime.fromisoformat(row["ScheduleTs"]), datetime.fromisoformat(row["NextScheduleTs"])
        assert (ts - dag.schedule.start) % dag.schedule.interval == timedelta(0), row
        assert (after - dag.schedule.start) % dag.schedule.interval == timedelta(0), row
        assert row["Event"] == "SKIPPED" or after - ts == dag.schedule.interval, row


def _check_outbox(rows: Rows) -> None:
    """One row per alert condition, and none for what was rolled back."""
    ends = {
        (row["DagId"], row["ExecTs"], row["TaskId"], row["Retry"]): row["Status"]
        for row in rows["dagruntasks"]
    }
    wanted = {"FAILURE": "FAILED", "RETRY": "FAILED_PENDING_RETRY"}
    told = set()
    for row in rows["outbox"]:
        key = (row["DagId"], row["ExecTs"], row["TaskId"], row["Retry"])
        assert ends.get(key) == wanted[row["Kind"]], (row, ends.get(key))  # 32
        assert (key, row["Kind"]) not in told, row
        told.add((key, row["Kind"]))
        states = [row["NextTryAt"] is not None, row["SentAt"] is not None, row["GivenUpAt"] is not None]
        assert sum(states) == 1, row


def check_memory(scheduler: Scheduler, store: Store) -> None:
    """34: memory is what a scheduler would read that starts now."""
    fresh = Engine()
    for row, graph, attempts in store.open_runs():
        fresh.restore(row, graph, attempts)
    mine, truth = _picture(scheduler.memory.engine), _picture(fresh)
    for key in truth:
        assert mine[key] == truth[key], (key, _difference(mine[key], truth[key]))
    _check_held(scheduler)
    _check_backfills(scheduler, store)
    dags = store.dag_rows()
    for dag_id, cursor in scheduler.memory.watcher.cursors.items():
        dag = dags[dag_id]
        assert (cursor.paused_at, cursor.disabled) == (dag.paused_at, dag.disabled_reason), dag_id
        if dag.next_at is not None or dag.last_at is not None:
            assert (cursor.last_at, cursor.next_at) == (dag.last_at, dag.next_at), dag_id


def _check_backfills(scheduler: Scheduler, store: Store) -> None:
    """The open ones, how far each is, and what its next points are."""
    mine, truth = scheduler.memory.backfills.open, store.open_backfills()
    assert list(mine) == [row.ref.backfill_id for row in truth]
    for row in truth:
        one = mine[row.ref.backfill_id]
        facts = (one.ref, one.position, one.count, one.paused_at, one.is_cancelled)
        cancelled = row.cancel_requested_at is not None
        assert facts == (row.ref, row.position, row.count, row.paused_at, cancelled)
        ahead = list(one.ahead)
        assert ahead == store.backfill_points(row.ref.backfill_id, row.position, len(ahead))


def _check_held(scheduler: Scheduler) -> None:
    """Every running attempt is held by an executor whose lease can end, and nothing else is held."""
    held = Counter(token for session in scheduler.memory.tasks.sessions.values() for token in session.held)
    running = Counter(
        task.token
        for run in scheduler.memory.engine.runs.values()
        for task in run.tasks
        if task.status == "RUNNING" and not task.is_lost
    )
    assert held == running, (held, running)


def _picture(engine: Engine) -> dict[str, Any]:
    """What an engine knows, as far as it means anything."""
    ready = sorted(
        (run_id, position)
        for run_id, run in engine.runs.items()
        for position, task in enumerate(run.tasks)
        if task.status == "SCHEDULED" or task.is_lost
    )
    queued = Counter(
        (run_id, position)
        for run_id, position, retry in engine.ready
        if run_id in engine.runs
        and engine.runs[run_id].tasks[position].retry == retry
        and (
            engine.runs[run_id].tasks[position].status == "SCHEDULED"
            or engine.runs[run_id].tasks[position].is_lost
        )
    )
    assert sorted(queued) == ready, (queued, ready)  # 16
    assert engine.ready_count == len(ready), (engine.ready_count, ready)
    pending = {
        (task.retry_at, run_id, position, task.retry)
        for run_id, run in engine.runs.items()
        for position, task in enumerate(run.tasks)
        if task.status == "FAILED_PENDING_RETRY"
    }
    assert pending <= set(engine.retries), (pending, engine.retries)
    return {
        "runs": {run_id: _run_picture(run) for run_id, run in engine.runs.items()},
        "active": dict(engine.active),
        "backfilling": dict(engine.backfilling),
        "waiting": {dag_id: sorted(queue) for dag_id, queue in engine.waiting.items() if queue},
        "ready": ready,
    }


def _difference(mine: Any, truth: Any) -> Any:
    if not isinstance(truth, dict):
        return mine, truth
    keys = sorted(key for key in {*mine, *truth} if mine.get(key) != truth.get(key))
    return [(mine.get(key), truth.get(key)) for key in keys]


def _run_picture(run: Any) -> tuple[Any, ...]:
    tasks = [_task_picture(task) for task in run.tasks]
    return (
        run.ref,
        run.status,
        run.restart,
        run.cancelling,
        run.open,
        run.failed,
        run.trigger,
        run.params,
        tasks,
    )


def _task_picture(task: Any) -> tuple[Any, ...]:
    holder = (task.token, task.executor) if task.status == "RUNNING" else None
    counts = None if task.status in TASK_END else (task.spent, task.lost, task.refusals)
    return task.status, task.retry, task.unmet, holder, counts, task.is_lost, task.has_result, task.retry_at
