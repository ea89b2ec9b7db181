"""Records on their way to the database: a bounded queue that counts, per attempt, what it had no room for.

Pure bookkeeping without threads: the writer guards it with its lock.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from ppacer.clock import to_text
from ppacer.tasklog.records import Attempt, Entry, Stored

ATTEMPTS_MAX = 1000
"""Attempts whose losses are told apart; the losses of further ones count in `dropped` only."""


@dataclass(slots=True)
class Drops:
    """Records of one attempt that were dropped, and when the first and the last of them were logged."""

    count: int
    first: str
    last: str


@dataclass(slots=True)
class Batch:
    """What one transaction writes: entries of the queue (`bytes` of memory), then reports about `drops`."""

    rows: list[Stored]
    bytes: int
    drops: dict[Attempt, Drops] = field(default_factory=dict)


class Backlog:
    """At most `records_max` records of together `bytes_max` bytes, those in the unfinished batch included."""

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self.records_max, self.bytes_max = records_max, bytes_max
        self.accepted = 0  # entries ever taken in
        self.settled = 0  # of those: committed or given up
        self.given_up = 0  # of those: given up
        self.dropped = 0  # records ever lost, for whatever reason
        self.drops: dict[Attempt, Drops] = {}  # losses not yet in a batch
        self._queue: deque[Entry] = deque()
        self._bytes = 0
        self._reporting = False

    @property
    def pending(self) -> int:
        """What the next batches would write: entries and reports."""
        return len(self._queue) + len(self.drops)

    def is_settled(self, accepted: int) -> bool:
        """Whether the first `accepted` entries are dealt with, and every loss is reported."""
        return self.settled >= accepted and not self.drops and not self._reporting

    def offer(self, entries: list[Entry]) -> None:
        """Take in what fits; the newest is dropped."""
        size = sum([size for _, size in entries])
        if self._fits(len(entries), size):
            self._queue.extend(entries)
            self.accepted += len(entries)
            self._bytes += size
            return
        for entry in entries:
            if self._fits(1, entry[1]):
                self._queue.append(entry)
                self.accepted += 1
                self._bytes += entry[1]
            else:
                self._drop(entry[0])

    def refuse(self, entries: Sequence[Entry], invalid: int = 0) -> None:
        """Drop all of them, and count `invalid` records of which not even the attempt is known."""
        self.dropped += invalid
        for row, _ in entries:
            self._drop(row)

    def take(self, records_max: int, bytes_max: int, *, report: bool = False) -> Batch | None:
        """The oldest entries, and the losses when the queue is empty now, or `report` says so."""
        rows: list[Stored] = []
        total = 0
        while self._queue and len(rows) < records_max and total < bytes_max:
            row, size = self._queue.popleft()
            rows.append(row)
            total += size
        batch = Batch(rows, total)
        if self.drops and (report or not self._queue):
            batch.drops, self.drops = self.drops, {}
            self._reporting = True
        return batch if rows or batch.drops else None

    def settle(self, batch: Batch) -> None:
        """The batch is committed: its room is free."""
        self.settled += len(batch.rows)
        self._bytes -= batch.bytes
        self._reporting = False

    def give_up(self, batch: Batch) -> None:
        """The batch will never be written: its rows are lost, its losses stay unreported."""
        self.settle(batch)
        self.given_up += len(batch.rows)
        newer, self.drops = self.drops, {}
        for attempt, drops in batch.drops.items():
            self._merge(attempt, drops)
        for row in batch.rows:
            self._drop(row)
        for attempt, drops in newer.items():
            self._merge(attempt, drops)

    def abandon(self) -> None:
        """Give up all that waits."""
        self.give_up(Batch([row for row, _ in self._queue], sum(size for _, size in self._queue)))
        self._queue.clear()

    def _fits(self, records: int, size: int) -> bool:
        return (
            self.accepted - self.settled + records <= self.records_max
            and self._bytes + size <= self.bytes_max
        )

    def _drop(self, row: Stored) -> None:
        self.dropped += 1
        self._merge(row[:4], Drops(1, row[4], row[4]))

    def _merge(self, attempt: Attempt, new: Drops) -> None:
        drops = self.drops.get(attempt)
        if drops is not None:
            drops.count += new.count
            drops.first, drops.last = min(drops.first, new.first), max(drops.last, new.last)
        elif len(self.drops) < ATTEMPTS_MAX:
            self.drops[attempt] = new


def reports_of(drops: dict[Attempt, Drops], now: datetime) -> list[Stored]:
    """One WARNING record per attempt that says how many of its records were lost."""
    at = to_text(now)
    return [
        (*attempt, at, "WARNING", _sentence(lost), msgspec.json.encode({"dropped": lost.count}).decode())
        for attempt, lost in drops.items()
    ]


def _sentence(lost: Drops) -> str:
    what = "1 log record was" if lost.count == 1 else f"{lost.count} log records were"
    when = f"at {lost.first}" if lost.first == lost.last else f"between {lost.first} and {lost.last}"
    return f"{what} dropped {when}: the log database did not take them in time"
