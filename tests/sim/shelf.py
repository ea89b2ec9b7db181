"""What the scheduler takes for its Store: the fold, and real SQLite beside it, behind all that can fail.

Each method is also a place in which the scheduler can be killed: before a commit, after it, during a read.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ppacer.dag import Dag, Graph
from ppacer.engine import AttemptRow, RunRef, RunRow
from ppacer.engine.changes import Change
from ppacer.errors import StoreError, StoreUnavailable
from ppacer.store import Store, sync
from ppacer.store.backfills import BackfillRow
from ppacer.store.store import DagRow, ExecutorRow, StaleWrite
from sim.compare import differences
from sim.fold import Fold

if TYPE_CHECKING:
    from sim.world import World

OUTAGES = (0.4, 1.5, 8.0, 35.0)
ANEW_EVERY = 10  # starts, of which one makes a new Store, which checks and prepares the file
POINTS_MAX = 14  # places of one round in which a kill may come


class Killed(BaseException):
    """The scheduler's program ends here, with all it has in memory."""


class Planned:
    """Marks the errors that the simulation itself has thrown."""


class Away(StoreUnavailable, Planned):
    """The database refuses for now."""


class RefusedError(StoreError, Planned):
    """The database refuses this."""


class Stale(StaleWrite, Planned):
    """Somebody has changed a row behind the scheduler's back."""


ERRORS = (Away, Away, Stale, RefusedError)  # made when thrown: an error keeps all that it has passed through


class Shelf:
    """One database with its troubles. The fold always has the rows; on SQLite seeds the file has them too."""

    def __init__(self, world: "World", path: Path | None) -> None:
        self.world = world
        self.path = path
        self.fold = Fold()
        self.real: Store | None = None
        self.until = -1.0  # true time at which an outage ends
        self.is_gone = False  # in an outage reads fail too
        self._kill_in: int | None = None
        self._opened = 0  # how often the file was opened

    # -- kills -----------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """The scheduler dies at one of the next places, or after the step."""
        self._kill_in = self.world.chance.stream("kill").randint(0, POINTS_MAX)

    def disarm(self) -> bool:
        """Nothing dies any more; True when something was to."""
        was_armed, self._kill_in = self._kill_in is not None, None
        return was_armed

    def point(self) -> None:
        """A place in which the scheduler may be killed."""
        if self._kill_in is None:
            return
        self._kill_in -= 1
        if self._kill_in < 0:
            self._kill_in = None
            raise Killed

    # -- what the scheduler does -----------------------------------------------------------------------------

    def open(self) -> None:
        """The program starts: on SQLite it opens the file anew.

        Mostly by a Store that has its statements compiled already: where the scheduler dies every few steps
        to compile them took most of the time.
        """
        if self.path is None:
            return
        if self.real is None or self._opened % ANEW_EVERY == 0:
            self.close()
            self.real = Store(self.path)
        else:
            self.real.close()
            self.real._connection = self.real._engine.connect()
            self.real._graphs.clear()
        self._opened += 1
        driver = cast(sqlite3.Connection, self.real._connection.connection.driver_connection)
        driver.execute("PRAGMA synchronous=OFF")  # no power cut here

    def close(self) -> None:
        """Closes the file."""
        if self.real is not None:
            self.real.close()
            self.real = None

    def apply(self, changes: Sequence[Change]) -> None:
        """As `Store.apply`, and the oracle hears of every commit that has happened."""
        self.point()
        self._refuse()
        if self.world.chance.strikes("commit_before"):
            raise self.world.chance.pick("commit_before", ERRORS)("as planned")
        self._commit(changes)
        self.world.committed(changes)
        self.point()
        if self.world.chance.strikes("commit_after"):
            raise self.world.chance.pick("commit_after", ERRORS)("as planned")

    def _commit(self, changes: Sequence[Change]) -> None:
        """Both refuse or neither; that one of them refuses at all without a fault is a bug already."""
        failed: Exception | None = None
        if self.real is not None:
            try:
                self.real.apply(changes)
            except Exception as error:
                failed = error
        try:
            self.fold.apply(changes)
        except UnicodeEncodeError:
            if self.real is not None and failed is None:
                self.world.convict(24, "SQLite has taken text that is none")
            raise
        except StoreError as error:
            self.world.convict(34, f"memory asks for what the rows do not allow: {error}")
            raise
        if failed is not None:
            self.world.convict(24, f"SQLite refuses what the fold has taken: {failed!r}")
            raise failed

    def _refuse(self) -> None:
        if self.world.timeline.time < self.until:
            raise Away("the disk is full: free some space")

    def _read(self) -> "Fold | Store":
        self.point()
        if self.is_gone:
            self._refuse()
        if self.world.chance.strikes("read"):
            raise Away("cannot be read")
        return self.fold if self.real is None else self.real

    def outage(self) -> None:
        """From now on the database refuses, for a while."""
        rng = self.world.chance.stream("outage")
        self.until = self.world.timeline.time + rng.choice(OUTAGES) * rng.random()
        self.is_gone = rng.random() < 0.5

    def heal(self) -> None:
        """No more faults."""
        self.until, self.is_gone = -1.0, False
        self.disarm()

    def sync(self, registry: Mapping[str, Dag], now: datetime) -> None:
        """As `ppacer.store.sync.sync`."""
        self.point()
        self._refuse()
        if self.real is not None:
            sync.sync(self.real, registry, now)
        self.fold.sync(registry, now)
        self.world.oracle.deployed(registry, self.world.now())
        self.point()

    def dag_rows(self) -> dict[str, DagRow]:
        """As `Store.dag_rows`."""
        return self._read().dag_rows()

    def look(self) -> None:
        """As `Store.look`."""
        if self.is_gone:
            self._refuse()
        if self.real is not None:
            self.real.look()

    def probe(self) -> None:
        """As `Store.probe`."""
        self.point()
        self._refuse()
        if self.real is not None:
            self.real.probe()

    def removed_rooms(self) -> dict[str, int]:
        """As `Store.removed_rooms`."""
        return self._read().removed_rooms()

    def executor_rows(self) -> dict[str, ExecutorRow]:
        """As `Store.executor_rows`."""
        return self._read().executor_rows()

    def newest_run_id(self) -> int:
        """As `Store.newest_run_id`."""
        return self._read().newest_run_id()

    def open_runs(self) -> Iterator[tuple[RunRow, Graph, list[AttemptRow]]]:
        """As `Store.open_runs`."""
        return self._read().open_runs()

    def run(self, run_id: int) -> tuple[RunRow, Graph, list[AttemptRow]] | None:
        """As `Store.run`."""
        return self._read().run(run_id)

    def attempt(self, run_id: int, task_id: str, retry: int) -> AttemptRow | None:
        """As `Store.attempt`."""
        return self._read().attempt(run_id, task_id, retry)

    def result(self, ref: RunRef, task_id: str) -> str | None:
        """As `Store.result`."""
        return self._read().result(ref, task_id)

    def open_backfills(self) -> list[BackfillRow]:
        """As `Store.open_backfills`."""
        return self._read().open_backfills()

    def newest_backfill_id(self) -> int:
        """As `Store.newest_backfill_id`."""
        return self._read().newest_backfill_id()

    def backfill(self, backfill_id: int) -> BackfillRow | None:
        """As `Store.backfill`."""
        return self._read().backfill(backfill_id)

    def backfill_points(self, backfill_id: int, position: int, limit: int) -> list[datetime]:
        """As `Store.backfill_points`."""
        return self._read().backfill_points(backfill_id, position, limit)

    def without_runs(self, dag_id: str, points: Sequence[datetime]) -> list[datetime]:
        """As `Store.without_runs`."""
        return self._read().without_runs(dag_id, points)

    def has_run(self, dag_id: str, exec_ts: datetime) -> bool:
        """As `Store.has_run`."""
        return self._read().has_run(dag_id, exec_ts)

    def compare(self) -> None:
        """On SQLite: the file holds what the fold holds (24)."""
        if self.path is not None:
            for difference in differences(self.path, self.fold.tables):
                self.world.convict(24, difference)


def synchronize(store: Any, registry: Mapping[str, Dag], now: datetime, mask: Any) -> None:
    """In place of `ppacer.scheduler.scheduler.sync`."""
    store.sync(registry, now)
