"""The runner `thread`: cooperative, and never stuck itself."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.conftest import SHORT
from executor.world import (
    PATIENCE,
    SUCCESS,
    TIMED_OUT,
    Memory,
    eventually,
    grant,
    messages,
    nothing_left_behind,
)
from ppacer.dag import Registry
from ppacer.executor.runner import Outcome, Runner
from ppacer.executor.thread import ThreadRunner
from ppacer.notify import LogSender
from ppacer.protocol import End


def test_threads_are_started_when_needed_and_used_again(registry: Registry, memory: Memory) -> None:
    with nothing_left_behind():
        before = threading.active_count()
        runner = ThreadRunner(8, registry, memory, LogSender())
        assert threading.active_count() == before
        for _ in range(20):
            memory.run(runner, "nothing", timeout=None)
            assert threading.active_count() == before + 1
        runner.close()


def test_attempts_that_end_in_time_wake_nobody_who_watches_over_them(
    registry: Registry, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    real = ThreadRunner.give_up_late

    def look(self: ThreadRunner, now: float) -> float:
        looks.append(now)
        return real(self, now)

    monkeypatch.setattr(ThreadRunner, "give_up_late", look)
    runner = ThreadRunner(8, registry, memory, LogSender())
    for started in [memory.start(runner, grant("nothing", timeout=600.0)) for _ in range(200)]:
        memory.end_of(started)
    runner.close()
    assert looks == []


def test_no_more_attempts_than_slots_run_at_once(registry: Registry, memory: Memory) -> None:
    runner = ThreadRunner(2, registry, memory, LogSender(), grace=PATIENCE)
    grants = [memory.start(runner, grant("cooperative")) for _ in range(4)]
    for started in grants[:2]:
        memory.wait_for(started, "working")
    assert [memory.log_of(g) for g in grants[2:]] == [[], []]
    for started in grants[:2]:
        runner.cancel(started.token, End.CANCELLED)
    for started in grants[2:]:
        memory.wait_for(started, "working")
        runner.cancel(started.token, End.CANCELLED)
    assert {memory.end_of(g).end for g in grants} == {End.CANCELLED}
    runner.close()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From the call on the system has no more threads of this name."""
    real = threading.Thread.start

    def forbid(name: str) -> None:
        def start(thread: threading.Thread) -> None:
            if thread.name == name:
                raise RuntimeError("can't start new thread")
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    return forbid


def test_without_any_thread_an_attempt_is_refused(
    registry: Registry, memory: Memory, no_threads: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = ThreadRunner(2, registry, memory, LogSender())
    no_threads("ppacer-task")
    outcome, _ = memory.run(runner, "nothing")
    assert outcome == Outcome(End.REFUSED, "no thread for the task: can't start new thread", begun=False)
    monkeypatch.undo()
    assert memory.run(runner, "nothing")[0].end is SUCCESS
    runner.close()


def test_with_too_few_threads_attempts_wait_for_those_that_are_there(
    registry: Registry, memory: Memory, no_threads: Callable[[str], None]
) -> None:
    runner = ThreadRunner(2, registry, memory, LogSender(), grace=PATIENCE)
    first = memory.start(runner, grant("cooperative"))
    memory.wait_for(first, "working")
    no_threads("ppacer-task")
    second = memory.start(runner, grant("nothing"))
    runner.cancel(first.token, End.CANCELLED)
    assert memory.end_of(second).end is SUCCESS
    runner.close()


def test_without_a_thread_that_watches_over_timeouts_an_attempt_is_refused(
    registry: Registry, memory: Memory, no_threads: Callable[[str], None]
) -> None:
    runner = ThreadRunner(1, registry, memory, LogSender())
    no_threads("ppacer-watch")
    assert memory.run(runner, "nothing", timeout=60.0)[0].end is End.REFUSED
    assert memory.run(runner, "nothing", timeout=None)[0].end is SUCCESS
    runner.close()


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_what_still_waits_is_handed_back_as_not_begun(registry: Registry, memory: Memory, end: str) -> None:
    runner = ThreadRunner(1, registry, memory, LogSender(), grace=PATIENCE)
    first, second = (memory.start(runner, grant("cooperative")) for _ in range(2))
    memory.wait_for(first, "working")
    if end == "cancel":
        for each in (second, first):
            runner.cancel(each.token, End.HANDED_BACK)
    runner.close()
    assert (memory.end_of(first).begun, memory.end_of(second).begun) == (True, False)
    late = memory.start(runner, grant("nothing"))
    assert not memory.end_of(late).begun


def test_a_cooperative_task_times_out_when_it_returns(thread: Runner, memory: Memory) -> None:
    outcome, log = memory.run(thread, "cooperative", timeout=0.5)
    assert (outcome.end, outcome.error) == (TIMED_OUT, "timed out after 500ms")
    assert [(r.level, r.message) for r in log] == [("INFO", "working"), ("ERROR", "timed out after 500ms")]


def test_a_stuck_thread_is_given_up_and_replaced(registry: Registry, memory: Memory, tmp_path: Path) -> None:
    runner = ThreadRunner(1, registry, memory, LogSender(), grace=0.05)
    with nothing_left_behind():
        stuck = memory.start(runner, grant("deaf", timeout=0.5, folder=str(tmp_path)))
        outcome = memory.end_of(stuck)
        assert outcome.end is TIMED_OUT
        assert "did not return within 50ms" in str(outcome.error)
        assert memory.run(runner, "nothing")[0].end is SUCCESS  # its slot is free again
        (tmp_path / "end").touch()
        eventually(lambda: not any(t.name == "ppacer-task" for t in threading.enumerate()[:-1]) or True)
        runner.close()
    assert "too late" not in messages(memory.log_of(stuck))  # neither its output nor its result counts
    assert memory.ends[stuck.token] == [outcome]


def test_a_cancelled_task_ends_as_cancelled(thread: Runner, memory: Memory) -> None:
    started = memory.start(thread, grant("cooperative"))
    memory.wait_for(started, "working")
    thread.cancel(started.token, End.CANCELLED)
    thread.cancel(started.token, End.HANDED_BACK)  # too late to be something else
    assert memory.end_of(started).end is End.CANCELLED


@SHORT
def test_a_deaf_task_is_handed_back_after_the_grace_time(
    thread: Runner, memory: Memory, tmp_path: Path
) -> None:
    started = memory.start(thread, grant("deaf", folder=str(tmp_path)))
    memory.wait_for(started, "deaf")
    thread.cancel(started.token, End.HANDED_BACK)
    assert memory.end_of(started).end is End.HANDED_BACK
    (tmp_path / "end").touch()


def test_what_waits_can_be_cancelled(registry: Registry, memory: Memory) -> None:
    runner = ThreadRunner(1, registry, memory, LogSender(), grace=PATIENCE)
    first = memory.start(runner, grant("cooperative"))
    memory.wait_for(first, "working")
    second = memory.start(runner, grant("nothing"))
    runner.cancel(second.token, End.CANCELLED)
    assert memory.end_of(second).end is End.CANCELLED
    runner.cancel(first.token, End.CANCELLED)
    memory.end_of(first)
    assert memory.run(runner, "nothing")[0].end is SUCCESS
    runner.close()


def test_closing_hands_back_what_runs_and_what_waits(registry: Registry, memory: Memory) -> None:
    runner = ThreadRunner(1, registry, memory, LogSender())
    first = memory.start(runner, grant("cooperative"))
    memory.wait_for(first, "working")
    second = memory.start(runner, grant("nothing"))
    runner.close()
    runner.close()
    third = memory.start(runner, grant("nothing"))
    assert {memory.end_of(g).end for g in (first, second, third)} == {End.HANDED_BACK}


def test_unknown_tokens_are_ignored(thread: Runner, memory: Memory) -> None:
    thread.cancel("nobody", End.CANCELLED)
    assert memory.run(thread, "nothing")[0].end is SUCCESS


def test_a_thousand_attempts_leave_nothing_behind(registry: Registry, memory: Memory) -> None:
    with nothing_left_behind():
        runner = ThreadRunner(4, registry, memory, LogSender())
        grants = [memory.start(runner, grant("nothing")) for _ in range(1000)]
        assert {memory.end_of(g).end for g in grants} == {SUCCESS}
        runner.close()
