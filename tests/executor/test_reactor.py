"""The loop and its workers, driven by hand: what real processes show only now and then."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from executor.world import SUCCESS, Memory, grant, messages, nothing_left_behind
from ppacer.executor.frames import Ended, Job, Said, frame
from ppacer.executor.memory import Usage
from ppacer.executor.posix import unread
from ppacer.executor.reactor import Reactor
from ppacer.executor.runner import Outcome
from ppacer.executor.staff import Staff
from ppacer.executor.warm import WarmParent
from ppacer.executor.worker import Attempt, Worker, utc


@contextmanager
def reactor() -> Iterator[Reactor]:
    with nothing_left_behind():
        loop = Reactor()
        yield loop
        loop.close()


def rounds(loop: Reactor, count: int) -> None:
    """Lets the loop run for some rounds."""

    def steps() -> Iterator[None]:
        for _ in range(count):
            yield
        loop.stop()

    loop._is_stopped = False
    loop.do_slowly(steps())
    loop.run()


def test_a_descriptor_forgotten_in_the_same_round_is_not_called() -> None:
    """Its number may already belong to another file."""
    with reactor() as loop:
        (one, into_one), (two, into_two) = os.pipe(), os.pipe()
        called: list[str] = []
        fresh: list[int] = []

        def replace(other: int) -> None:
            called.append("old")
            for fd in (one, two):
                loop.forget(fd)
            os.close(other)
            fresh.extend(os.pipe())
            assert fresh[0] == other
            loop.watch(other, lambda: called.append("new"))

        loop.watch(one, lambda: replace(two))
        loop.watch(two, lambda: replace(one))
        os.write(into_one, b"x")
        os.write(into_two, b"x")
        rounds(loop, 3)
        assert called == ["old"]
        loop.forget(fresh[0])
        for fd in {one, two, into_one, into_two, *fresh}:
            os.close(fd)


def test_a_descriptor_forgotten_when_it_was_read_is_not_written_to() -> None:
    with reactor() as loop:
        one, other = socket.socketpair()
        called: list[str] = []

        def read() -> None:
            called.append("read")
            loop.forget(one.fileno())

        loop.watch(one.fileno(), read, lambda: called.append("write"))
        other.send(b"x")
        rounds(loop, 3)
        assert called == ["read"]
        one.close()
        other.close()


def test_a_descriptor_that_cannot_be_watched_is_not_watched() -> None:
    with reactor() as loop:
        out, into = os.pipe()
        os.close(into)
        os.close(out)
        with pytest.raises(OSError):
            loop.watch(out, lambda: None)
        again, into = os.pipe()
        assert again == out
        called: list[str] = []
        loop.watch(again, lambda: called.append(str(os.read(again, 1))))
        os.write(into, b"x")
        rounds(loop, 2)
        assert called == ["b'x'"]
        loop.forget(again)
        os.close(again)
        os.close(into)


def test_an_error_in_one_action_does_not_end_the_loop() -> None:
    with reactor() as loop:
        done: list[str] = []

        def bad() -> None:
            raise RuntimeError("bad")

        loop.call(bad)
        loop.call(lambda: done.append("call"))
        loop.timers.add(0.0, bad)
        loop.timers.add(0.0, lambda: done.append("timer"))
        rounds(loop, 3)
        assert done == ["call", "timer"]


def test_slow_work_lets_others_have_their_turn() -> None:
    with reactor() as loop:
        done: list[Any] = []

        def steps() -> Iterator[None]:
            for number in range(3):
                loop.call(lambda: done.append("call"))
                done.append(number)
                yield

        loop.do_slowly(steps())
        rounds(loop, 5)
        assert done == [0, "call", 1, "call", 2, "call"]


def test_calls_after_the_end_are_refused_and_those_before_are_done() -> None:
    with nothing_left_behind():
        loop, done = Reactor(), list[int]()
        loop.call(lambda: done.append(1))
        loop.close()
        assert done == [1]
        assert not loop.call(lambda: done.append(2))


class Foreman:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.ends: list[Outcome] = []

    def look_round(self) -> None: ...

    def refused(self, why: str) -> None: ...

    def ended(self, worker: Worker, attempt: Attempt, message: Ended) -> bool:
        self.ends.append(message.outcome)
        for batch in attempt.output.finish(utc()):
            attempt.sink.log(batch)
        worker.attempt = None
        return True

    def gone(self, worker: Worker, attempt: Attempt, status: int | None, usage: Usage | None) -> None:
        self.ends.append(Outcome(SUCCESS, f"gone {status}"))


class Bench:
    """A staff with one worker, whose ends we hold; nothing runs unless it is told to."""

    def __init__(self, loop: Reactor) -> None:
        self.memory, self.foreman = Memory(), Foreman()
        ours, self.parent = socket.socketpair()
        self.staff = Staff(loop, WarmParent(0, ours, lambda: True, None), self.foreman, grace=9, idle=9)
        self.control, theirs = socket.socketpair()
        out, self.stdout = os.pipe()
        err, self.stderr = os.pipe()
        control = theirs.detach()
        for fd in (control, out, err):
            os.set_blocking(fd, False)
        self.staff.came(4711, (control, out, err))
        worker = self.staff.take(only_fresh=True)
        assert worker is not None
        self.worker = worker

    def begin(self) -> Attempt:
        started = grant("a")
        attempt = Attempt(started, True, 0, self.memory)
        assert self.staff.begin(self.worker, attempt, Job(started, None, last=False))
        return attempt

    def say(self, *messages: Said | Ended) -> None:
        self.control.sendall(b"".join(map(frame, messages)))

    def close(self) -> None:
        self.staff.close()
        for fd in (self.stdout, self.stderr):
            os.close(fd)
        self.control.close()
        self.parent.close()


def test_output_before_the_result_belongs_to_the_attempt_whatever_is_heard_first() -> None:
    with reactor() as loop:
        bench = Bench(loop)
        attempt = bench.begin()
        os.write(bench.stdout, b"first\nunfinished")
        os.write(bench.stderr, b"bad\n")
        bench.say(Ended(Outcome(SUCCESS), leaving=False))
        bench.staff._hear(bench.worker)
        assert sorted(messages(bench.memory.log_of(attempt.grant))) == ["bad", "first", "unfinished"]
        os.write(bench.stdout, b"late\n")  # something that the task left running
        bench.staff._read(bench.worker, next(iter(bench.worker.pipes)))
        bench.begin()
        bench.staff.close()
        assert "late" not in str(bench.memory.records)
        bench.close()


def test_pipes_that_are_said_to_be_empty_are_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls of the system for each task that prints nothing."""
    with reactor() as loop:
        bench = Bench(loop)
        monkeypatch.setattr(bench.worker, "read", lambda *_: pytest.fail("a look into a pipe"))
        bench.begin()
        bench.say(Ended(Outcome(SUCCESS), leaving=False, unread=(0, 0)))
        bench.staff._hear(bench.worker)
        assert bench.foreman.ends == [Outcome(SUCCESS)]
        monkeypatch.undo()
        bench.close()


@pytest.mark.parametrize("first", ["record", "output"])
def test_records_and_output_keep_their_order_whichever_is_noticed_first(first: str) -> None:
    with reactor() as loop:
        bench = Bench(loop)
        attempt = bench.begin()
        for number in range(3):
            os.write(bench.stdout, f"{number} before\n".encode())
            bench.say(Said(utc(), "INFO", f"{number} said", None, unread=(unread(bench.stdout), 0)))
            os.write(bench.stdout, f"{number} after\n".encode())
        if first == "record":
            bench.staff._hear(bench.worker)
        bench.staff._read(bench.worker, next(iter(bench.worker.pipes)))
        bench.say(Ended(Outcome(SUCCESS), leaving=False))
        bench.staff._hear(bench.worker)
        expected = [f"{number} {what}" for number in range(3) for what in ("before", "said", "after")]
        assert messages(bench.memory.log_of(attempt.grant)) == expected
        bench.close()


def test_a_result_that_is_there_counts_although_the_child_is_gone() -> None:
    with reactor() as loop:
        bench = Bench(loop)
        attempt = bench.begin()
        os.write(bench.stdout, b"words\n")
        said = [Said(utc(), "INFO", f"m{n}", None) for n in range(5000)]  # more than one read takes
        for at in range(0, 5000, 100):
            bench.control.setblocking(False)
            try:
                bench.say(*said[at : at + 100])
            except BlockingIOError:
                break
        bench.staff.went(4711, signal.SIGKILL, Usage(0, 0.0))
        assert messages(bench.memory.log_of(attempt.grant))[:3] == ["words", "m0", "m1"]
        assert bench.foreman.ends == [Outcome(SUCCESS, "gone 9")]
        bench.close()


def test_garbage_from_a_child_is_its_end() -> None:
    with reactor() as loop:
        bench = Bench(loop)
        bench.begin()
        bench.control.sendall(b"\xff" * 100)
        bench.staff._hear(bench.worker)
        assert "frame" in str(bench.worker.complaint)
        assert bench.parent.recv(4096) != b""  # the order to kill it
        bench.staff.went(4711, signal.SIGKILL, Usage(0, 0.0))
        assert bench.foreman.ends == [Outcome(SUCCESS, "gone 9")]
        bench.close()
