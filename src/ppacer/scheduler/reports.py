"""Between the protocol and the engine: reports as events."""

import msgspec

from ppacer.engine import Reason, TaskStatus
from ppacer.engine.events import Failed, Succeeded
from ppacer.protocol import End, Report
from ppacer.store import Store

# What became of an attempt that an executor has cancelled though nobody wanted that, see `Engine._failed`.
BY_MISTAKE = ((TaskStatus.FAILED_PENDING_RETRY, Reason.HANDED_BACK), (TaskStatus.FAILED, Reason.LOST))


def event_of(report: Report) -> Succeeded | Failed:
    """What a report means to the engine."""
    key = (report.run_id, report.task_id, report.retry, report.token)
    ran = (report.body_hash, report.cpu_seconds)
    if report.end is End.SUCCESS:
        return Succeeded(*key, report.result, report.peak_memory, *ran)
    return Failed(*key, Reason(report.end.value), report.error, report.peak_memory, report.begun, *ran)


def was_taken(store: Store, report: Report) -> bool:
    """Whether the rows say that this very end was reported before."""
    row = store.attempt(report.run_id, report.task_id, report.retry)
    if row is None or row.token != report.token:
        return False
    if report.end is End.SUCCESS:
        return row.status is TaskStatus.SUCCESS
    if report.end is End.CANCELLED and row.status is not TaskStatus.CANCELLED:
        return (row.status, row.reason) in BY_MISTAKE
    return row.status is not TaskStatus.SUCCESS and row.reason == report.end.value


def unwritable(report: Report, error: Exception) -> Report:
    """In place of a report that no database takes (text that is no Unicode, say): the same end in our words.

    A success whose result is lost is none: the attempt has failed.
    """
    text = (
        f"ended with {report.end}, but what it reported cannot be stored: {type(error).__name__}: {error!a}"
    )
    end = End.FAILED if report.end is End.SUCCESS else report.end
    lacking = {"result": None, "peak_memory": None, "cpu_seconds": None}
    return msgspec.structs.replace(report, end=end, error=text[:2000], **lacking)
