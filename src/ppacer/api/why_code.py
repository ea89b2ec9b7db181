"""Whether attempts of a task ran the same code, in words. Pure."""

from collections.abc import Sequence

from ppacer.store.views import AttemptView


def attempt_name(retry: int) -> str:
    """`the first attempt`, `retry 2`."""
    return f"retry {retry}" if retry else "the first attempt"


def differs_from(attempts: Sequence[AttemptView], task_id: str, retry: int) -> AttemptView | None:
    """The last attempt before this one whose code is known, if this one is known to have run another."""
    known = [one for one in attempts if one.task_id == task_id and one.retry <= retry and one.body_hash]
    known.sort(key=lambda one: one.retry)
    if len(known) < 2 or known[-1].retry != retry or known[-1].body_hash == known[-2].body_hash:
        return None
    return known[-2]


def code_changed(attempts: Sequence[AttemptView], task_id: str, retry: int) -> str:
    """A sentence about an attempt that ran other code than the one before it, by their hashes, or nothing."""
    before = differs_from(attempts, task_id, retry)
    return "" if before is None else f" It ran other code or constants than {attempt_name(before.retry)}."
