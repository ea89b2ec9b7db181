"""What runs in a child process: job after job, each with its output, records, result, until there is none.

Everything here happens in a process that a task may have treated badly; nothing but frames on the control
socket, and bytes in the pipes of stdout and stderr, leaves it.
"""

import _signal
import contextlib
import faulthandler
import gc
import io
import logging
import os
import resource
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Any, NoReturn, TextIO

from ppacer.dag import Registry
from ppacer.executor import posix
from ppacer.executor.execute import execute
from ppacer.executor.frames import JOBS, READ_MAX, Ended, Frames, Job, Said, frame
from ppacer.executor.logs import TASK_LOGGER, level_from_env, spoken
from ppacer.executor.runner import Outcome
from ppacer.executor.words import error_text
from ppacer.notify import Sender
from ppacer.protocol import End

MARK = "PPACER_CHILD"  # in the environment of a child, and so of every program started below it
JOBS_MAX = 10_000
GROWTH_MAX = 256 * 1024 * 1024  # bytes; what a child has kept beyond this is a leak, as a rule
PEAK_STEP = 8 * 1024 * 1024  # a peak so much above what is in use now is forgotten before the next job
set_handler = _signal.signal  # what signal.signal does, without turning numbers into enums and back
RSS_UNIT = 1024 if posix.IS_LINUX else 1


class Terminated(SystemExit):
    """Raised in the main thread of a child by SIGTERM, so that `finally` blocks run.

    A SystemExit, because asyncio and other libraries know what that means.
    """


class Child:
    """The jobs of one child process; also the cancel signal that its tasks see."""

    def __init__(self, registry: Registry, notifier: Sender) -> None:
        self._registry, self._notifier = registry, notifier
        self._control = -1
        self._frames: Frames[Job] = Frames(JOBS)
        self._lock = threading.RLock()
        self._is_terminated = False
        self._is_idle = False
        self._may_raise = False
        self._streams = (sys.stdout, sys.stderr)
        self._jobs = 0
        self._start = self._peak = 0

    def is_set(self) -> bool:
        """Whether the running attempt shall end."""
        return self._is_terminated

    @property
    def is_connected(self) -> bool:
        """Whether this is a child, and not its parent."""
        return self._control >= 0

    def run(self, control: int) -> NoReturn:
        """Does jobs until the last one, the end of the main program, or a SIGTERM."""
        self._control = control
        self._start = self._peak = _peak()
        while not self._is_terminated and (job := self._next_job()) is not None:
            outcome = self._do(job)
            leaving = job.last or self._is_terminated or self._is_worn_out()
            self.send(Ended(outcome, leaving))
            if leaving:
                break
        os._exit(0)  # no handlers of the main program, no joining of threads that a task left behind

    def send(self, message: Said | Ended) -> None:
        """Sends a frame as a whole, whichever thread it comes from, even if SIGTERM comes meanwhile."""
        data = frame(message)
        is_main = threading.current_thread() is threading.main_thread()
        may_raise = self._may_raise
        if is_main:
            self._may_raise = False
        with self._lock:
            while data:
                data = data[os.write(self._control, data) :]
        if is_main and may_raise:
            if self._is_terminated:
                raise Terminated("ended by SIGTERM")
            self._may_raise = True

    def _next_job(self) -> Job | None:
        self._is_idle = True  # from here on SIGTERM ends the process at once
        while not self._is_terminated:
            data = os.read(self._control, READ_MAX)
            if not data:
                return None
            for job in self._frames.feed(data):  # there is never more than one
                self._is_idle = False
                return job
        return None

    def _do(self, job: Job) -> Outcome:
        for number, handler in ((signal.SIGTERM, self._terminate), (signal.SIGINT, ignore)):
            set_handler(number, handler)  # the task before may have set its own
        before = _children_peak()
        try:
            self._may_raise = True
            outcome = execute(job.grant, self._registry, self._notifier, self, job.deadline)
            self._may_raise = False
        except BaseException as error:  # SIGTERM while the machinery around the task was at work
            self._may_raise = False
            outcome = Outcome(End.FAILED, error_text(error))
        self._flush()
        peak = _peak()
        if (children := _children_peak()) > before:
            peak = max(peak, children)
        return Outcome(outcome.end, outcome.error, outcome.result, peak)

    def _terminate(self, number: int, where: FrameType | None) -> None:
        self._is_terminated = True
        if self._is_idle:
            os._exit(0)
        if self._may_raise:
            self._may_raise = False  # once: a second one would interrupt the cleaning up
            raise Terminated("ended by SIGTERM")

    def _flush(self) -> None:
        """Brings everything that was printed into the pipes, and the streams back to where they were."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            with contextlib.suppress(Exception):
                stream.flush()
        posix.flush_c_output()
        out, err = self._streams
        if out.closed or err.closed:
            self._streams = out, err = _stream(1), _stream(2)
        sys.stdout, sys.stderr = out, err

    def _is_worn_out(self) -> bool:
        """Whether another child had better do the next job."""
        self._jobs += 1
        peak = _peak()
        if peak > self._peak + PEAK_STEP:
            now = _in_use() or peak
            if now > self._start + GROWTH_MAX:
                return True
            self._peak = now if _forget_peak() else peak
        return self._jobs >= JOBS_MAX


class _Handler(logging.Handler):
    """Sends the records of `logging` to the main program."""

    child: Child | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of a handler: the child has its own."""
        if self.child is not None and self.child.is_connected:
            with contextlib.suppress(OSError):  # the main program is gone, and so shall we be
                self.child.send(Said(*spoken(record)))
        return True


_handler = _Handler()


def prepare(registry: Registry, notifier: Sender) -> Child:
    """What children inherit, made once in the warm parent: streams, logging, and little to copy."""
    posix.flush_c_output()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = sys.__stdout__ = _stream(1)
    sys.stderr = sys.__stderr__ = _stream(2)
    faulthandler.enable(2)
    root = logging.getLogger()
    for handler in list(root.handlers):  # those for the terminal would say everything twice: as output, as record
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    _handler.setLevel(level_from_env())
    root.addHandler(_handler)
    root.setLevel(min(root.level, _handler.level))
    logging.getLogger(TASK_LOGGER).setLevel(_handler.level)
    _handler.child = Child(registry, notifier)
    gc.collect()
    gc.freeze()  # the collector of a child would touch, and thereby copy, every page of ours
    return _handler.child


def become(child: Child, control: int, stdout: int, stderr: int, mark: str) -> NoReturn:
    """Makes the process that was just forked a child, and does its jobs. `mark` begins with the parent's pid.

    Every page of memory that is touched here is copied, 2 to 4 µs each, and that is most of what a child costs.
    """
    try:
        os.setpgid(0, 0)
        posix.die_with_parent()
        if not mark.startswith(f"{os.getppid()}."):
            os._exit(0)
        set_handler(signal.SIGTERM, _leave)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP):
            set_handler(number, _signal.SIG_DFL)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        os.environ[MARK] = mark
        if (numpy := sys.modules.get("numpy.random")) is not None:  # Python's own `random` sees to itself
            numpy.seed()
        child.run(control)
    except BaseException:  # no job is running; the words go the way of its output
        traceback.print_exc()
    finally:
        os._exit(70)


def _leave(number: int, where: FrameType | None) -> NoReturn:
    os._exit(0)


def ignore(number: int, where: FrameType | None) -> None:
    """A signal handler that does nothing; unlike SIG_IGN it is not inherited by programs a task starts."""


def _stream(number: int) -> TextIO:
    raw: Any = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def _children_peak() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_UNIT


def _in_use() -> int | None:
    """Memory in RAM now; None where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return None


def _forget_peak() -> bool:
    """Lets the peak begin anew, so that the next attempt is not charged for this one."""
    try:
        with open("/proc/self/clear_refs", "wb") as file:
            file.write(b"5")
    except OSError:
        return False
    return True
