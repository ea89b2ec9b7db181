"""Starts `ppacer` such that it kills itself at a named point, or lives by a clock that jumps.

PPACER_CRASH_POINT=NAME:N: SIGKILL for the process that passes the point NAME for the N-th time. Production
code has no hooks for this: its functions are wrapped here, before anything runs. The file `points` beside the
database gets the name, so that a test knows that the point was there.
"""

import functools
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ppacer.api.server import Server
from ppacer.clock import Now, SystemClock
from ppacer.executor.child import Child
from ppacer.executor.executor import Executor
from ppacer.executor.parent import Parent
from ppacer.executor.supply import Supply
from ppacer.executor.warm import WarmParent
from ppacer.scheduler import LocalClient, Outbox, Scheduler, scheduler
from ppacer.scheduler.memory import Memory
from ppacer.scheduler.recovery import Recovery
from ppacer.scheduler.requests import Request
from ppacer.scheduler.rounds import Rounds
from ppacer.store import FileLock, Store
from ppacer.store.hot import Hot
from ppacer.tasklog.logfile import LogFile

BEFORE, AFTER = False, True

POINTS: dict[str, tuple[Any, str, bool]] = {
    # a start, which is a recovery
    "lock is held": (FileLock, "acquire", AFTER),
    "children are held": (WarmParent, "hold", AFTER),
    "store is open": (Store, "__init__", AFTER),
    "dags are synchronized": (scheduler, "sync", AFTER),
    "recovery begins": (Recovery, "read_back", BEFORE),
    "recovery is decided": (Memory, "read_back", AFTER),
    "recovery is committed": (Recovery, "read_back", AFTER),
    "it serves": (Server, "start", AFTER),
    # event, decide, commit, announce
    "event is there": (Scheduler, "step", BEFORE),
    "batch is decided": (Store, "apply", BEFORE),
    "batch is half written": (Hot, "run", AFTER),
    "batch is committed": (Store, "apply", AFTER),
    "announcement begins": (Rounds, "_announce", BEFORE),
    "answer is on its way": (Request, "answer", AFTER),
    "step is over": (Scheduler, "step", AFTER),
    # around it
    "grant is taken": (Executor, "_begin", BEFORE),
    "attempt is started": (Executor, "_begin", AFTER),
    "attempt has ended": (Executor, "done", BEFORE),
    "report is acknowledged": (LocalClient, "report", AFTER),
    "child is announced": (Supply, "_hear", AFTER),
    "log is written": (LogFile, "append", AFTER),
    "alert is sent": (Outbox, "_record", BEFORE),
}
"""Where the program dies."""

TASK_POINTS: dict[str, tuple[Any, str, bool]] = {
    "warm parent will fork": (Parent, "_fork", BEFORE),
    "warm parent has forked": (Parent, "_fork", AFTER),
    "warm parent buries a child": (Parent, "_reap", BEFORE),
    "child has a job": (Child, "do", BEFORE),
    "child has done its job": (Child, "do", AFTER),
    "child has sent its result": (Child, "send", AFTER),
}
"""Where the warm parent dies, or a child."""


def main() -> None:
    """`ppacer` with what the environment asks for."""
    if point := os.environ.get("PPACER_CRASH_POINT"):
        name, _, number = point.rpartition(":")
        owner, attribute, is_after = {**POINTS, **TASK_POINTS}[name]
        wrap(owner, attribute, is_after, name, int(number))
    if jump := os.environ.get("PPACER_CLOCK_JUMP"):
        jump_clock(float(jump))
    from ppacer.cli import main as ppacer

    ppacer(prog_name="ppacer")


def wrap(owner: Any, attribute: str, is_after: bool, name: str, number: int) -> None:
    """Puts a death before or after the function."""
    function: Callable[..., Any] = getattr(owner, attribute)
    passes = 0

    def die() -> None:
        nonlocal passes
        passes += 1
        if passes == number:
            note(name)
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        if not is_after:
            die()
        result = function(*args, **options)
        if is_after:
            die()
        return result

    setattr(owner, attribute, wrapper)


def jump_clock(seconds: float) -> None:
    """Once there is a file `jump` the wall clock of this process is set, by so many seconds; mono is not."""
    real, has_jumped = SystemClock.now, False

    def now(self: SystemClock) -> Now:
        nonlocal has_jumped
        utc, mono = real(self)
        if not has_jumped and os.path.exists("jump"):
            has_jumped = True
            note("the clock jumps")
        return Now(utc + timedelta(seconds=seconds) if has_jumped else utc, mono)

    SystemClock.now = now  # type: ignore[method-assign]  # that is what this file is for


def note(text: str) -> None:
    """A line for the test, beside the database."""
    points = os.open("points", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(points, f"{text}\n".encode())
    os.close(points)


if __name__ == "__main__":
    main()
