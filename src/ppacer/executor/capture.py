"""stdout, stderr and `logging` of attempts that share a process: told apart by a context variable.

Outside of attempts everything goes where it went before. What has no context of an attempt is not seen:
threads that a task starts by itself, and programs, which write to the file descriptors. For those there are
`process` and `pool`.
"""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TextIO, cast

from ppacer.clock import SystemClock
from ppacer.executor.logs import TASK_LOGGER, Ear, Outside, spoken
from ppacer.executor.output import Output, Stream
from ppacer.protocol import Grant
from ppacer.tasklog import LogRecord

_now = SystemClock().now
current: ContextVar["Captured | None"] = ContextVar("captured", default=None)


class Captured:
    """The output of one attempt, from whichever threads carry its context."""

    __slots__ = ("_emit", "_grant", "_is_open", "_lock", "_output", "inside")

    def __init__(self, grant: Grant, emit: Callable[[Sequence[LogRecord]], None]) -> None:
        self._grant, self._emit = grant, emit
        self._output: Output | None = None  # most small tasks say nothing
        self._lock = threading.RLock()
        self._is_open = True
        self.inside = 0  # the thread that is just handing something on

    def write(self, stream: Stream, text: str) -> None:
        """Takes text of stdout or stderr."""
        data = text.encode("utf-8", "backslashreplace")
        self._do(lambda output: output.feed(stream, data, _now().utc))

    def say(self, record: logging.LogRecord) -> None:
        """Takes a record of `logging`."""
        what = spoken(record)
        self._do(lambda output: output.say(*what))

    def finish(self) -> None:
        """Hands on what is left; what comes later is dropped."""
        with self._lock:
            self._is_open = False
            if self._output is not None:
                for batch in self._output.finish(_now().utc):
                    self._emit(batch)

    def _do(self, action: Callable[[Output], None]) -> None:
        with self._lock:
            if not self._is_open:
                return
            if self._output is None:
                self._output = Output(self._grant, self._emit)
            self.inside = threading.get_ident()
            try:
                action(self._output)
            finally:
                self.inside = 0


def _captured() -> Captured | None:
    """The attempt that runs here, unless this is the sink at work, which may print and log itself."""
    found = current.get()
    return None if found is None or found.inside == threading.get_ident() else found


class _Proxy:
    """Stands in for sys.stdout or sys.stderr."""

    def __init__(self, real: TextIO, stream: Stream) -> None:
        self.real = real
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def write(self, text: str) -> int:
        """Into the log of the attempt that runs here, or to the real stream."""
        found = _captured()
        if found is None:
            return self.real.write(text)
        found.write(self._stream, text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes them one after the other."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Never within an attempt."""
        return current.get() is None and self.real.isatty()


class _Handler(Ear):
    """Takes the records of attempts; all others belong to the handlers that were there before."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of a handler: attempts have their own."""
        found = _captured()
        if found is not None:
            found.say(record)
        elif (
            not _is_handled(record)
            and (last := logging.lastResort) is not None
            and record.levelno >= last.level
        ):
            last.handle(record)  # as if no handler were there, because but for us none is
        return True


def _is_handled(record: logging.LogRecord) -> bool:
    """Whether the record has also gone to a handler that is not ours."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        if any(not isinstance(handler, _Handler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


class Capture:
    """While one is open, attempts are captured; the first one installs, the last one to close removes.

    `level`: from there on records of `logging` are kept.
    """

    _lock = threading.Lock()
    _open = 0
    _undo: Callable[[], None] | None = None

    def __init__(self, level: int = logging.INFO) -> None:
        self._level = level

    def install(self) -> None:
        """Opens it."""
        with Capture._lock:
            if Capture._open == 0:
                Capture._undo = _install(self._level)
            Capture._open += 1

    def remove(self) -> None:
        """Closes it."""
        with Capture._lock:
            Capture._open -= 1
            if Capture._open == 0 and Capture._undo is not None:
                Capture._undo()
                Capture._undo = None


def _install(level: int) -> Callable[[], None]:
    root, task = logging.getLogger(), logging.getLogger(TASK_LOGGER)
    before, task_before = root.level, task.level
    handler, outside = _Handler(), Outside(before)
    others = list(root.handlers)
    for other in others:
        other.addFilter(outside)
    handler.listen(level)
    proxies = [_Proxy(sys.stdout, "stdout"), _Proxy(sys.stderr, "stderr")]
    sys.stdout, sys.stderr = cast(list[TextIO], proxies)

    def undo() -> None:
        if cast(Any, sys.stdout) is proxies[0]:  # somebody else may have put theirs on top
            sys.stdout = proxies[0].real
        if cast(Any, sys.stderr) is proxies[1]:
            sys.stderr = proxies[1].real
        root.removeHandler(handler)
        root.setLevel(before)
        task.setLevel(task_before)
        for other in others:
            other.removeFilter(outside)

    return undo
