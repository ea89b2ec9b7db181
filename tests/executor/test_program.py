"""Whole programs: what a killed one leaves (nothing), the lock, and the fresh interpreter."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
    messages,
    nothing_left_behind,
)
from ppacer.dag import Registry
from ppacer.errors import ConfigError, LoadError
from ppacer.executor.children import Children
from ppacer.executor.warm import WarmParent

PROGRAM = textwrap.dedent(
    """
    import sys, threading
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from executor.world import CASES, PATIENCE, Memory, grant
    from ppacer.executor.children import Children
    from ppacer.executor.warm import WarmParent
    from ppacer.load import load_registry

    folder, lock = sys.argv[1:3]
    warm = WarmParent.fork(load_registry(CASES), file=CASES)
    print("holds" if warm.hold(lock, PATIENCE) else "waits", flush=True)
    memory = Memory()
    children = Children(warm, memory)
    for task_id in sys.argv[3:]:
        memory.start(children.process, grant(task_id, folder=folder, timeout=None))
    print("started", flush=True)
    sys.stdin.read()
    children.close()
    memory.check()
    print("closed", flush=True)
    """
).format(tests=str(CASES.parent.parent))


FORK = """
import os, time
while len(children._staff._workers) < 3:  # a task and two spares: a copy of everything
    time.sleep(0.01)
if os.fork() == 0:
    time.sleep(600)
"""


@contextmanager
def program(folder: Path, lock: Path, *tasks: str, code: str = PROGRAM) -> Iterator["subprocess.Popen[str]"]:
    """A program with running tasks; killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(lock), *tasks],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def pid_in(path: Path) -> int:
    eventually(path.exists, str(path))
    return int(path.read_text())


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_a_killed_program_leaves_nothing_running(tmp_path: Path, lock: Path) -> None:
    with program(tmp_path, lock, "stubborn", "daemons") as process:
        assert (line(process), line(process)) == ("holds", "started")
        pids = [pid_in(tmp_path / name) for name in ("child", "grandchild", "forked")]
        pids += [pid_in(tmp_path / f"daemon{n}") for n in range(3)]
        (warm,) = children_of(process.pid)
        pids += [warm, *children_of(warm)]
        assert all(map(is_running, pids))
        process.kill()
        process.wait()
        eventually(lambda: not any(map(is_running, pids)), "the end of all processes")


def test_a_successor_waits_until_the_last_process_is_gone(tmp_path: Path, lock: Path) -> None:
    with program(tmp_path, lock, "stubborn", "daemons") as first:
        assert (line(first), line(first)) == ("holds", "started")
        pids = [pid_in(tmp_path / name) for name in ("child", "grandchild", "forked", "daemon0")]
        (warm,) = children_of(first.pid)
        os.kill(warm, signal.SIGSTOP)  # so that it does its work late
        first.kill()
        first.wait()
        with program(tmp_path, lock) as second:
            said: list[str] = []
            reader = threading.Thread(target=lambda: said.append(line(second)))
            reader.start()
            reader.join(0.3)
            assert said == []
            assert all(map(is_running, pids))
            os.kill(warm, signal.SIGCONT)
            reader.join()
            assert said == ["holds"]
            assert not any(map(is_running, pids))


def test_the_lock_tells_whether_it_was_got(registry: Registry, tmp_path: Path, lock: Path) -> None:
    with nothing_left_behind():
        first, second = fork(registry), fork(registry)
        assert first.hold(lock, PATIENCE)
        assert not second.hold(lock, 0.1)
        first.close()
        assert second.hold(lock, PATIENCE)
        with pytest.raises(ConfigError, match="lock"):
            fork_and_hold(registry, tmp_path / "no" / "lock")
        second.close()


def test_waiting_for_the_lock_can_be_given_up(registry: Registry, lock: Path) -> None:
    first, second = fork(registry), fork(registry)
    asked: list[int] = []

    def give_up() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert first.hold(lock, PATIENCE)
    assert not second.hold(lock, 1e6, give_up)
    first.close()
    second.close()


def fork_and_hold(registry: Registry, lock: Path) -> None:
    warm = fork(registry)
    try:
        warm.hold(lock, PATIENCE)
    finally:
        warm.close()


def test_a_waiting_warm_parent_notices_the_end_of_its_program(tmp_path: Path, lock: Path) -> None:
    with program(tmp_path, lock) as first:
        assert line(first) == "holds"
        with program(tmp_path, lock) as second:
            (warm,) = eventually(lambda: children_of(second.pid), "the second warm parent")
            second.kill()
            second.wait()
            eventually(lambda: not is_running(warm), "its end")
        assert first.poll() is None


def test_killing_program_and_warm_parent_at_once_ends_the_tasks(tmp_path: Path, lock: Path) -> None:
    with program(tmp_path, lock, "sleeps", "cooperative") as process:
        assert (line(process), line(process)) == ("holds", "started")
        (warm,) = children_of(process.pid)
        pids = eventually(lambda: (p := children_of(warm)) and len(p) == 4 and p, "two tasks and two spares")
        os.kill(process.pid, signal.SIGSTOP)  # so that it cannot help
        os.kill(warm, signal.SIGKILL)
        process.kill()
        eventually(lambda: not any(map(is_running, pids)), "the end of all processes")


def test_ctrl_c_reaches_only_the_program(tmp_path: Path, lock: Path) -> None:
    with program(tmp_path, lock, "sleeps") as process:
        assert (line(process), line(process)) == ("holds", "started")
        (warm,) = children_of(process.pid)
        pids = eventually(lambda: children_of(warm), "a child")
        assert os.getsid(warm) == os.getpgid(warm) == warm  # away from the terminal
        for pid in (warm, *pids):
            os.kill(pid, signal.SIGINT)
            os.kill(warm, signal.SIGTERM)
        assert process.stdin is not None
        process.stdin.close()
        assert line(process) == "closed"  # and it was still there to be closed
        assert process.wait() == 0


def test_the_warm_parent_goes_even_if_its_socket_is_held_open(tmp_path: Path, lock: Path) -> None:
    """A process that some thread of the main program forked has copies of all its descriptors."""
    code = PROGRAM.replace('print("started", flush=True)', FORK + 'print("started", flush=True)')
    with program(tmp_path, lock, "sleeps", code=code) as process:
        assert (line(process), line(process)) == ("holds", "started")
        copy, warm = sorted(children_of(process.pid), key=lambda pid: os.getsid(pid) == pid)
        pids = eventually(lambda: (p := children_of(warm)) and len(p) == 3 and p, "a task and two spares")
        try:
            process.kill()
            process.wait()
            eventually(lambda: not any(map(is_running, (warm, *pids))), "the end of the warm parent")
        finally:
            os.kill(copy, signal.SIGKILL)


# --- the fresh interpreter ------------------------------------------------------------------------------


def test_a_fresh_interpreter_does_the_same(memory: Memory, lock: Path) -> None:
    with nothing_left_behind():
        warm = WarmParent.spawn(CASES)
        warm.wait_loaded()
        assert warm.hold(lock, PATIENCE)
        children = Children(warm, memory)
        for runner in (children.process, children.pool):
            assert memory.run(runner, "echo", value=["ü"])[0].result == '["ü"]'
            assert messages(memory.run(runner, "subprocesses")[1], "stderr") == ["bad from sh"]
        children.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module", "no_such_module"),
        ("1/0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
        ("x = 1", "no dag"),
    ],
)
def test_a_file_that_does_not_import_is_told(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "dags.py"
    file.write_text(text)
    with nothing_left_behind():
        warm = WarmParent.spawn(file)
        with pytest.raises(LoadError, match=words):
            warm.wait_loaded()
        warm.close()


def test_a_file_that_ends_its_interpreter_is_told(tmp_path: Path) -> None:
    file = tmp_path / "dags.py"
    file.write_text("import os; os._exit(1)")
    with nothing_left_behind():
        warm = WarmParent.spawn(file)
        with pytest.raises(LoadError, match="ended"):
            warm.wait_loaded()
        warm.close()


def test_the_environment_of_tasks_is_that_of_the_program(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dags.py"
    file.write_text(
        "import os, sys\nfrom ppacer.dag import Dag, task\n"
        "@task\ndef env(): return [os.environ.get('PYTHONPATH'), os.environ['MINE'], sys.argv]\n"
        "with Dag('cases') as d: env()\n"
    )
    monkeypatch.setenv("MINE", "ü")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    children = Children(WarmParent.spawn(file), memory)
    outcome = memory.run(children.process, "env")[0]
    children.close()
    assert outcome.end is SUCCESS
    for part in ("[null,", '"ü"', sys.argv[0]):
        assert part in str(outcome.result)


def test_starts_before_it_is_loaded_wait(memory: Memory) -> None:
    with nothing_left_behind():
        children = Children(WarmParent.spawn(CASES), memory)
        grants = [memory.start(children.pool, grant("nothing")) for _ in range(3)]
        assert {memory.end_of(g).end for g in grants} == {SUCCESS}
        children.close()
