"""Looks at one database after each kill: what is promised now, and whether what had ended has changed."""

from collections.abc import Iterator

from ppacer.torture.promises import CHECKS, Evidence, Finding, Kind, name_of
from ppacer.torture.rows import Attempt, Rows

ENDED = ("SUCCESS", "FAILED", "CANCELLED", "FAILED_PENDING_RETRY", "UPSTREAM_FAILED")


class Verifier:
    """Remembers of each look which attempts had ended: invariant 2, over kills."""

    def __init__(self) -> None:
        self._ended: dict[tuple[int, str, int], Attempt] = {}

    def look(self, evidence: Evidence) -> list[Finding]:
        """All broken promises that can be seen now."""
        found = [finding for check in CHECKS for finding in check(evidence)]
        return [*found, *self._changed(evidence.rows)]

    def _changed(self, rows: Rows) -> Iterator[Finding]:
        now = {(a.run_id, a.task_id, a.retry): a for a in rows.attempts if a.status in ENDED}
        for key, attempt in self._ended.items():
            if key not in now:
                yield Finding(Kind.LOST, f"{name_of(attempt)} had ended with {attempt.status}, and is gone")
            elif now[key] != attempt:
                yield Finding(Kind.WRONG, f"{name_of(attempt)} had ended, and is another: {now[key]}")
        self._ended = now
