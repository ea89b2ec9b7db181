"""What holds for an attempt wherever it runs: in a thread, in a process, on Dask, on Ray."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.conftest import PATIENT
from executor.world import (
    CASES,
    EXEC_TS,
    FAILED,
    SUCCESS,
    TIMED_OUT,
    Memory,
    eventually,
    grant,
    is_running,
    messages,
)
from ppacer.dag import Registry
from ppacer.executor.cluster import Cluster, ClusterRunner
from ppacer.executor.posix import parent_of
from ppacer.executor.runner import Runner
from ppacer.protocol import End, Grant


def pids_in(folder: Path, names: Sequence[str]) -> list[int]:
    """The processes that a task has noted in its folder, when all of them are there."""
    eventually(lambda: all(Path(folder, name).exists() for name in names), "all processes of the task")
    return [int(Path(folder, name).read_text()) for name in names]


def another(runner: ClusterRunner) -> Cluster:
    """One more connection to the same cluster."""
    cluster: Any = runner._cluster
    made: Cluster = type(cluster)(cluster.address)
    return made


@pytest.mark.parametrize("value", [None, {"ü": [1.5, None, {"a": []}]}, "x" * 1_000_000])
def test_results_make_the_round_trip(runner: Runner, memory: Memory, value: object) -> None:
    outcome, _ = memory.run(runner, "echo", value=value)
    assert outcome.end is SUCCESS
    assert (None if outcome.result is None else json.loads(outcome.result)) == value


def test_parents_results_and_parameters_arrive(runner: Runner, memory: Memory) -> None:
    results = {"left": "41", "nothing": "1"}
    assert memory.run(runner, "add", results=results)[0].result == "42"
    started = memory.start(runner, grant("about", timeout=50, results=results, x=[1]))
    result = json.loads(memory.end_of(started).result or "")
    assert 0 < result["remaining"] <= 50
    assert (result["token"], result["retry"], result["params"]) == (started.token, started.retry, {"x": [1]})
    assert result["parent"] == 1


def test_coroutines_are_run(runner: Runner, memory: Memory) -> None:
    assert memory.run(runner, "dreams")[0].result == '"dreamt"'


def test_an_exception_comes_with_its_traceback(runner: Runner, memory: Memory) -> None:
    outcome, log = memory.run(runner, "fails")
    assert outcome.end is FAILED
    assert outcome.error is not None
    assert outcome.error.startswith("ValueError: boom ü\n\nTraceback")
    assert "in _deeper" in outcome.error
    assert messages(log)[-1] == outcome.error


def test_output_and_records_come_in_order_with_the_name_of_the_attempt(
    runner: Runner, memory: Memory
) -> None:
    started = [memory.start(runner, grant("same_thread", word=word)) for word in ("a", "b")]
    for one, word in zip(started, ("a", "b"), strict=True):
        assert memory.end_of(one).end is SUCCESS
        log, words = memory.log_of(one), [f"{word} {number}" for number in range(50)]
        assert messages(log, "stdout") == messages([r for r in log if not r.attributes]) == words
        first = [r for n, r in enumerate(log) if r.message not in messages(log[:n])]
        assert {(r.attributes or {}).get("stream") for r in first} == {"stdout"}  # it prints, then it logs
        assert {(r.dag_id, r.exec_ts, r.task_id) for r in log} == {("cases", EXEC_TS, "same_thread")}


def test_what_is_said_is_heard_while_the_task_runs(separate: Runner, memory: Memory) -> None:
    started = memory.start(separate, grant("sleeps"))
    memory.wait_for(started, "sleeping")
    separate.cancel(started.token, End.CANCELLED)
    assert memory.end_of(started).end is End.CANCELLED


def test_a_timeout_ends_the_whole_process_group(separate: Runner, memory: Memory, tmp_path: Path) -> None:
    started = memory.start(separate, grant("stubborn", timeout=2.0, folder=str(tmp_path)))
    pids = pids_in(tmp_path, ("task", "child", "grandchild"))
    outcome = memory.end_of(started)
    assert (outcome.end, (outcome.error or "").splitlines()[0]) == (TIMED_OUT, "timed out after 2s")
    assert [pid for pid in pids if is_running(pid)] == []


@pytest.mark.parametrize(
    ("end", "words"),
    [(End.CANCELLED, "cancelled"), (End.HANDED_BACK, "handed back unfinished: the executor is stopping")],
)
@pytest.mark.parametrize("grace", [PATIENT])
def test_a_task_that_is_to_end_may_clean_up(separate: Runner, memory: Memory, end: End, words: str) -> None:
    started = memory.start(separate, grant("cleans_up"))
    memory.wait_for(started, "sleeping")
    separate.cancel(started.token, end)
    outcome = memory.end_of(started)
    assert (outcome.end, outcome.begun, (outcome.error or "").splitlines()[0]) == (end, True, words)
    said = messages(memory.log_of(started))
    assert "cleaned up True" in said
    assert said[-1] == outcome.error


def test_the_exit_code_is_told(separate: Runner, memory: Memory) -> None:
    outcome, log = memory.run(separate, "dies", how="exit", code=3)
    assert outcome.end is FAILED
    assert outcome.error is not None
    assert "exited with code 3" in outcome.error
    assert "last words" in messages(log)
    assert (outcome.peak_memory or 0) > 1_000_000


def test_the_code_that_ran_and_its_time_are_told(
    separate: Runner, memory: Memory, registry: Registry
) -> None:
    outcome, _ = memory.run(separate, "burns", seconds=0.1)
    assert (outcome.end, outcome.body_hash) == (SUCCESS, registry["cases"].bodies["burns"].hash)
    assert (outcome.cpu_seconds or 0) >= 0.2


# -- clusters alone ------------------------------------------------------------------------------------------


def test_the_code_of_the_dead_is_that_of_the_executor(
    cluster: ClusterRunner, memory: Memory, registry: Registry
) -> None:
    """No worker runs another version, so that it is known without its word."""
    outcome, _ = memory.run(cluster, "dies", how="exit", code=3)
    assert (outcome.end, outcome.body_hash) == (FAILED, registry["cases"].bodies["dies"].hash)
    assert outcome.cpu_seconds is not None


def test_large_inputs_arrive(cluster: ClusterRunner, memory: Memory) -> None:
    results = {f"p{n}": json.dumps("x" * 1_000_000) for n in range(5)} | {"nothing": "7"}
    assert json.loads(memory.run(cluster, "about", results=results)[0].result or "")["parent"] == 7


def test_an_attempt_dies_with_its_worker_and_is_not_repeated(
    cluster: ClusterRunner, memory: Memory, tmp_path: Path
) -> None:
    started = memory.start(cluster, grant("stubborn", folder=str(tmp_path)))
    pids = pids_in(tmp_path, ("task", "child", "grandchild"))
    os.kill(parent_of(parent_of(pids[0])), signal.SIGKILL)  # above the task is its warm parent
    outcome = memory.end_of(started)
    assert outcome.end is End.LOST
    assert (outcome.error or "").startswith("lost: ")
    eventually(lambda: not any(map(is_running, pids)), "the end of the processes of the task")
    assert pids_in(tmp_path, ("task",)) == pids[:1]
    assert memory.run(cluster, "echo", value=1)[0].result == "1"


def test_what_waits_for_a_worker_can_be_cancelled(cluster: ClusterRunner, memory: Memory) -> None:
    running = [memory.start(cluster, grant("sleeps")) for _ in range(4)]
    for one in running:
        memory.wait_for(one, "sleeping")
    waiting = memory.start(cluster, grant("sleeps"))
    cluster.cancel(waiting.token, End.HANDED_BACK)
    outcome = memory.end_of(waiting)
    assert (outcome.end, outcome.begun) == (End.HANDED_BACK, True)  # nobody knows that it was not
    for one in running:
        cluster.cancel(one.token, End.CANCELLED)
        assert memory.end_of(one).end is End.CANCELLED


def test_what_runs_at_a_close_is_handed_back_and_ended(
    cluster: ClusterRunner, registry: Registry, memory: Memory, tmp_path: Path
) -> None:
    runner = ClusterRunner(another(cluster), registry, CASES, memory)
    started = memory.start(runner, grant("stubborn", folder=str(tmp_path)))
    pids = pids_in(tmp_path, ("task", "child", "grandchild"))
    runner.close()
    outcome = memory.end_of(started)
    assert (outcome.end, outcome.begun) == (End.HANDED_BACK, True)
    eventually(lambda: not any(map(is_running, pids)), "the end of the processes of the task")
    late: Grant = memory.start(runner, grant("nothing"))
    assert memory.end_of(late).begun is False


def test_workers_without_the_file_refuse(
    cluster: ClusterRunner, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_file", tmp_path / "gone.py")
    outcome = memory.run(cluster, "nothing")[0]
    assert (outcome.end, outcome.is_unfit, outcome.begun) == (End.REFUSED, True, False)
    assert f"there is no file {tmp_path / 'gone.py'}" in (outcome.error or "")


def test_workers_with_another_version_of_the_dag_refuse(
    cluster: ClusterRunner, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cases.py"
    file.write_text(
        "from ppacer import Dag, task\nwith Dag('cases') as dag:\n    task(lambda: 1, id='nothing')()\n"
    )
    monkeypatch.setattr(cluster, "_file", file)
    outcome = memory.run(cluster, "nothing")[0]
    assert (outcome.end, outcome.is_unfit) == (End.REFUSED, True)
    assert "another version of dag 'cases' than this executor" in (outcome.error or "")
