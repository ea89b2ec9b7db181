"""The end of an attempt without success: what each reason costs, and whether and when it is tried again."""

import zlib
from datetime import datetime, timedelta

from ppacer.clock import ZERO, to_text
from ppacer.dag import TaskSpec
from ppacer.engine.changes import AttemptEnded
from ppacer.engine.events import Failed
from ppacer.engine.model import Reason, RunRef, RunState, TaskState, TaskStatus

LOST_MAX = 3  # a lost attempt is granted anew so often; a task that kills every executor shall not go on
REFUSED_MAX = 3  # by one executor: then nobody else was there to take it
REFUSED_SUM_MAX = 100  # by all executors
REFUSED_DELAY = timedelta(seconds=1)  # gives another executor the chance to be first
DELAY_MAX = 10 * 365.25 * 86_400.0  # seconds; a date after the year 9999 could not be stored

SPENDING = (Reason.FAILED, Reason.TIMED_OUT)  # the reasons that use up `retries`


def next_delay(ref: RunRef, spec: TaskSpec, task: TaskState, reason: Reason, begun: bool) -> timedelta | None:
    """How long after this end the next attempt begins; None: there is none left. Counts it as used."""
    if reason is Reason.REFUSED:
        count_refusal(task, task.executor)
        is_risky = spec.at_most_once and begun  # it failed to start, as far as its executor knows
        return None if is_risky or _is_refused_for_good(task) else REFUSED_DELAY
    if reason is Reason.HANDED_BACK:
        return None if spec.at_most_once and begun else ZERO
    if reason is Reason.LOST:
        task.lost += not task.is_lost  # that its lease had ended was the same loss
        return None if spec.at_most_once or task.lost > LOST_MAX else ZERO
    if reason not in SPENDING or task.spent >= spec.retries:
        return None
    task.spent += 1
    return retry_delay(ref, spec, task.spent, task.retry)


def ended_by_mistake(spec: TaskSpec, begun: bool) -> Reason:
    """What it is that an attempt was cancelled of whose run nobody wants the end.

    Its executor was told so by a scheduler that did not know better, such as one that has lost the lead.
    """
    return Reason.LOST if spec.at_most_once and begun else Reason.HANDED_BACK


def count_refusal(task: TaskState, executor: str | None) -> None:
    """Remembers who did not take the task."""
    task.refusals = {**(task.refusals or {})}
    task.refusals[executor or ""] = task.refusals.get(executor or "", 0) + 1


def _is_refused_for_good(task: TaskState) -> bool:
    counts = (task.refusals or {}).values()
    return max(counts, default=0) >= REFUSED_MAX or sum(counts) >= REFUSED_SUM_MAX


def retry_delay(ref: RunRef, spec: TaskSpec, nth: int, retry: int) -> timedelta:
    """The delay before the `nth` retry (from 1): exponential, bounded, jittered by identity."""
    if not spec.retry_delay:
        return ZERO
    try:
        seconds = min(spec.retry_delay * spec.retry_backoff ** (nth - 1), spec.retry_delay_max)
    except OverflowError:
        seconds = spec.retry_delay_max
    if spec.retry_jitter:
        name = f"{ref.dag_id}/{to_text(ref.exec_ts)}/{spec.id}/{retry}"
        seconds *= 1 + spec.retry_jitter * zlib.crc32(name.encode()) / 0xFFFFFFFF
    return timedelta(seconds=min(seconds, DELAY_MAX))


def ended(
    run: RunState, position: int, now: datetime, status: TaskStatus, end: Failed, retry_at: datetime | None
) -> AttemptEnded:
    """The end without success of the attempt that runs."""
    task, was = run.tasks[position], TaskStatus.RUNNING
    head = (run.ref, run.graph.tasks[position].id, task.retry, now, was, status, task.token)
    took = (end.peak_memory, end.body_hash, end.cpu_seconds)
    return AttemptEnded(*head, end.reason, end.error, None, retry_at, *took)


def lost_for_good(task: TaskState, spec: TaskSpec) -> str:
    """Why a lost attempt is the last one, in words."""
    if spec.at_most_once:
        return "lost: its executor is gone, and a task with at_most_once is not started again"
    if task.lost > LOST_MAX:
        return f"lost: {task.lost} times its executor was gone while this task ran; it is not started again"
    return "lost: its executor is gone, and the run was cancelled"
