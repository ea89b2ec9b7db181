"""The code that an attempt ran: its source, how sure that is, and whether the one before ran another."""

from dataclasses import dataclass
from datetime import datetime

from ppacer.api.door import Door
from ppacer.api.why_code import attempt_name, differs_from
from ppacer.store.views import AttemptView, RunDetail, SourceView

DIGITS = 12  # of a hash: enough to tell two versions apart
SOON = "Which code runs is recorded at the end; this is what the scheduler has."
NOBODY = "Nothing of it ran; this is what the scheduler had then."
UNKNOWN = "Which code ran is not recorded; this is what the scheduler had when it began."
LOST = "It was lost before it could tell which code it ran; this is what the scheduler had when it began."


@dataclass(frozen=True, slots=True)
class Code:
    """`source`: as far as the scheduler has it; `note`: what else is to be known, `""` if that is what ran.

    `before`: the attempt before, if it ran other code, with its source.
    """

    source: SourceView | None
    note: str
    hash: str | None = None
    before: str = ""
    base: SourceView | None = None


def code_of(door: Door, detail: RunDetail, task_id: str, attempt: AttemptView | None, now: datetime) -> Code:
    """What is known of the code of an attempt."""
    dag_id, at = detail.run.dag_id, (attempt and attempt.started_at) or now
    if attempt is None or attempt.body_hash is None:
        source = door.reads.source_at(dag_id, task_id, at)
        return Code(source, _guess(attempt) if source else "")
    source = door.reads.source_at(dag_id, task_id, at, body_hash=attempt.body_hash)
    note = "" if source else _unseen(attempt)
    short = attempt.body_hash[:DIGITS]
    before = differs_from(detail.attempts, task_id, attempt.retry)
    if before is None:
        return Code(source, note, short)
    base = door.reads.source_at(dag_id, task_id, before.started_at or now, body_hash=before.body_hash)
    return Code(source, note, short, attempt_name(before.retry), base)


def _guess(attempt: AttemptView | None) -> str:
    if attempt is None or attempt.ended_at is None:
        return SOON
    if attempt.started_at is None:
        return NOBODY
    return LOST if attempt.reason == "LOST" else UNKNOWN


def _unseen(attempt: AttemptView) -> str:
    return (
        f"By its hash it ran other code or constants than this scheduler has: those of executor "
        f"{attempt.executor}. Once the scheduler is started with the same ones, the source stands here."
    )
