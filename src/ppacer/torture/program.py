"""The program under torture: `ppacer serve` as a process of its own, started, looked at, and killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ppacer.clock import SystemClock
from ppacer.errors import PpacerError
from ppacer.executor import posix
from ppacer.store import owner_of

LIFE = "PPACER_TORTURE"  # in the environment of the program and of all it starts: campaign and number of life
START_SECONDS = 120.0
POLL_SECONDS = 0.01
GRACE_SECONDS = 5.0
COMMAND = (sys.executable, "-m", "ppacer")

T = TypeVar("T")
_now = SystemClock().now


class TortureError(PpacerError):
    """The torture itself could not go on; the sentence says what did not happen."""


def mono() -> float:
    """Seconds on the monotonic clock."""
    return _now().mono


def until(look: Callable[[], T | None], what: str, seconds: float) -> T:
    """The first true value of `look`. Raises TortureError when it does not come in time."""
    end, pause = mono() + seconds, threading.Event()
    while not (value := look()):
        if mono() > end:
            raise TortureError(f"waited {seconds:g} s in vain: {what}")
        pause.wait(POLL_SECONDS)
    return value


class Program:
    """One life after the other of `ppacer serve` on the database of a folder."""

    def __init__(
        self,
        folder: Path,
        file: Path,
        *,
        settings: Mapping[str, object],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.folder, self.file = folder, file
        self.db = folder / "scheduler.db"
        self.lives = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._command, self._settings = command, settings
        self._campaign = os.urandom(6).hex()

    def start(self, environ: Mapping[str, str] = {}, *, wait: bool = True) -> float:
        """Begins a new life; returns the seconds until it serves. Raises TortureError when it does not."""
        began = mono()
        self.lives += 1
        with (self.folder / "program.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, "serve", str(self.file), "--port", "0"],
                cwd=self.folder,
                env={**self._environ(), **environ, LIFE: self.life},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            until(lambda: self.url or self.has_ended, "the program serves", START_SECONDS)
            if self.has_ended:
                raise TortureError(
                    f"the program ended with code {self.process.poll()}; see {self.folder}/program.log"
                )
        return mono() - began

    @property
    def life(self) -> str:
        """The mark of the present life."""
        return f"{self._campaign}.{self.lives}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the present life is over."""
        return self.process is None or self.process.poll() is not None

    @property
    def url(self) -> str | None:
        """Where it serves, once it does; the file may still tell of an earlier life."""
        owner = owner_of(self.db) or {}
        return owner.get("url") if self.process is not None and owner.get("pid") == self.pid else None

    @property
    def warm_parent(self) -> int | None:
        """The process from which its task processes are forked: it leads a session of its own."""
        for pid in posix.children_by_parent().get(self.pid, ()):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) == pid:
                    return pid
        return None

    def task_processes(self) -> list[int]:
        """The processes that have, or wait for, an attempt."""
        warm = self.warm_parent
        return [] if warm is None else posix.children_by_parent().get(warm, [])

    def strangers(self) -> list[int]:
        """Processes of earlier lives that still run."""
        found = []
        for name in os.listdir("/proc") if posix.IS_LINUX else ():
            with contextlib.suppress(OSError):
                if name.isdecimal() and self._is_stranger(Path("/proc", name)):
                    found.append(int(name))
        return found

    def _is_stranger(self, process: Path) -> bool:
        mark = f"{LIFE}={self._campaign}.".encode()
        marks = [entry for entry in (process / "environ").read_bytes().split(b"\0") if entry.startswith(mark)]
        is_zombie = (process / "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
        return bool(marks) and not is_zombie and marks[0] != f"{LIFE}={self.life}".encode()

    def kill(self, *, with_warm_parent: bool = False) -> None:
        """kill -9, of the warm parent too if so wanted; returns when the program is gone."""
        warm = self.warm_parent if with_warm_parent else None
        assert self.process is not None
        if warm is not None:
            os.kill(self.pid, signal.SIGSTOP)  # it must not see its warm parent die
            posix.signal_all([warm], signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """Asks it to end; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def close(self) -> None:
        """Ends whatever still runs, of any life."""
        if not self.has_ended:
            self.kill()
        end = mono() + GRACE_SECONDS
        self.lives += 1  # from here on all are strangers
        while (left := self.strangers()) and mono() < end:
            threading.Event().wait(POLL_SECONDS)
        posix.signal_all(left, signal.SIGKILL)

    def _environ(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("PPACER_")}
        options = {"db": self.db, "logs_db": self.folder / "logs.db", **self._settings}
        return own | {f"PPACER_{name.upper()}": str(value) for name, value in options.items()}
