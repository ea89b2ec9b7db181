"""What needs a look: dags that are disabled or fail, points that are late, runs that hang, executors lost."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from ppacer.api.door import Door
from ppacer.api.why import about, drained_for, has_taker, sentence, short_slot
from ppacer.engine import RunStatus, TaskStatus
from ppacer.store.views import NextView, RunMark
from ppacer.ui.charts import typical
from ppacer.ui.filters import plural

ATTENTION_MAX = 20  # of each kind
LATE = timedelta(seconds=60)
GONE = timedelta(days=1)  # after which nobody needs to know any more that an executor is lost
LOOKED_AT = 50  # of the oldest open runs it is seen whether they hang
USUAL_RUNS = 20  # from which it is known how long a dag takes
USUAL_MIN = 3  # of them that have succeeded; fewer say nothing
STUCK = 3  # times as long as usual
STUCK_MIN = timedelta(minutes=1)  # longer than usual: nobody wants to hear of seconds


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that needs a look."""

    state: str
    word: str
    name: str
    url: str
    words: str
    at: datetime | None = None


def attention(door: Door, now: datetime, points: Sequence[NextView]) -> list[Item]:
    """All of it, what is worst first. `points`: the next ones of all dags."""
    return [
        *_not_taken(door),
        *_disabled(door),
        *_failed(door),
        *_stuck(door, now),
        *_late(door, now, points),
        *_lost(door, now),
    ]


def _not_taken(door: Door) -> Iterator[Item]:
    """Tasks that could begin, and that no executor takes: those that could are drained, or there is none."""
    open_runs = door.reads.oldest_running(limit=LOOKED_AT) if door.is_live else []
    tasks = [one for at in door.reads.tasks_at([run.run_id for run in open_runs]).values() for one in at]
    executors = door.executors_for(tasks) or []
    ready = [one for one in tasks if one.status == TaskStatus.SCHEDULED]
    held, missing = Counter[str](), Counter[str]()  # tasks, by drained executor and by what they wait for
    for one in ready:
        if not has_taker(one, executors):
            drained = [executor.name for executor in drained_for(one, executors)]
            held.update(dict.fromkeys(drained, one.count))
            missing.update({} if drained else {short_slot(one, executors): one.count})
    for executor in [known for known in executors if known.name in held][:ATTENTION_MAX]:
        name, count = executor.name, held[executor.name]
        words = f"is drained, {plural(count, 'task')} {_wait(count)}"
        yield Item("DRAINING", "drained", f"executor {name}", "/executors", words, executor.drain_asked_at)
    for what, count in missing.most_common(ATTENTION_MAX):
        yield Item("waits", "not taken", plural(count, "task"), "/executors", f"{_wait(count)} for {what}")


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _disabled(door: Door) -> Iterator[Item]:
    for dag in door.reads.disabled(limit=ATTENTION_MAX):
        yield Item("disabled", "disabled", dag.dag_id, f"/dags/{dag.dag_id}", dag.disabled_reason or "")


def _failed(door: Door) -> Iterator[Item]:
    runs = door.reads.failing(limit=ATTENTION_MAX)
    errors = door.reads.errors_of(runs)
    for run in runs:
        words = f"run {run.run_id}"
        if run.run_id in errors:
            task_id, error = errors[run.run_id]
            words = f"run {run.run_id}, {task_id}: {sentence(error)}"
        yield Item(run.status, run.status, run.dag_id, f"/runs/{run.run_id}", words, run.ended_at)


def _stuck(door: Door, now: datetime) -> Iterator[Item]:
    """Runs that take far longer than their dag usually does."""
    begun = [(run, run.started_at) for run in door.reads.oldest_running(limit=LOOKED_AT)]
    slow = [(run, at) for run, at in begun if at is not None and now - at > STUCK_MIN]
    latest = door.reads.recent_runs(sorted({run.dag_id for run, _ in slow}), USUAL_RUNS) if slow else {}
    for run, at in islice(slow, ATTENTION_MAX):
        usual = _usual(latest[run.dag_id])
        if usual is not None and now - at > max(STUCK * usual, usual + STUCK_MIN):
            words = f"run {run.run_id} usually takes {about(usual)}; it began"
            yield Item("RUNNING", "slow", run.dag_id, f"/runs/{run.run_id}", words, at)


def _usual(runs: Sequence[RunMark]) -> timedelta | None:
    """How long runs take that succeed; None when there are too few to say."""
    took = [
        run.ended_at - run.started_at
        for run in runs
        if run.status == RunStatus.SUCCESS and run.started_at is not None and run.ended_at is not None
    ]
    return typical(took) if len(took) >= USUAL_MIN else None


def _late(door: Door, now: datetime, points: Sequence[NextView]) -> Iterator[Item]:
    late = [point for point in points if now - point.next_at > LATE][:ATTENTION_MAX]
    dags = door.reads.dags_of([point.dag_id for point in late])
    for point in late:
        dag = dags[point.dag_id]
        words = "was due"
        if dag.running >= dag.max_active_runs:
            words = f"waits for room, {plural(dag.running, 'run')} being its max_active_runs; was due"
        yield Item("waits", "late", point.dag_id, f"/dags/{point.dag_id}", words, point.next_at)


def _lost(door: Door, now: datetime) -> Iterator[Item]:
    for one in door.reads.lost_executors(now - GONE, limit=ATTENTION_MAX):
        yield Item("FAILED", "gone", f"executor {one.name}", "/executors", one.reason, one.gone_at)
