"""What one round of the scheduler has decided and not yet committed."""

from collections.abc import Iterator
from typing import Any

from ppacer.engine import RUN_FINAL, RunRef
from ppacer.engine.changes import Change, RunChanged
from ppacer.protocol import End
from ppacer.scheduler.requests import Request


class Work:
    """Changes that wait for their commit, and the answers that wait for it with them."""

    __slots__ = ("changes", "kept", "later", "old", "reachable", "replies", "taken")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.kept: dict[tuple[str, str], tuple[str, str]] = {}  # replies by actor and idempotency key
        self.later: list[Request] = []  # what can only be decided when this is committed
        self.old: list[Request] = []  # what is to be deleted when everything else is done
        self.replies: list[tuple[Request, Any]] = []
        self.reachable: set[str] = set()  # executors that this round answers anyway
        self.taken: dict[str, End] = {}  # the ends that this round has accepted, by token

    def ended(self) -> Iterator[RunRef]:
        """The runs that end in this round, in the order of their ends."""
        return (c.ref for c in self.changes if type(c) is RunChanged and c.status in RUN_FINAL)

    def has_ended(self, run_id: int) -> bool:
        """Whether this run is one of them."""
        return any(ref.run_id == run_id for ref in self.ended())
