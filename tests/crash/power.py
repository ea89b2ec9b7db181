"""A small life of a store, of which every step is a transaction; and what is left of it after a power cut.

`python power.py FILE MODE` plays it, traced by its parent, and says after each step that it is done.
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))

from crash.syscalls import trace_me
from engine.world import LEASE, at
from ppacer import Dag, task
from ppacer.dag import Registry
from ppacer.engine import Engine, Reason, RunRef, ScheduleEvent
from ppacer.engine.changes import AttemptGranted
from ppacer.engine.events import Claimed, Event, Failed, RunDue, Succeeded
from ppacer.errors import StoreError
from ppacer.schedule import Fixed
from ppacer.store import Store
from ppacer.store.retention import OldRuns
from ppacer.store.sync import sync
from store.shelf import dump

RUNS = 8
FANS = 6
REOPEN_EVERY = 3  # runs: closing folds the log into the file and removes it
FORGET_AT = 6
FOLD_PAGES = 40  # of log; SQLite's own 1000 are more than this life writes
AS_IT_IS = "as it is"  # the mode of `synchronous` that the store itself chooses
State = dict[str, list[tuple[Any, ...]]]


@task
def begin() -> int:
    return 1


@task
def work(number: int) -> str:
    return "x" * number


@task
def finish(texts: list[str]) -> None:
    pass


with Dag("d", schedule=Fixed(at(0), timedelta(seconds=60))) as dag:
    first = begin()
    finish([work.with_options(id=f"work{n}")(first) for n in range(FANS)])


class Life:
    """Plays the steps, and calls `done` after each."""

    def __init__(self, path: Path, mode: str, done: Callable[[], None]) -> None:
        self._path, self._mode, self._done = path, mode, done
        self._engine = Engine()
        self._tokens = (f"token{number}" for number in range(10_000))

    def play(self) -> None:
        """All of it."""
        for start in range(1, RUNS + 1, REOPEN_EVERY):
            with closing(Store(self._path)) as self._store:
                self._settle()
                if start == 1:
                    self._done()
                    sync(self._store, Registry([dag]), at(0))
                    self._done()
                for number in range(start, min(start + REOPEN_EVERY, RUNS + 1)):
                    self._run(number)

    def _settle(self) -> None:
        driver: Any = self._store._connection.connection
        driver.execute(f"PRAGMA wal_autocheckpoint={FOLD_PAGES}")
        if self._mode != AS_IT_IS:
            driver.execute(f"PRAGMA synchronous={self._mode}")

    def _run(self, number: int) -> None:
        ref = RunRef(number, "d", at(60 * number))
        self._apply(RunDue(ref, dag.graph, dag.version, ScheduleEvent.REGULAR, at(60 * number + 60)))
        while tasks := self._claim():
            self._apply(*(self._end(grant) for grant in tasks))
        if number == FORGET_AT:
            self._store.forget(OldRuns("d", at(60_000), [1, 2], [at(60), at(120)]))
            self._done()

    def _claim(self) -> list[AttemptGranted]:
        tokens = [next(self._tokens) for _ in range(FANS)]
        changes = self._apply(Claimed("x", tokens, at(99) + LEASE))
        return [change for change in changes if isinstance(change, AttemptGranted)]

    def _end(self, grant: AttemptGranted) -> Event:
        attempt = (grant.ref.run_id, grant.task_id, grant.retry, grant.token)
        if grant.ref.run_id % 4 == 0 and grant.task_id == "work1":
            return Failed(*attempt, Reason.FAILED, "no\n" * 99)
        return Succeeded(*attempt, f'"{grant.task_id * 200}"')

    def _apply(self, *events: Event) -> list[Any]:
        changes = [change for event in events for change in self._engine.handle(event, at(100))]
        if changes:
            self._store.apply(changes)
            self._done()
        return changes


def states(path: Path) -> list[State]:
    """What the database must hold after each step, from a life with power."""
    found: list[State] = []
    Life(path, AS_IT_IS, lambda: found.append(dump(path))).play()
    return found


def verdict(path: Path, expected: list[State], said: int) -> str | None:
    """What is wrong after a cut at which so many steps were done; None when nothing is.

    The step that was under way may be there or not. Before the first there may be nothing at all.
    """
    try:
        state = go_on(path)
    except (StoreError, sqlite3.Error) as error:
        return f"damaged: {error}"
    if state in expected[max(0, said - 1) : said + 1]:
        return None
    is_whole = state in expected
    return f"lost: it is as after step {expected.index(state)} of {said}" if is_whole else "half a step"


def go_on(path: Path) -> State:
    """Opens the database as a start does, reads memory back, writes; and returns what was there."""
    with closing(Store(path)) as store:
        engine, state = Engine(), dump(path)
        for row, graph, attempts in store.open_runs():
            engine.restore(row, graph, attempts)
        store.probe()
    with closing(sqlite3.connect(path)) as connection:
        (text,) = connection.execute("PRAGMA integrity_check").fetchone()
    if text != "ok":
        raise StoreError(text)
    return state


def say(text: bytes) -> None:
    """Tells whoever listens."""
    os.write(1, text)


def main(path: str, mode: str) -> None:
    """Plays in a process of its own."""
    trace_me()
    Life(Path(path), mode, lambda: say(b"done\n")).play()


if __name__ == "__main__":
    main(*sys.argv[1:])
