"""The main program's handle on its warm parent, the process from which all children are forked.

It is made in one of two ways. `fork`: the main program forks before it has any thread, socket or database,
and the warm parent inherits the dags. `spawn`: a fresh interpreter imports the file of the dags; for programs
in which threads already run, and in place of a warm parent that died.
"""

import contextlib
import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path

import ppacer.clock
from ppacer.clock import mono
from ppacer.dag import Registry
from ppacer.errors import ConfigError, LoadError
from ppacer.executor import posix
from ppacer.executor.frames import (
    FROM_PARENT,
    READ_MAX,
    Forked,
    Frames,
    FromParent,
    Held,
    Hold,
    Load,
    Loaded,
    NotLoaded,
    ToParent,
    frame,
)
from ppacer.notify import LogSender, Sender

Ends = tuple[int, int, int]
"""The main program's ends of a child: control socket, pipe of stdout, pipe of stderr."""

LOAD_SECONDS = 120.0
END_SECONDS = 10.0
END_POLL = 0.002
ANSWER_POLL = 0.2
FDS_MAX = 3 * 16

log = logging.getLogger("ppacer.executor")


class WarmParent:
    """A running warm parent. Closing it, or the death of this program, ends all its descendants."""

    def __init__(
        self,
        pid: int,
        main: socket.socket,
        ended: Callable[[], bool],
        file: Path | None,
        level: int = logging.INFO,
        registry: Registry | None = None,
    ) -> None:
        main.setblocking(False)
        self.pid, self.file, self.level = pid, file, level
        self.registry = registry  # None: it has imported the file itself, which may have changed by then
        self.lock_path: str | None = None
        self._socket, self._has_ended = main, ended
        self._frames: Frames[FromParent] = Frames(FROM_PARENT)
        self._ends: deque[Ends | None] = deque()  # in the order of the Forked messages they came with
        self._unsent = bytearray()

    @classmethod
    def fork(
        cls,
        registry: Registry,
        notifier: Sender | None = None,
        file: str | Path | None = None,
        level: int = logging.INFO,
    ) -> "WarmParent":
        """Forks this program, which must have one thread. `file` is where a successor imports the dags from.

        What tasks log is kept from `level` on. Raises ConfigError when other threads run: they might hold
        locks, which would stay locked for ever.
        """
        if threading.active_count() > 1:
            raise ConfigError("other threads run already; the warm parent must be forked before, or spawned")
        from ppacer.executor.execute import read_code
        from ppacer.executor.parent import Parent  # only who forks needs it

        read_code(registry)  # before the fork: the file that is read is the one that was imported
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of C libraries, which we cannot see
            pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                Parent(theirs, registry, notifier or LogSender(), level).run()
            except BaseException:
                traceback.print_exc()
            finally:  # the code of the main program must not go on in two processes
                os._exit(1)
        theirs.close()
        path = None if file is None else Path(file)
        return cls(pid, ours, lambda: _has_ended(pid), path, level, registry)

    @classmethod
    def spawn(
        cls, file: str | Path, level: int = logging.INFO, wants: tuple[str, str] | None = None
    ) -> "WarmParent":
        """Starts a fresh interpreter that imports the dags from a file; `wait_loaded` tells how that went.

        `wants`: a dag, and the version it must have.
        """
        ours, theirs = socket.socketpair()
        home = str(Path(ppacer.clock.__file__).parent.parent)
        before = os.environ.get("PYTHONPATH")
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "ppacer.executor", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (home, before)))},
            )
        warm = cls(process.pid, ours, lambda: process.poll() is not None, Path(file), level)
        warm.send(Load(os.path.abspath(file), list(sys.path), list(sys.argv), before, level, wants))
        return warm

    def wait_loaded(self, timeout: float = LOAD_SECONDS, give_up: Callable[[], bool] = lambda: False) -> None:
        """Returns when a spawned warm parent has imported its file. Raises LoadError, also on `give_up`."""
        answer = self._answer(timeout, give_up)
        if isinstance(answer, NotLoaded):
            raise LoadError(answer.message, answer.traceback)
        if not isinstance(answer, Loaded):
            raise LoadError(f"importing {self.file} took longer than {timeout:.0f} s, or ended its process")

    def hold(self, path: str | Path, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Has the warm parent lock a file for as long as it or any child lives; False when it is still taken.

        It is taken as long as descendants of an earlier program are: nothing may be granted before. Raises
        ConfigError when the file cannot be opened. After False, ask again with the same path, or close.
        It is False, too, soon after `give_up` says so.
        """
        if self.lock_path is None:
            self.lock_path = os.path.abspath(path)
            self.send(Hold(self.lock_path))
        answer = self._answer(timeout, give_up)
        if isinstance(answer, Held) and answer.error is not None:
            raise ConfigError(answer.error)
        return isinstance(answer, Held)

    def successor(self) -> "WarmParent | None":
        """A new warm parent in place of this one, which died; None when the file of the dags is not known."""
        if self.file is None:
            return None
        warm = WarmParent.spawn(self.file, self.level)
        warm.lock_path = self.lock_path
        return warm

    def close(self) -> None:
        """Ends all children and the warm parent, and returns when none of them is left."""
        with contextlib.suppress(OSError):  # not only close: a stray fork of this program may hold a copy
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.close_ends()
        until = mono() + END_SECONDS
        while not self._has_ended():
            if mono() > until:
                log.error("the warm parent does not end: it waits for a process that cannot be killed")
                return
            posix.pause(END_POLL)

    # -- messages --------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is a message, or when the warm parent is gone."""
        return self._socket.fileno()

    def send(self, message: ToParent) -> None:
        """Sends a message, as far as the socket takes it; see `flush`."""
        self._unsent += frame(message)
        self.flush()

    def flush(self) -> bool:
        """Sends what did not go out before; whether everything has."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return False
        except OSError:  # it is gone, which reading will tell
            self._unsent.clear()
        return True

    def read(self) -> list[tuple[FromParent, Ends | None]] | None:
        """The messages that are there, Forked ones with the ends of the child; None at the end of all.

        A child whose ends got lost, because too many files are open, has None: it must be killed.
        """
        try:
            data, fds, flags, _ = socket.recv_fds(self._socket, READ_MAX, FDS_MAX, _CLOSE_ON_EXEC)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self._take(fds, is_cut=bool(flags & socket.MSG_CTRUNC))
        messages = self._frames.feed(data)
        if not data:
            return None
        return [(m, self._ends.popleft() if isinstance(m, Forked) else None) for m in messages]

    def close_ends(self) -> None:
        """Closes descriptors that came with messages nobody read."""
        while self._ends:
            for fd in self._ends.popleft() or ():
                os.close(fd)

    def _take(self, fds: list[int], is_cut: bool) -> None:
        whole = len(fds) - len(fds) % 3
        self._ends += [(fds[at], fds[at + 1], fds[at + 2]) for at in range(0, whole, 3)]
        if is_cut:
            self._ends.append(None)
        for fd in fds[whole:]:
            os.close(fd)

    def _answer(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> FromParent | None:
        """The next message, before anybody else reads them; None when there is none in time."""
        until = mono() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while (left := until - mono()) > 0 and not give_up():
                self.flush()
                if selector.select(min(left, ANSWER_POLL)):
                    messages = self.read()
                    if messages is None:
                        return None
                    if messages:
                        return messages[0][0]
        return None


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # something else in this program waited for it
        return True


_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
