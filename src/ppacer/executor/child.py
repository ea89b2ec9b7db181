"""What runs in a child process: job after job, until there is none.

Everything here happens in a process that a task may have treated badly. Nothing leaves it but frames on the
control socket and bytes in the pipes of stdout and stderr.
"""

import _signal  # type: ignore[import-not-found]  # typeshed leaves it out
import _socket
import atexit
import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any, NoReturn, TextIO, TypeAlias

import msgspec

from ppacer.dag import Registry
from ppacer.executor import memory, posix
from ppacer.executor.execute import execute
from ppacer.executor.frames import JOBS, READ_MAX, Ended, Frames, Job, Said, frame
from ppacer.executor.logs import spoken
from ppacer.executor.runner import Outcome
from ppacer.executor.words import error_text
from ppacer.notify import Sender
from ppacer.protocol import End

MARK = "PPACER_CHILD"  # in the environment of a child, and so of every program started below it
REMINDER = signal.SIGURG  # interrupts what the child waits in; programs that a task has started ignore it
JOBS_MAX = 10_000
TERMINATED = 128 + signal.SIGTERM  # exit code, as shells have it
GROWTH_MAX = 256 * 1024 * 1024  # bytes; what a child keeps beyond that is a leak, as a rule
PEAK_STEP = 8 * 1024 * 1024  # a peak so much above what is in use is forgotten before the next job

set_handler = _signal.signal  # as signal.signal, without turning numbers into enums and back


_File: TypeAlias = tuple[int, int]


class Terminated(SystemExit):
    """Raised in the main thread of a child by SIGTERM, so that `finally` blocks run.

    A SystemExit, because asyncio and other libraries know what that means.
    """


class Child:
    """The jobs of one child process; also the cancel signal that its tasks see."""

    def __init__(self, registry: Registry, notifier: Sender) -> None:
        self._registry, self._notifier = registry, notifier
        self._control: _socket.socket | None = None
        self._pid = 0
        self._pipes: tuple[_File, _File] | None = None
        self._frames: Frames[Job] = Frames(JOBS)
        self._lock = threading.RLock()
        self._is_idle = True  # then SIGTERM ends the process at once
        self._is_terminated = self._may_raise = False
        self._streams = (sys.stdout, sys.stderr)
        self._jobs = 0
        self._start = self._peak = self._peak_of_children = 0
        self._cpu = 0.0  # of all jobs before
        self._main_thread = threading.get_ident()
        self._blocked = threading.local()  # `mask`: what a thread that forks had blocked before

    def is_set(self) -> bool:
        """Whether the running attempt shall end."""
        return self._is_terminated

    def connect(self, control: int) -> None:
        """Takes the control socket.

        `send` knows sockets only: should a task close this one, and then open a file, which gets its number,
        nothing of ours is written into that file.
        """
        self._control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, control)
        self._pid = os.getpid()
        self._pipes = _file(1), _file(2)

    def run(self) -> NoReturn:
        """Does jobs until the last one, the end of the main program, or a SIGTERM."""
        usage = memory.usage()
        self._start = self._peak = usage.peak
        self._cpu = usage.cpu
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._forked
        )
        while not self._is_terminated and (job := self._next_job()) is not None:
            ended = self.do(job)
            if os.getpid() != self._pid:  # a process that the task has forked, and that returned from it
                break
            self.send(ended)
            if ended.leaving:
                break
        # No handlers of the main program, no joining of threads that a task left behind. What a task that was
        # ended has started it could perhaps not end: a bad exit has the warm parent look for it.
        os._exit(TERMINATED if self._is_terminated else 0)

    def do(self, job: Job) -> Ended:
        """Does one job."""
        if self._jobs:  # the task before may have set its own
            set_handler(signal.SIGTERM, self.terminate)
            set_handler(signal.SIGINT, ignore)
            set_handler(REMINDER, self.remind)
        try:
            self._may_raise = True
            grant, deadline = job.grant, job.deadline
            outcome = execute(grant, self._registry, self._notifier, self, deadline, is_interrupted=True)
            if job.last:
                leave()
            self._may_raise = False
        except BaseException as error:  # SIGTERM while the machinery around the task was at work
            self._may_raise = False
            outcome = Outcome(End.FAILED, error_text(error))
        self._flush()
        peak, cpu = self._taken_by_job()
        outcome = msgspec.structs.replace(outcome, peak_memory=peak, cpu_seconds=cpu)
        is_leaving = job.last or self._is_terminated or self._is_worn_out()
        return Ended(outcome, is_leaving, self._is_terminated, self._unread_in_pipes())

    def send(self, message: Said | Ended) -> None:
        """Sends a frame as a whole, whichever thread it comes from, and even if SIGTERM comes meanwhile."""
        data = frame(message)
        is_main = threading.get_ident() == self._main_thread
        may_raise, was_terminated = self._may_raise, self._is_terminated
        if is_main:
            self._may_raise = False
        with self._lock:
            if self._control is not None:
                self._control.sendall(data)
        if is_main and may_raise:
            self._may_raise = True
            if self._is_terminated and not was_terminated:
                self._raise()

    def say(self, record: logging.LogRecord) -> None:
        """Sends a record of `logging`. From a process that a task has forked it goes to stderr instead: two
        processes would mix up their frames.
        """
        if self._control is None:
            return
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):  # the main program is gone, and so shall we be
                self.send(Said(*spoken(record), unread=self._unread()))
        else:
            with contextlib.suppress(Exception):
                sys.stderr.write(f"{record.levelname} {record.name}: {spoken(record)[2]}\n")

    def _unread(self) -> tuple[int, int] | None:
        try:
            return (posix.unread(1), posix.unread(2)) if posix.IS_LINUX else None
        except OSError:  # the task has closed one of them
            return None

    def _unread_in_pipes(self) -> tuple[int, int] | None:
        """As `_unread`, but None also when the task has put something else in the place of a pipe."""
        try:
            is_same = (_file(1), _file(2)) == self._pipes
        except OSError:
            return None
        return self._unread() if is_same else None

    def _next_job(self) -> Job | None:
        assert self._control is not None
        self._is_idle = True
        while not self._is_terminated:
            data = self._control.recv(READ_MAX)
            if not data:
                return None
            for job in self._frames.feed(data):  # there is never more than one
                self._is_idle = False
                return job
        return None

    def terminate(self, number: int, where: FrameType | None) -> None:
        """What SIGTERM does: a running task gets an exception, without one the process ends."""
        if os.getpid() != self._pid:  # forked behind Python's back: what SIGTERM does by default
            set_handler(number, _signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._is_terminated = True
        if self._is_idle:
            os._exit(0)
        if (loop := _loop_at(where)) is None:
            self._raise()
        else:
            loop.call_soon_threadsafe(self._raise)  # which also wakes it

    def remind(self, number: int, where: FrameType | None) -> None:
        """What the signal after SIGTERM does: an exception that an event loop took with it into its end is
        raised once more. Most often that there was a signal is enough: Python sees to both.
        """
        if self._is_terminated and os.getpid() == self._pid:
            self.terminate(number, where)

    def _raise(self) -> None:
        if self._may_raise:
            self._may_raise = False  # once: a second one would interrupt the cleaning up
            raise Terminated("ended by SIGTERM")

    # What a task forks ends by SIGTERM from its first moment. Python forgets signals that reach a new process
    # before it is set up: a worker of `multiprocessing` told to end at once would live on, and so would
    # the task that waits for it. The kernel keeps SIGTERM until it does there what it does by default.

    def _before_fork(self) -> None:
        self._blocked.mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, {signal.SIGTERM})

    def _after_fork(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._blocked.mask)

    def _forked(self) -> None:
        if _signal.getsignal(signal.SIGTERM) == self.terminate:  # else the task has set its own
            set_handler(signal.SIGTERM, _signal.SIG_DFL)
        self._after_fork()

    def _flush(self) -> None:
        """Brings everything that was printed into the pipes, and the streams back to where they were."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            try:  # noqa: SIM105 - fewer pages to copy than with `suppress`
                stream.flush()
            except Exception:  # whatever the task has put there
                pass
        posix.flush_c_output()
        out, err = self._streams
        if out.closed or err.closed:
            self._streams = out, err = open_stream(1), open_stream(2)
        sys.stdout, sys.stderr = out, err

    def _taken_by_job(self) -> tuple[int, float]:
        """The most memory that its process had at a time, or one it waited for; the time of all of them."""
        own, others = memory.usage(), memory.usage_of_children()
        peak = max(own.peak, others.peak if others.peak > self._peak_of_children else 0)
        cpu = own.cpu + others.cpu - self._cpu
        self._peak_of_children, self._cpu = others.peak, own.cpu + others.cpu
        return peak, round(cpu, 6)

    def _is_worn_out(self) -> bool:
        """Whether another child had better do the next job."""
        self._jobs += 1
        peak = memory.peak()
        if peak > self._peak + PEAK_STEP:
            now = memory.in_use() or peak
            if now > self._start + GROWTH_MAX:
                return True
            self._peak = now if memory.forget_peak() else peak
        return self._jobs >= JOBS_MAX


def _file(fd: int) -> _File:
    """What a descriptor leads to."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def become(child: Child, control: int, stdout: int, stderr: int, mark: str) -> NoReturn:
    """Makes the process that was just forked a child, and does its jobs. `mark` begins with the parent's pid.

    Every page of memory that is touched here is copied, 2 to 4 µs each: that is most of what a child costs.
    """
    try:
        os.setpgid(0, 0)
        posix.die_with_parent()
        if not mark.startswith(f"{os.getppid()}."):
            os._exit(0)
        set_handler(signal.SIGTERM, child.terminate)
        set_handler(REMINDER, child.remind)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP):
            set_handler(number, _signal.SIG_DFL)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        os.environ[MARK] = mark
        memory.go_first()
        gc.enable()
        if (numpy := sys.modules.get("numpy.random")) is not None:  # Python's own `random` sees to itself
            numpy.seed()
        child.connect(control)
        child.run()
    except BaseException:  # no job is running; the words go the way of its output
        traceback.print_exc()
    finally:
        os._exit(70)


def _loop_at(where: FrameType | None) -> Any:
    """The event loop of asyncio, if `where` is code of its own.

    An exception there would lose what it has in hand: a task whose wake-up is lost is never woken again, not
    even by its cancellation, for which `asyncio.run` waits. Between two steps it is as good as anywhere.
    """
    asyncio: Any = sys.modules.get("asyncio")
    loop = getattr(asyncio, "_get_running_loop", lambda: None)()  # it may be half imported
    if where is None or loop is None:
        return None
    module = str(where.f_globals.get("__name__")).partition(".")[0]
    if module == "asyncio" or (module in sys.stdlib_module_names and asyncio.current_task(loop) is None):
        return loop
    return None  # a task or a callback of the user holds it up


def leave() -> None:
    """What an interpreter does at its end: waits for the threads of the task, and calls its exit handlers.

    All that in the time of the attempt. What was registered before the fork belongs to the main program, and
    is forgotten by `prepare`.
    """
    if threading.active_count() > 1:
        threading._shutdown()  # type: ignore[attr-defined]  # with idle pools of threads it takes more than `join`
    if atexit._ncallbacks():  # cheaper than to call none
        atexit._run_exitfuncs()


def ignore(number: int, where: FrameType | None) -> None:
    """A signal handler that does nothing; unlike SIG_IGN it is not inherited by programs a task starts."""


def open_stream(number: int) -> TextIO:
    """A text stream like sys.stdout. It is written to line by line, so that a crash loses none."""
    raw: Any = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
