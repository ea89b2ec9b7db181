"""One child as the main program sees it: three descriptors, and the attempt it works on."""

import contextlib
import os
import socket
from datetime import datetime

from ppacer.clock import SystemClock
from ppacer.executor.frames import FROM_CHILD, READ_MAX, Frames, FromChild, Job, Said, frame
from ppacer.executor.output import Output, Stream
from ppacer.executor.runner import Outcome, Sink
from ppacer.executor.timers import Timer
from ppacer.executor.warm import Ends
from ppacer.protocol import End, Grant

FULL = 20  # reads; a pipe holds 64 KiB, and 1 MiB when a task has enlarged it
PIPE_MAX = 1024 * 1024  # bytes that a pipe can hold
LAST = 256  # reads, at the end: 16 MiB; something that was left running could write for ever
_now = SystemClock().now


class Attempt:
    """One attempt on its way through a child."""

    __slots__ = (
        *("_output", "end", "grant", "number", "outcome", "reuse", "sink", "timer", "was_terminated"),
        "worker",
    )

    def __init__(self, grant: Grant, reuse: bool, number: int, sink: Sink) -> None:
        self.grant, self.reuse, self.number, self.sink = grant, reuse, number, sink
        self.end: End | None = None  # how it shall end, once somebody wants it to end
        self.outcome: Outcome | None = None  # what the child says
        self.was_terminated = False  # by SIGTERM, from wherever
        self.timer: Timer | None = None  # its deadline
        self.worker: Worker | None = None
        self._output: Output | None = None

    @property
    def has_output(self) -> bool:
        """Whether it has said anything."""
        return self._output is not None

    @property
    def output(self) -> Output:
        """What it says, on its way to the sink; made when needed, because most small tasks say nothing."""
        if self._output is None:
            self._output = Output(self.grant, self.sink.log)
        return self._output


class Worker:
    """A child process: idle or at work on `attempt`; `is_leaving` once it shall have no other."""

    def __init__(self, pid: int, ends: Ends) -> None:
        self.pid = pid
        self.control, stdout, stderr = ends
        self.pipes: dict[int, Stream] = {stdout: "stdout", stderr: "stderr"}
        self.attempt: Attempt | None = None
        self.is_leaving = self.is_orphan = self.is_cut_off = self.has_exited = False
        self.complaint: str | None = None  # why it is killed, when that is not for the sake of its attempt
        self.timer: Timer | None = None  # until it is killed
        self.idle_since = 0.0
        self.unsent = bytearray()
        self._read: dict[Stream, int] = {"stdout": 0, "stderr": 0}  # bytes so far
        self._heard = dict(self._read)  # as many of them when we last listened
        self._frames: Frames[FromChild] = Frames(FROM_CHILD)

    def send(self, job: Job) -> None:
        """Sends a job, as far as the socket takes it. Raises OSError when the child is gone."""
        self.unsent += frame(job)
        try:
            while self.unsent:
                del self.unsent[: os.write(self.control, self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()
            raise

    def flush(self) -> None:
        """Sends what did not go out before; what nobody can take is dropped."""
        try:
            del self.unsent[: os.write(self.control, self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()

    def end_jobs(self) -> None:
        """Lets the child know that no other job will come: it leaves after the one that it has."""
        self.unsent.clear()
        if self.control >= 0:
            control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, self.control)
            with contextlib.suppress(OSError):  # it is gone
                control.shutdown(socket.SHUT_WR)
            control.detach()

    def hear(self, *, to_the_end: bool = False) -> list[FromChild]:
        """Messages that are there, or all of them. Sets `is_cut_off`, and `complaint` for garbage."""
        messages: list[FromChild] = []
        self._heard = dict(self._read)
        try:
            while not self.is_cut_off:
                data = os.read(self.control, READ_MAX)
                messages += self._frames.feed(data)
                self.is_cut_off = not data
                if not to_the_end:
                    break
        except BlockingIOError:
            pass
        except OSError:  # reset
            self.is_cut_off = True
        except ValueError as error:
            self.is_cut_off, self.complaint = True, f"the process of the task sent {error}"
        return messages

    def read(self, pipe: int, bytes_max: int = READ_MAX) -> bool | None:
        """Reads some output for the attempt; None when nothing is there, False at the end of all."""
        try:
            data = os.read(pipe, bytes_max)
        except BlockingIOError:
            return None
        self._read[self.pipes[pipe]] += len(data)
        if data and self.attempt is not None:  # else something that it left running speaks, for nobody
            self.attempt.output.feed(self.pipes[pipe], data, utc())
        return bool(data)

    def drain(self, reads: int) -> None:
        """Reads the output that is there now, at most so many times from each pipe."""
        for pipe in self.pipes:
            for _ in range(reads):
                if not self.read(pipe):
                    break

    def drain_before(self, said: Said) -> None:
        """Reads the output that came before a record, and little or nothing of what came after it."""
        if said.unread is None:
            self.drain(1)
            return
        for pipe, stream in self.pipes.items():
            size = self._heard[stream] + said.unread[stream == "stderr"] - self._read[stream]
            if size > 0:
                self.read(pipe, min(size, PIPE_MAX))

    def descriptors(self) -> list[int]:
        """Those that are still open."""
        return [*self.pipes] if self.control < 0 else [self.control, *self.pipes]

    def close(self, fd: int) -> None:
        """Closes one of the descriptors."""
        if fd == self.control:
            self.control, self.is_cut_off = -1, True
        else:
            del self.pipes[fd]
        os.close(fd)


def utc() -> datetime:
    """The time of what is said now."""
    return _now().utc
