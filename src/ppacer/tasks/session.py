"""A started command and everything it started in turn: how it ended, and how to end it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ppacer.clock import SystemClock

PROC = "/proc"
GRACE = 2.0  # seconds from TERM to KILL
LOOK = 0.02  # seconds between two looks whether everything is gone
KILL_ROUNDS = 3  # a process may leave its group while we look; one that KILL cannot end (state D) stays


def mono() -> float:
    """Seconds on the monotonic clock."""
    return SystemClock().now().mono


def pause(seconds: float) -> None:
    """Sleeps."""
    threading.Event().wait(seconds)


class _Process(NamedTuple):
    pid: int
    start: int  # with the pid an identity: a pid alone may be somebody else's by now
    parent: int
    group: int
    session: int
    is_zombie: bool


class Session:
    """A process that leads a session of its own, with all its descendants.

    Leaving the `with` block by an exception ends them all. On Linux they are found in /proc: those in the
    session, which shells with job control and `timeout` split into several groups, and descendants in other
    sessions. Elsewhere it is the process group. What made itself a daemon before is not found. The process is
    only collected at the end, so that until then its id, which names the session, cannot be given to another.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.exit_code: int | None = None  # negative: the signal; None after the end: not known
        self._has_ended = False
        self._was_terminated = False
        self._known: set[tuple[int, int]] = set()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                self.end()
        finally:
            self._collect()

    def has_ended(self) -> bool:
        """True once the command itself has ended; `exit_code` is set then."""
        if not self._has_ended:
            try:
                self._look()
            except ChildProcessError:  # collected by somebody else: SIGCHLD ignored, or a waitpid(-1)
                self._has_ended = True
        return self._has_ended

    def _look(self) -> None:
        if sys.platform == "darwin" and sys.version_info < (3, 13):  # no waitid there
            pid, status = os.waitpid(self.process.pid, os.WNOHANG)
            if pid:
                self._has_ended, self.exit_code = True, os.waitstatus_to_exitcode(status)
            return
        info = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is not None:
            self._has_ended = True
            self.exit_code = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def end(self, wait: Callable[[float], None] = pause) -> None:
        """TERM to everything, up to GRACE seconds of `wait`, then KILL. Does nothing when nothing is left."""
        try:
            if not self._was_terminated:
                self._was_terminated = True  # only once: many programs take a second TERM as "now, at once"
                self._signal(signal.SIGTERM)
                self._is_gone_after(GRACE, wait)
        finally:
            for _ in range(KILL_ROUNDS):
                self._signal(signal.SIGKILL)
                if self._is_gone_after(GRACE / KILL_ROUNDS, pause):
                    break

    def _is_gone_after(self, seconds: float, wait: Callable[[float], None]) -> bool:
        until = mono() + seconds
        while self._groups():
            if mono() >= until:
                return False
            wait(LOOK)
        return True

    def _signal(self, number: signal.Signals) -> None:
        for group in self._groups():
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone by now; became another user
                os.killpg(group, number)

    def _groups(self) -> set[int]:
        """The process groups in which something of ours is alive."""
        table = _processes()
        if not table:
            return {self.process.pid} if _is_group_alive(self.process.pid) else set()
        ours = {p.pid for p in table if p.session == self.process.pid or (p.pid, p.start) in self._known}
        found = -1
        while found != len(ours):  # children of children, in whatever session; as many rounds as generations
            found = len(ours)
            ours |= {p.pid for p in table if p.parent in ours}
        self._known |= {(p.pid, p.start) for p in table if p.pid in ours}
        return {p.group for p in table if p.pid in ours and not p.is_zombie}

    def _collect(self) -> None:
        """Takes the exit status from the kernel, which ends the zombie."""
        if self.has_ended():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.process.pid, os.WNOHANG)
            self.process.returncode = self.exit_code or 0  # or Popen would ask again when it is deleted


def _processes() -> list[_Process]:
    """Everything that /proc shows; empty where there is no /proc."""
    if not os.path.exists(f"{PROC}/self/stat"):
        return []
    found = []
    for name in filter(str.isdecimal, os.listdir(PROC)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended in the meantime
            found.append(_process(int(name), Path(PROC, name, "stat").read_bytes()))
    return found


def _process(pid: int, stat: bytes) -> _Process:
    # pid (name) state ppid pgrp session tty …, the start time is the 22nd; a name may contain ")"
    fields = stat.rpartition(b")")[2].split()
    parent, group, session, start = (int(fields[at]) for at in (1, 2, 3, 19))
    return _Process(pid, start, parent, group, session, is_zombie=fields[0] in (b"Z", b"X"))


def _is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
