"""What runs in the warm parent: forks children, kills them, tells their end.

One thread, which does nothing else, so that every fork finds the same small process. It owns the pids:
nobody else waits for them or signals them, so that no number can have passed to another process meanwhile.
Whatever loses its parent becomes its child. When the main program is gone it kills all, then frees the lock.
"""

import _socket
import contextlib
import fcntl
import gc
import logging
import os
import resource
import select
import signal
import socket
import sys
import traceback
import warnings
from array import array
from typing import NoReturn

from ppacer.clock import SystemClock
from ppacer.dag import Registry
from ppacer.errors import LoadError
from ppacer.executor import child, posix
from ppacer.executor.frames import (
    READ_MAX,
    TO_PARENT,
    Exited,
    Fork,
    Forked,
    Frames,
    FromParent,
    Held,
    Hold,
    Kill,
    Load,
    Loaded,
    NotForked,
    NotLoaded,
    ToParent,
    frame,
)
from ppacer.executor.memory import usage_of
from ppacer.executor.prepare import prepare
from ppacer.executor.survivors import HOLDER, mark_of
from ppacer.notify import Sender

LOCK_POLL = 20  # ms between two looks at a lock that another program's warm parent holds
HAS_WAITID = hasattr(os, "waitid")  # all but macOS before Python 3.13
SWEEP_SECONDS = 1.0  # for what was killed to be gone; only what sits in the kernel (state D) takes longer
SWEEP_POLL = 0.002

_now = SystemClock().now


class Parent:
    """The warm parent's loop."""

    def __init__(
        self, main: socket.socket, registry: Registry, notifier: Sender, level: int = logging.INFO
    ) -> None:
        self._main, self._registry, self._notifier, self._level = main, registry, notifier, level
        self._main_fd, self._main_pid = main.fileno(), os.getppid()
        self._frames: Frames[ToParent] = Frames(TO_PARENT)
        self._leaders: dict[int, str] = {}  # children by pid, with their marks
        self._made = 0
        self._wanted = 0  # forks still to be made
        self._lock_wanted: int | None = None
        self._poll = select.poll()
        self._wake, self._signals = os.pipe()

    def run(self) -> NoReturn:
        """Serves the main program until it is gone, then ends everything and the process itself."""
        try:
            self._settle()
            self._child = prepare(self._registry, self._notifier, self._level)
            gc.disable()  # nearly everything here is frozen, and a fork has to copy what a collector touches
            while self._step():
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass  # it went while we spoke
        except BaseException:  # the main program sees the socket end, and begins anew with another
            traceback.print_exc()
        finally:
            self._end_everything()
            os._exit(0)

    def _settle(self) -> None:
        """Leaves the terminal, so that Ctrl-C reaches the main program alone, and gets ready for signals."""
        with contextlib.suppress(PermissionError):  # a fresh interpreter leads a session already
            os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, child.ignore)
        for pipe in (self._wake, self._signals):
            os.set_blocking(pipe, False)
        signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)
        posix.adopt_orphans()
        posix.die_with_parent(signal.SIGUSR1)  # the socket tells as well, unless a stray fork of it is open
        warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
        for fd in (self._main_fd, self._wake):
            self._poll.register(fd, select.POLLIN)

    def _step(self) -> bool:
        """One round; False when the main program is gone."""
        timeout = 0 if self._wanted else LOCK_POLL if self._lock_wanted is not None else None
        for fd, _ in self._poll.poll(timeout):
            if fd == self._wake:
                os.read(self._wake, READ_MAX)
                self._reap()
                if os.getppid() != self._main_pid:
                    return False
            elif not self._listen():
                return False
        if self._lock_wanted is not None:
            self._try_lock(self._lock_wanted)
        if self._wanted:  # one at a time: in between children may end, or have to be ended
            self._wanted -= 1
            self._fork()
        return True

    def _listen(self) -> bool:
        data = self._main.recv(READ_MAX)
        for message in self._frames.feed(data):
            match message:
                case Fork():
                    self._wanted += message.count
                case Kill() if message.pid in self._leaders:
                    posix.signal_group(message.pid, message.signal)
                case Hold():
                    self._hold(message.path)
                case Load():
                    self._load(message)
        return bool(data)

    def _tell(self, message: FromParent) -> None:
        self._main.sendall(frame(message))

    # -- children --------------------------------------------------------------------------------------------

    def _fork(self) -> None:
        fds: list[int] = []
        try:
            ours, theirs = _socket.socketpair()
            fds += (ours.detach(), theirs.detach())
            fds += os.pipe()
            fds += os.pipe()
            self._made += 1
            mark = f"{os.getpid()}.{self._made}"
            pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self._tell(NotForked(f"a process cannot be started: {error.strerror}"))
            return
        control, theirs_of_control, out, theirs_of_out, err, theirs_of_err = fds
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for fd in (control, out, err, self._wake, self._signals, self._main_fd):
                os.close(fd)
            child.become(self._child, theirs_of_control, theirs_of_out, theirs_of_err, mark)
        self._leaders[pid] = mark
        ends = array("i", (control, out, err))
        for fd in ends:
            os.set_blocking(fd, False)
        self._main.sendmsg([frame(Forked(pid))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ends)])
        for fd in fds:
            os.close(fd)

    def _reap(self) -> None:
        """Takes leave of every child that has ended, and of what it left behind in its process group."""
        while (ended := self._next_ended()) is not None:
            pid, status, usage = ended
            mark = self._leaders.pop(pid, None)
            if mark is not None:
                if status != 0:
                    self._sweep(pid, mark)
                self._tell(Exited(pid, status, usage_of(usage)))

    def _next_ended(self) -> tuple[int, int, resource.struct_rusage] | None:
        """Waits for a child that has ended; what is left of its group is killed."""
        try:
            if not HAS_WAITID:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid in self._leaders:
                    posix.signal_group(pid, signal.SIGKILL)
                return (pid, status, usage) if pid else None
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is None:
                return None
            if info.si_pid in self._leaders:  # as long as it is a zombie, nobody else can get its number
                os.killpg(info.si_pid, signal.SIGKILL)
            return os.wait4(info.si_pid, 0)
        except ChildProcessError:
            return None

    def _sweep(self, group: int, mark: str) -> None:
        """Waits, after a bad end, until all that the child had started is gone; also what had left its group.

        A task that returns may leave a daemon running on purpose. One that was killed or crashed could not
        end what it had started in a session of its own (as `Bash` does), and its retry may start that again.
        """
        entry = f"{child.MARK}={mark}".encode()
        until = _now().mono + SWEEP_SECONDS
        posix.reap(-group)
        left = self._started_with(entry)
        while (left or posix.group_exists(group)) and _now().mono < until:
            posix.signal_all(left, signal.SIGKILL)
            posix.pause(SWEEP_POLL)
            posix.reap(-group)
            left = self._started_with(entry) if left else left  # looking at all processes takes its time

    def _started_with(self, entry: bytes) -> set[int]:
        """Descendants with this in their environment."""
        below = posix.below(os.getpid()) - self._leaders.keys()
        return {pid for pid in below if posix.environment_has(pid, entry)}

    # -- beginning and end -----------------------------------------------------------------------------------

    def _load(self, load: Load) -> None:
        from ppacer.load import load_registry

        sys.path[:], sys.argv[:] = load.sys_path, load.argv
        os.environ.pop("PYTHONPATH", None)  # it was ours, to find ppacer
        if load.pythonpath is not None:
            os.environ["PYTHONPATH"] = load.pythonpath
        try:
            self._registry = load_registry(load.path)
            self._check_version(load)
        except LoadError as error:
            self._tell(NotLoaded(str(error), error.traceback))
        else:
            # once more, with what the import has brought
            self._child = prepare(self._registry, self._notifier, load.level)
            self._tell(Loaded())

    def _check_version(self, load: Load) -> None:
        dag_id, version = load.wants or ("", "")
        dag = self._registry.get(dag_id)  # one that is not there is refused when it is to run
        if dag is not None and dag.version != version:
            raise LoadError(f"{load.path} has another version of dag {dag_id!r} than this executor")

    def _hold(self, path: str) -> None:
        try:
            self._lock_wanted = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._tell(Held(f"the lock file {path} cannot be opened: {error.strerror}"))

    def _try_lock(self, lock: int) -> None:
        """Takes the lock if it is free. Children inherit the descriptor, and hold it with us."""
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock_wanted = None
            os.environ[HOLDER] = mark_of(os.fstat(lock))
            self._tell(Held())

    def _end_everything(self) -> None:
        """Kills until no child is left; as all orphans are ours, no descendant is left then."""
        while True:
            for pid in self._leaders:
                posix.signal_group(pid, signal.SIGKILL)
            posix.end_all(lambda: posix.below(os.getpid()))
            if not posix.reap(-1):
                return
            posix.pause(SWEEP_POLL)
