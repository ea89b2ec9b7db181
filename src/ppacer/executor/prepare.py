"""How the warm parent gets ready to be forked: what all children inherit, made once, and made small."""

import atexit
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, cast

from ppacer.clock import SystemClock
from ppacer.dag import Dag, Registry, task
from ppacer.executor import posix
from ppacer.executor.child import MARK, Child, open_stream
from ppacer.executor.execute import is_async, read_code
from ppacer.executor.frames import JOBS, Frames, Job, frame
from ppacer.executor.logs import Ear
from ppacer.notify import LogSender, Sender
from ppacer.protocol import Grant

REHEARSALS = 30


class _Handler(Ear):
    """Sends the records of `logging` to the main program."""

    child: Child | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of a handler: the child has its own."""
        if self.child is not None:
            self.child.say(record)
        return True


_handler = _Handler()


def prepare(registry: Registry, notifier: Sender, level: int) -> Child:
    """The child that every fork becomes; its records from `level` on are kept.

    To be called again when modules have been imported since.
    """
    read_code(registry)
    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    _open_streams()
    faulthandler.enable(2)  # a segmentation fault leaves the Python traceback in the log of the task
    _route_logging(terminal, level)
    if any(is_async(node.task) for dag in registry.values() for node in dag.nodes.values()):
        import asyncio  # noqa: F401 - once for all children, and for none where there is no `async def`
    atexit._clear()  # no child shall do at its end what the main program wants to do at its own
    _rehearse()
    child = _handler.child = Child(registry, notifier)
    gc.collect()
    gc.freeze()  # the collector of a child would touch, and thereby copy, every page of ours
    return child


def _open_streams() -> None:
    posix.flush_c_output()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    streams = cast(Any, sys)
    streams.stdin = streams.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - as long as the process lives
    streams.stdout = streams.__stdout__ = open_stream(1)
    streams.stderr = streams.__stderr__ = open_stream(2)


def _route_logging(terminal: Sequence[object], level: int) -> None:
    """Everything to the main program; handlers for the terminal would say it once more, as output."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.StreamHandler) and any(
            handler.stream is stream for stream in terminal
        ):
            root.removeHandler(handler)
    _handler.listen(level)


def _rehearse() -> None:
    """Does a job that is nothing, many times.

    Python adapts code to what it meets, and fills its caches on the way. What is done here no child does
    again, in pages copied for it; that saves a fifth of them.
    """
    with Dag("rehearsal") as dag:
        task(lambda: None, id="nothing")()
    child = Child(Registry([dag]), LogSender())
    now = SystemClock().now()
    job = frame(Job(Grant(0, dag.id, now.utc, "nothing", 0, "", "manual", 60.0), now.mono + 60.0, last=True))
    frames: Frames[Job] = Frames(JOBS)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(REHEARSALS):
            os.environ[MARK] = "nobody"
            child.connect(os.dup(theirs.fileno()))
            for message in frames.feed(job):
                child.send(child.do(message))
    del os.environ[MARK]
    for number, handler in handlers.items():
        signal.signal(number, handler)
