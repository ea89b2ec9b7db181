"""Between executor and scheduler is a network: what it does costs time, and nothing else."""

import signal
from collections import Counter

import pytest

from remote.proxy import Proxy
from remote.world import DAGS, PATIENCE, World, until


def heard(w: World, run_id: int) -> Counter[tuple[str, int]]:
    """The number of records of each attempt, once there are some of all tasks."""
    until(lambda: len({task for task, _ in w.spoke(run_id)}) == 20, "all logs are there")
    return w.spoke(run_id)


@pytest.mark.slow
def test_errors_resets_garbage_and_lost_answers_cost_nothing_but_time(w: World) -> None:
    w.scheduler(PPACER_LEASE="6")  # longer than an executor ever rests between two tries
    proxy = Proxy(w.port, seed=7, share=0.15)
    try:
        w.executor("one", "--runner", "pool", "--slots", "4", url=proxy.url)
        runs = [w.trigger("many") for _ in range(4)]
        for run_id in runs:
            w.succeeds(run_id)
            assert set(heard(w, run_id).values()) == {1}  # each word once
    finally:
        proxy.shutdown()
        proxy.server_close()
    assert len(proxy.spoiled) > 3, proxy.spoiled
    # A grant whose answer got lost was never begun, and is granted anew after a lease: no attempt runs twice.
    ran = Counter((run, task, retry) for word, run, task, retry, _ in w.lines if word == "end")
    assert len({(run, task) for run, task, _ in ran}) == 80
    assert set(ran.values()) == {1}


def test_a_proxy_that_takes_no_large_bodies_stops_neither_logs_nor_reports(w: World) -> None:
    w.scheduler()
    proxy = Proxy(w.port, seed=7, share=0.0, body_max=20_000)
    try:
        w.executor("one", "--runner", "thread", url=proxy.url)
        runs = [w.trigger(dag_id) for dag_id in ("loud", "large", "quick")]
        w.succeeds(runs[0])
        assert w.said(runs[0]) == [f"{number} {'x' * 500}" for number in range(200)]
        attempts = {attempt["task_id"]: attempt for attempt in w.ended(runs[1])["attempts"]}
        assert attempts["large"]["status"] == "SUCCESS"
        assert attempts["too_large"]["status"] == "FAILED"
        assert "answers with status 413" in attempts["too_large"]["error"]
        w.succeeds(runs[2])
    finally:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.parametrize("role", [None, "viewer"])
def test_an_executor_that_is_not_let_in_ends_with_the_reason(w: World, role: str | None) -> None:
    w.scheduler()
    secret = w.post("/api/v1/tokens", {"name": "t", "role": role})["secret"] if role else "ppt_nonsense"
    w.environ["PPACER_TOKEN"] = secret
    executor = w.launch("one")
    assert executor.process.wait(PATIENCE) == 2
    assert ("the role viewer" if role else "unknown, expired or revoked") in executor.log
    assert executor.log.count("\n") <= 3


def test_an_executor_ends_by_two_signals_though_its_scheduler_hangs(w: World) -> None:
    scheduler = w.scheduler()
    executor = w.executor("one", "--runner", "process")
    w.trigger("gated")
    w.begun()
    scheduler.process.send_signal(signal.SIGSTOP)
    try:
        executor.process.send_signal(signal.SIGINT)
        executor.says("once more to stop at once")
        executor.process.send_signal(signal.SIGINT)
        assert executor.process.wait(PATIENCE) == 0
    finally:
        scheduler.process.send_signal(signal.SIGCONT)


def test_a_token_may_stand_in_a_file_and_end_with_a_line(w: World) -> None:
    w.scheduler()
    w.environ["PPACER_TOKEN"] = "nonsense"
    file = w.folder / "token"
    file.write_text(w.post("/api/v1/tokens", {"name": "t", "role": "executor"})["secret"] + "\n")
    w.executor("one", "--token-file", str(file))
    w.environ["PPACER_TOKEN"] = file.read_text()
    w.executor("two")


HANGS = """
from ppacer.tasklog import LogWriter
LogWriter.close = lambda self: time.sleep(600)
"""


def test_a_scheduler_ends_at_once_by_two_signals_though_its_database_hangs(w: World) -> None:
    w.dags.write_text(DAGS + HANGS)
    scheduler = w.scheduler()
    scheduler.process.send_signal(signal.SIGINT)
    scheduler.says("stopping: executors keep what they run")
    scheduler.process.send_signal(signal.SIGINT)
    assert scheduler.process.wait(PATIENCE) == 130
