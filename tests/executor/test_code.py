"""Which code an attempt ran, and the processor time it took, however it came to its end."""

from pathlib import Path

import pytest

from executor.conftest import SHORT
from executor.world import FAILED, SUCCESS, Memory
from ppacer.dag import Registry
from ppacer.executor.children import Children
from ppacer.executor.runner import Runner
from ppacer.executor.warm import WarmParent
from ppacer.load import load_registry
from ppacer.protocol import End

BEFORE = "from ppacer.dag import Dag, TaskContext, task\n@task\ndef edited(): return 1\n"
AFTER = "import os\n" + BEFORE.replace("return 1", "return 2")
DAG = "@task\ndef dies(): os.abort()\nwith Dag('cases') as cases: edited(); dies()\n"


def code_of(registry: Registry, task_id: str) -> str:
    """The hash that is kept of the task when the dags are read."""
    return registry["cases"].bodies[task_id].hash


@pytest.fixture(params=["process", "pool", "thread"])
def any_runner(request: pytest.FixtureRequest) -> Runner:
    found: Runner = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("task_id", ["nothing", "fails", "not_json", "plain"])
def test_the_code_that_ran_is_told(
    any_runner: Runner, memory: Memory, registry: Registry, task_id: str
) -> None:
    assert memory.run(any_runner, task_id)[0].body_hash == code_of(registry, task_id)


def test_a_coroutine_tells_its_code(loop: Runner, memory: Memory, registry: Registry) -> None:
    assert memory.run(loop, "dreams", seconds=0)[0].body_hash == code_of(registry, "dreams")


def test_the_code_of_a_dead_process_is_told_for_it(child: Runner, memory: Memory, registry: Registry) -> None:
    outcome, _ = memory.run(child, "dies", how="segfault")
    assert (outcome.end, outcome.body_hash) == (FAILED, code_of(registry, "dies"))


@SHORT
def test_the_code_of_what_had_to_be_killed_is_told(
    child: Runner, memory: Memory, registry: Registry, tmp_path: Path
) -> None:
    outcome, _ = memory.run(child, "stubborn", timeout=0.1, folder=str(tmp_path))
    assert (outcome.end, outcome.body_hash) == (End.TIMED_OUT, code_of(registry, "stubborn"))


@SHORT
def test_the_code_of_what_was_left_to_itself_is_told(
    thread: Runner, memory: Memory, registry: Registry, tmp_path: Path
) -> None:
    outcome, _ = memory.run(thread, "deaf", timeout=0.1, folder=str(tmp_path))
    Path(tmp_path, "end").touch()
    assert (outcome.end, outcome.body_hash) == (End.TIMED_OUT, code_of(registry, "deaf"))


def test_what_was_not_begun_ran_no_code(any_runner: Runner, memory: Memory) -> None:
    outcome, _ = memory.run(any_runner, "gone")
    assert (outcome.end, outcome.begun, outcome.body_hash) == (End.REFUSED, False, None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dags.py"
    path.write_text("import os\n" + BEFORE + DAG)
    return path


def test_a_file_that_was_edited_meanwhile_tells_what_it_ran_and_no_guess(memory: Memory, file: Path) -> None:
    """A warm parent in place of a dead one imports the file as it is then."""
    old = load_registry(file)
    code_of(old, "edited")
    file.write_text(AFTER + DAG)
    children = Children(WarmParent.spawn(file), memory)
    outcome, _ = memory.run(children.process, "edited")
    dead, _ = memory.run(children.process, "dies")
    children.close()
    assert (outcome.result, outcome.body_hash) == ("2", code_of(load_registry(file), "edited"))
    assert outcome.body_hash != code_of(old, "edited")
    assert (dead.end, dead.body_hash) == (FAILED, None)


# -- processor time ------------------------------------------------------------------------------------------


def test_the_time_of_a_process_and_of_those_it_waited_for_is_told(child: Runner, memory: Memory) -> None:
    for _ in range(2):
        outcome, _ = memory.run(child, "burns", seconds=0.2)
        assert outcome.end is SUCCESS
        assert 0.4 <= (outcome.cpu_seconds or 0) < 0.55 + 0.25  # an interpreter has to start as well
        assert (memory.run(child, "nothing")[0].cpu_seconds or 1) < 0.1


def test_the_time_of_a_dead_process_is_told_if_all_of_it_was_its_own(
    process: Runner, pool: Runner, memory: Memory
) -> None:
    assert 0 < (memory.run(process, "dies", how="segfault")[0].cpu_seconds or 0) < 5
    assert memory.run(pool, "dies", how="segfault")[0].cpu_seconds is None


def test_threads_of_one_process_do_not_know_their_time(thread: Runner, memory: Memory) -> None:
    assert memory.run(thread, "nothing")[0].cpu_seconds is None
