"""`run_once`: a whole dag as an ordinary unit test."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

import ppacer
from ppacer import Dag, TaskContext, task
from ppacer.errors import ParamsError
from ppacer.schedule import Fixed
from ppacer.store.views import RunDetail


@task
def numbers() -> list[int]:
    return [1, 2, 3]


@task
def total(of: list[int]) -> int:
    return sum(of)


@task
def fail() -> None:
    raise RuntimeError("on purpose")


def statuses(detail: RunDetail) -> dict[str, str]:
    return {task.task_id: task.status for task in detail.tasks}


def test_a_dag_runs_to_its_end_and_passes_data() -> None:
    seen: list[int] = []

    @task
    def look(value: int) -> None:
        seen.append(value)

    with Dag("d") as dag:
        look(total(numbers()))
    detail = ppacer.run_once(dag)
    assert detail.run.status == "SUCCESS"
    assert statuses(detail) == {"numbers": "SUCCESS", "total": "SUCCESS", "look": "SUCCESS"}
    assert seen == [6]
    assert detail.results == {"numbers": [1, 2, 3], "total": 6}


def test_a_cluster_that_is_set_for_other_programs_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPACER_CLUSTER", "tcp://127.0.0.1:1")
    monkeypatch.setattr("ppacer.app.clusters.find_spec", lambda name: None)
    with Dag("d") as dag:
        numbers()
    assert ppacer.run_once(dag).run.status == "SUCCESS"


def test_a_task_whose_runner_lacks_something_fails_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPACER_CLUSTER", "tcp://127.0.0.1:1")
    monkeypatch.setattr("ppacer.app.clusters.find_spec", lambda name: None)
    with Dag("d") as dag:
        numbers.with_options(runner="dask")()
    detail = ppacer.run_once(dag, file=Path(__file__))
    assert detail.run.status == "FAILED"
    assert "pip install 'ppacer[dask]'" in (detail.attempts[-1].error or "")


def test_a_failed_run_is_returned_with_every_attempt() -> None:
    with Dag("d") as dag:
        fail.with_options(retries=2)() >> total.with_options(id="after")([1])
    detail = ppacer.run_once(dag)
    assert detail.run.status == "FAILED"
    assert statuses(detail) == {"fail": "FAILED", "after": "UPSTREAM_FAILED"}
    assert [a.status for a in detail.attempts if a.task_id == "fail"] == ["FAILED_PENDING_RETRY"] * 2 + [
        "FAILED"
    ]
    assert "RuntimeError: on purpose" in (detail.tasks[0].error or "")


@pytest.mark.parametrize("runner", ["thread", "async", "process"])
def test_a_listener_that_raises_spoils_nothing(runner: str) -> None:
    @task
    async def talk() -> None:
        print("hello")
        print("world")

    def broken(changes: object, records: object) -> None:
        raise ValueError("no")

    with Dag("d") as dag:
        talk()
    assert ppacer.run_once(dag, runner=runner, on_progress=broken).run.status == "SUCCESS"


def test_a_dag_without_tasks_succeeds() -> None:
    assert ppacer.run_once(Dag("empty")).run.status == "SUCCESS"


def test_the_schedule_of_the_dag_starts_no_other_run() -> None:
    runs: list[datetime] = []

    @task
    def note(ctx: TaskContext) -> None:
        runs.append(ctx.run.exec_ts)

    start = datetime.now(UTC) - timedelta(minutes=5)
    with Dag("d", schedule=Fixed(start, timedelta(milliseconds=20)), catch_up=True) as dag:
        note()
    assert ppacer.run_once(dag).run.status == "SUCCESS"
    assert len(runs) == 1


@dataclass
class Params:
    days: int = 7
    name: str = "all"


def test_parameters_are_validated_and_typed() -> None:
    seen: list[Params] = []

    @task
    def look(ctx: TaskContext) -> None:
        seen.append(ctx.run.params)

    with Dag("d", params=Params) as dag:
        look()
    assert ppacer.run_once(dag, params={"days": 3}).run.params == {"days": 3, "name": "all"}
    assert seen == [Params(3, "all")]
    with pytest.raises(ParamsError, match="days"):
        ppacer.run_once(dag, params={"days": "three"})


@pytest.mark.parametrize("runner", ["thread", "async", "process", "pool"])
def test_async_tasks_run_and_pass_data_with_every_runner(runner: str) -> None:
    @task
    async def answer() -> int:
        return 42

    @task
    async def check(numbers: list[int]) -> None:
        assert numbers == [42, 42]

    with Dag("d") as dag:
        check([answer(), answer.with_options(id="other")()])
    detail = ppacer.run_once(dag, runner=runner)
    assert statuses(detail) == {"answer": "SUCCESS", "other": "SUCCESS", "check": "SUCCESS"}


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0), KeyboardInterrupt(), MemoryError()])
def test_a_failure_at_the_first_middle_or_last_task_fails_the_run(at: int, error: BaseException) -> None:
    @task
    def step(number: int) -> None:
        if number == at:
            raise error

    with Dag("d") as dag:
        nodes = [step.with_options(id=f"t{number}")(number) for number in range(3)]
        nodes[0] >> nodes[1] >> nodes[2]
    detail = ppacer.run_once(dag)
    assert detail.run.status == "FAILED"
    assert [t.status for t in detail.tasks] == ["SUCCESS"] * at + ["FAILED"] + ["UPSTREAM_FAILED"] * (2 - at)


@pytest.mark.parametrize("width", [1, 3, 100])
def test_fan_out_and_merge(width: int) -> None:
    with Dag("d") as dag:
        first = numbers()
        (
            first
            >> [total.with_options(id=f"t{n}")(first) for n in range(width)]
            >> total.with_options(id="last")([1])
        )
    detail = ppacer.run_once(dag)
    assert detail.run.status == "SUCCESS"
    assert len(detail.attempts) == width + 2


@pytest.mark.parametrize("length", [10, 25, 100])
def test_chains(length: int) -> None:
    with Dag("d") as dag:
        nodes = [total.with_options(id=f"t{n}")([n]) for n in range(length)]
        for before, after in pairwise(nodes):
            before >> after
    detail = ppacer.run_once(dag)
    assert detail.run.status == "SUCCESS"
    ends = [attempt.ended_at for attempt in detail.attempts if attempt.ended_at is not None]
    assert len(ends) == length
    assert ends == sorted(ends)


def test_asking_for_the_result_of_a_stranger_is_a_failure_in_words() -> None:
    @task
    def first() -> int:
        return 1

    @task
    def second(ctx: TaskContext) -> int:
        return int(ctx.result("frist"))

    with Dag("typo") as dag:
        first() >> second()
    run = ppacer.run_once(dag)
    assert run.run.status == "FAILED"
    assert "task 'frist' is no parent of 'second'; its parents: first" in (run.tasks[1].error or "")


def test_threads_take_turns_often_while_a_program_runs_and_as_before_afterwards() -> None:
    before, seen = sys.getswitchinterval(), []

    @task
    def look() -> None:
        seen.append(sys.getswitchinterval())

    with Dag("d") as dag:
        look()
    ppacer.run_once(dag)
    assert seen[0] < before == sys.getswitchinterval()
