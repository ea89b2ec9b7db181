"""The runner `async`: one loop for all, which no task can end."""

import threading
from pathlib import Path

import pytest

from executor.conftest import SHORT
from executor.world import FAILED, SUCCESS, TIMED_OUT, Memory, grant, messages, nothing_left_behind
from ppacer.dag import Registry
from ppacer.executor.loop import AsyncRunner
from ppacer.executor.runner import Runner
from ppacer.notify import LogSender
from ppacer.protocol import End


def test_many_coroutines_share_a_thread(registry: Registry, memory: Memory) -> None:
    with nothing_left_behind():
        runner = AsyncRunner(registry, memory, LogSender())
        before = threading.active_count()
        grants = [memory.start(runner, grant("dreams", seconds=0.2)) for _ in range(500)]
        assert threading.active_count() == before
        assert {(memory.end_of(g).end, memory.end_of(g).result) for g in grants} == {(SUCCESS, '"dreamt"')}
        assert messages(memory.log_of(grants[7])) == ["dreaming"]
        runner.close()


def test_a_task_that_is_no_coroutine_is_refused(loop: Runner, memory: Memory) -> None:
    for task_id in ("nothing", "plain"):
        outcome, _ = memory.run(loop, task_id)
        assert outcome.end is End.REFUSED
        assert "async def" in str(outcome.error)


def test_a_timeout_cancels_the_coroutine(loop: Runner, memory: Memory) -> None:
    outcome, log = memory.run(loop, "dreams", timeout=1.0, seconds=600)
    assert outcome.end is TIMED_OUT
    assert str(outcome.error).startswith("timed out after 1s\n")
    assert [r.level for r in log] == ["INFO", "ERROR"]


def test_ten_timeouts_at_once(loop: Runner, memory: Memory) -> None:
    grants = [memory.start(loop, grant("dreams", timeout=0.1, seconds=600)) for _ in range(10)]
    assert {memory.end_of(g).end for g in grants} == {TIMED_OUT}


@pytest.mark.parametrize("end", [End.CANCELLED, End.HANDED_BACK])
def test_cancelling_ends_the_coroutine(loop: Runner, memory: Memory, end: End) -> None:
    started = memory.start(loop, grant("dreams", seconds=600))
    memory.wait_for(started, "dreaming")
    loop.cancel(started.token, end)
    assert memory.end_of(started).end is end


def test_cancelled_before_its_first_step(loop: Runner, memory: Memory) -> None:
    started = memory.start(loop, grant("dreams", seconds=600))
    loop.cancel(started.token, End.CANCELLED)
    assert memory.end_of(started).end is End.CANCELLED


@SHORT
def test_a_task_that_swallows_cancellation_is_left_to_itself(
    loop: Runner, memory: Memory, tmp_path: Path
) -> None:
    started = memory.start(loop, grant("sleepless", timeout=1.0, folder=str(tmp_path)))
    outcome = memory.end_of(started)
    assert outcome.end is TIMED_OUT
    assert "did not end within 300ms" in str(outcome.error)
    (tmp_path / "end").touch()
    assert memory.run(loop, "dreams")[0].end is SUCCESS


def test_failures_are_told(loop: Runner, memory: Memory) -> None:
    outcome, log = memory.run(loop, "fails_async")
    assert str(outcome.error).startswith("ValueError: async boom")
    assert outcome.end is FAILED
    assert log[-1].message == outcome.error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_task_ends_the_loop(loop: Runner, memory: Memory) -> None:
    bystander = memory.start(loop, grant("dreams", seconds=0.2))
    assert memory.run(loop, "fails_async", exit=True)[0].end is FAILED
    assert memory.run(loop, "stops_loop")[0].result == '"survived True"'
    assert memory.end_of(bystander).end is SUCCESS


def test_closing_hands_back(registry: Registry, memory: Memory, tmp_path: Path) -> None:
    with nothing_left_behind():
        runner = AsyncRunner(registry, memory, LogSender(), grace=0.1)
        asleep = memory.start(runner, grant("dreams", seconds=600))
        memory.wait_for(asleep, "dreaming")
        runner.close()
        runner.close()
        late = memory.start(runner, grant("dreams"))
        runner.cancel(late.token, End.CANCELLED)
    assert {memory.end_of(g).end for g in (asleep, late)} == {End.HANDED_BACK}
