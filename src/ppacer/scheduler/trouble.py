"""The database refuses: since when, why, and when it is tried again."""

import logging

from ppacer.clock import Now
from ppacer.errors import SchedulerUnavailable, StoreError

log = logging.getLogger("ppacer.scheduler")

RETRY_SECONDS = 1.0  # between attempts to reach a database that refuses


class Trouble:
    """Whether there is any, which everything that meets the database may begin."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._retry_at = 0.0  # monotonic

    def begin(self, error: StoreError, now: Now) -> None:
        """The database is left alone for a while."""
        if self.reason is None:
            log.error("the database refuses, waiting for it: %s", error)
        self.reason, self._retry_at = str(error), now.mono + RETRY_SECONDS

    def is_to_wait(self, now: Now) -> bool:
        """Whether it has refused a moment ago."""
        return now.mono < self._retry_at

    def end(self) -> None:
        """The database works again."""
        log.warning("the database is back")
        self.reason = None


def refusal(reason: str | None) -> SchedulerUnavailable:
    """What is said to those whose wish cannot wait for the database."""
    return SchedulerUnavailable(f"the scheduler is waiting for its database: {reason}")
