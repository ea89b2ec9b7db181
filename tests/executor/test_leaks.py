"""Nothing is left behind: no descriptor, no zombie, no thread, no process."""

import os
import signal
from pathlib import Path

import pytest

from executor.world import (
    CASES,
    PATIENCE,
    SUCCESS,
    Memory,
    children_of,
    eventually,
    fork,
    grant,
    is_running,
    nothing_left_behind,
    open_files,
)
from ppacer.dag import Registry
from ppacer.errors import ConfigError
from ppacer.executor.children import Children
from ppacer.executor.warm import WarmParent
from ppacer.protocol import End


def test_closing_leaves_nothing_behind(registry: Registry, memory: Memory) -> None:
    with nothing_left_behind():
        children = Children(fork(registry), memory)
        for _ in range(10):
            memory.run(children.process, "shout", word="x")
            memory.run(children.pool, "shout", word="x")
        children.close()
        children.close()


def test_closing_kills_what_runs_and_hands_it_back(
    registry: Registry, memory: Memory, tmp_path: Path
) -> None:
    with nothing_left_behind():
        children = Children(fork(registry), memory, grace=PATIENCE)
        stubborn = memory.start(children.process, grant("stubborn", folder=str(tmp_path)))
        pids = [int(_text_of(tmp_path / name)) for name in ("task", "child", "grandchild")]
        asleep = [memory.start(children.pool, grant("sleeps")) for _ in range(3)]
        for started in asleep:
            memory.wait_for(started, "sleeping")
        children.close()
        assert not any(map(is_running, pids))
        late = memory.start(children.pool, grant("nothing"))
        children.cancel(late.token, End.CANCELLED)
    assert {memory.end_of(g).end for g in (stubborn, *asleep, late)} == {End.HANDED_BACK}


def _text_of(path: Path) -> str:
    eventually(path.exists, str(path))
    return path.read_text()


def test_a_warm_parent_nobody_used_is_closed(registry: Registry) -> None:
    with nothing_left_behind():
        warm = fork(registry)
        warm.close()
        warm.close()


def test_a_thousand_attempts_leave_no_descriptor_and_no_zombie(children: Children, memory: Memory) -> None:
    memory.run(children.process, "nothing")
    (warm,) = children_of(os.getpid())
    before = files_of(warm)
    for runner, count in ((children.pool, 1000), (children.process, 200)):
        memory.run(runner, "nothing")
        files = len(open_files())
        grants: list[str] = []
        for _ in range(count // 20):
            started = [memory.start(runner, grant("nothing")) for _ in range(20)]
            assert {memory.end_of(g).end for g in started} == {SUCCESS}
            grants += [g.token for g in started]
        eventually(lambda f=files: len(open_files()) <= f + 3 * 25, "the end of all descriptors")  # type: ignore[misc]  # a bound variable
    eventually(lambda: all(map(is_running, children_of(warm))), "the end of all zombies")
    assert len(children_of(warm)) < 50
    eventually(lambda: files_of(warm) <= before, "the end of the warm parent's descriptors")


def files_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_child_has_only_its_own_descriptors(children: Children, memory: Memory) -> None:
    for _ in range(5):
        asleep = memory.start(children.process, grant("sleeps", seconds=60))
        memory.wait_for(asleep, "sleeping")
    (warm,) = children_of(os.getpid())
    # stdin, stdout, stderr and control where the warm parent has stdin … stderr, socket and two for signals
    eventually(lambda: {files_of(pid) for pid in children_of(warm)} == {files_of(warm) - 2}, "that")


def test_forking_beside_threads_is_refused(registry: Registry, children: Children) -> None:
    with pytest.raises(ConfigError, match="threads"):
        WarmParent.fork(registry)


def test_when_the_warm_parent_dies_another_takes_its_place(
    registry: Registry, memory: Memory, tmp_path: Path
) -> None:
    first = fork(registry)
    assert first.hold(tmp_path / "lock", PATIENCE)
    children = Children(first, memory, grace=0.3)
    asleep = [memory.start(runner, grant("sleeps")) for runner in (children.process, children.pool)]
    stubborn = memory.start(children.process, grant("stubborn", folder=str(tmp_path)))
    for started in asleep:
        memory.wait_for(started, "sleeping")
    pids = [int(_text_of(tmp_path / name)) for name in ("task", "child", "grandchild")]
    (warm,) = children_of(os.getpid())
    os.kill(warm, signal.SIGKILL)
    for started in (*asleep, stubborn):
        outcome = memory.end_of(started)
        assert outcome.end is End.LOST
        assert "died" in str(outcome.error)
    eventually(lambda: not any(map(is_running, pids)), "the end of the task's processes")
    assert memory.run(children.process, "nothing")[0].end is SUCCESS
    assert memory.run(children.pool, "shout", word="again")[0].end is SUCCESS
    (successor,) = children_of(os.getpid())
    assert successor != warm
    other = WarmParent.spawn(CASES)
    other.wait_loaded()
    assert not other.hold(tmp_path / "lock", 0.1)  # the successor holds it
    children.close()
    assert other.hold(tmp_path / "lock", PATIENCE)
    other.close()


def test_without_a_file_there_is_no_successor_and_a_sentence(registry: Registry, memory: Memory) -> None:
    with nothing_left_behind():
        children = Children(fork(registry, None), memory)
        memory.run(children.pool, "nothing")
        (warm,) = children_of(os.getpid())
        os.kill(warm, signal.SIGKILL)
        outcome = eventually(
            lambda: (o := memory.run(children.pool, "nothing")[0]).end is End.REFUSED and o, "a refusal"
        )
        assert "started anew" in outcome.error
        children.close()


def test_a_successor_whose_file_is_broken_refuses_with_a_sentence(
    memory: Memory, tmp_path: Path, registry: Registry
) -> None:
    file = tmp_path / "dags.py"
    file.write_text("raise RuntimeError('edited badly')")
    with nothing_left_behind():
        children = Children(fork(registry, file), memory)
        memory.run(children.pool, "nothing")
        (warm,) = children_of(os.getpid())
        os.kill(warm, signal.SIGKILL)
        outcome = eventually(
            lambda: (o := memory.run(children.pool, "nothing")[0]).end is End.REFUSED and o, "a refusal"
        )
        assert "edited badly" in outcome.error
        file.write_text(CASES.read_text())
        eventually(lambda: memory.run(children.pool, "nothing")[0].end is SUCCESS, "the repair")
        children.close()
