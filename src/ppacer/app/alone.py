"""One command on a database that no scheduler has: the first token is needed before one may start."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ppacer.app.leadership import unique_name
from ppacer.clock import SystemClock
from ppacer.config import shown
from ppacer.errors import SchedulerUnavailable
from ppacer.scheduler import Scheduler
from ppacer.scheduler.requests import Command, Request
from ppacer.store import FileLock, Store
from ppacer.store.leader import Seat


def obeyed(db: str, file: Path | None, command: Command) -> Any:
    """The reply. Raises what the command raises, and StoreLockedError when a scheduler has the file.

    It is a scheduler's step like any other, with its row of audit, but without dags.
    """
    clock = SystemClock()
    with _owned(db, file) as term, closing(Store(db, term)) as store:
        request = Request(command)
        Scheduler(store, {}, clock, scheduled=False).step(clock.now(), [request])
        if not request.future.done():
            raise SchedulerUnavailable(f"the database {shown(db)} refuses now; try again later")
        return request.future.result()


@contextmanager
def _owned(db: str, file: Path | None) -> Iterator[int | None]:
    """While this lasts nobody else writes."""
    if file is not None:
        lock = FileLock(file).acquire()
        try:
            yield None
        finally:
            lock.release()
        return
    Store(db).close()  # makes or upgrades the tables
    with closing(Seat(db, unique_name(), None)) as seat:
        term = seat.take()
        if term is None:
            leader = seat.leader()
            where = leader.url if leader is not None and leader.url else "URL"
            raise SchedulerUnavailable(f"a scheduler leads on this database: ask it with --url {where}")
        try:
            yield term
        finally:
            seat.release(term)
