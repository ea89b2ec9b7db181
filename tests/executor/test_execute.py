"""One attempt: found or refused, run, and its end in words."""

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from executor.world import FAILED, SUCCESS, TIMED_OUT, grant
from ppacer.clock import SystemClock
from ppacer.dag import BoundTask, Dag, Node, Registry, TaskContext, task
from ppacer.executor.execute import conclude, execute
from ppacer.executor.runner import Outcome
from ppacer.executor.words import ERROR_BYTES_MAX
from ppacer.notify import LogSender, MockSender
from ppacer.protocol import End


def run(registry: Registry, task_id: str, deadline: float | None = None, **options: Any) -> Outcome:
    return execute(grant(task_id, **options), registry, LogSender(), threading.Event(), deadline)


def soon(seconds: float) -> float:
    return SystemClock().now().mono + seconds


def test_an_unknown_dag_or_task_is_refused_by_name(registry: Registry) -> None:
    outcome = run(registry, "nothing", dag_id="etl")
    assert outcome == Outcome(End.REFUSED, "there is no dag 'etl' here", begun=False, is_unfit=True)
    outcome = run(registry, "gone")
    assert outcome.end is End.REFUSED
    assert "'cases'" in str(outcome.error)
    assert "'gone'" in str(outcome.error)


def test_a_task_gets_the_results_of_its_parents(registry: Registry) -> None:
    assert run(registry, "add", results={"left": "2", "nothing": "5"}).result == "7"


def test_a_parent_that_returned_nothing_gives_none() -> None:
    @task
    def parent() -> None: ...

    @task
    def child(value: int | None) -> str:
        return repr(value)

    with Dag("d") as dag:
        child(parent())
    assert run(Registry([dag]), "child", dag_id="d").result == '"None"'


def test_arguments_that_need_a_stranger_are_refused() -> None:
    @task
    def stranger() -> None: ...

    @task
    def child(value: Any) -> None: ...

    with Dag("other"):
        alien = stranger()
        bound = child(alien).task
    assert isinstance(bound, BoundTask)
    dag = Dag("d", Node(bound))
    outcome = run(Registry([dag]), "child", dag_id="d")
    assert outcome.end is End.REFUSED
    assert "'stranger'" in str(outcome.error)
    assert "do not fit" in str(outcome.error)


def test_parameters_are_loaded_or_refused() -> None:
    @dataclass
    class Params:
        rows: int = 3

    @task
    def rows(ctx: TaskContext) -> int:
        assert isinstance(ctx.run.params, Params)
        return ctx.run.params.rows

    with Dag("d", params=Params) as dag:
        rows()
    assert run(Registry([dag]), "rows", dag_id="d").result == "3"
    assert run(Registry([dag]), "rows", dag_id="d", rows=4).result == "4"
    outcome = run(Registry([dag]), "rows", dag_id="d", rows="many")
    assert outcome.end is End.REFUSED
    assert "rows" in str(outcome.error)


def test_the_notifier_of_the_task_goes_before_the_default() -> None:
    mine = MockSender()

    @task
    def which(ctx: TaskContext) -> str:
        return type(ctx.notifier).__name__

    with Dag("d") as dag:
        which()
        which.with_options(id="other", notifier=mine)()
    assert run(Registry([dag]), "which", dag_id="d").result == '"LogSender"'
    assert run(Registry([dag]), "other", dag_id="d").result == '"MockSender"'


def test_an_object_with_execute_is_a_task(registry: Registry) -> None:
    assert run(registry, "plain").result == '"plain"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ({"ü": [1, 2.5, None]}, '{"ü":[1,2.5,null]}'),
        ("日本", '"日本"'),
        (False, "false"),
        (0, "0"),
    ],
)
def test_results_are_json(registry: Registry, value: Any, text: str | None) -> None:
    outcome = run(registry, "echo", value=value)
    assert (outcome.end, outcome.result) == (SUCCESS, text)


@pytest.mark.parametrize("what", ["nan", "object", "code"])
def test_what_is_no_json_is_a_failure_in_one_sentence(registry: Registry, what: str) -> None:
    outcome = run(registry, "not_json", what=what)
    assert outcome.end is FAILED
    assert outcome.result is None
    assert "\n" not in str(outcome.error)


def test_a_result_at_the_limit_passes_and_one_byte_more_fails(registry: Registry) -> None:
    at_limit = 1024 * 1024 - 2  # and two quotes
    assert run(registry, "large", size=at_limit).end is SUCCESS
    outcome = run(registry, "large", size=at_limit + 1)
    assert outcome.end is FAILED
    assert "limit" in str(outcome.error)


@pytest.mark.parametrize(
    ("kind", "first_line"),
    [
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("generator", "GeneratorExit"),
        ("rude", "Rude: very"),
        ("mute", "MuteError: <exception str() failed>"),
        ("recursion", "RecursionError: maximum recursion depth exceeded"),
        ("memory", "MemoryError"),
        ("group", "ExceptionGroup: several (2 sub-exceptions)"),
        ("chain", "RuntimeError: because"),
        ("cancelled", "CancelledError"),
        ("surrogate", "ValueError: bad \\udc80 text"),
        ("long", "ValueError: start xxx"),
    ],
)
def test_whatever_a_task_raises_is_a_failure_in_words(registry: Registry, kind: str, first_line: str) -> None:
    outcome = run(registry, "fails_as", kind=kind)
    assert outcome.end is FAILED
    error = str(outcome.error)
    assert first_line in error.splitlines()[0]
    assert error.splitlines()[1] == ""
    assert "Traceback (most recent call last):" in error
    assert "in fails_as" in error
    assert len(error.encode()) <= ERROR_BYTES_MAX
    assert "ppacer/executor" not in error
    assert "ppacer/dag" not in error


@pytest.mark.parametrize("code", [0, 1, "sorry", None])
def test_no_exit_is_success(registry: Registry, code: Any) -> None:
    outcome = run(registry, "fails_as", kind="exit", code=code)
    assert outcome.end is FAILED
    assert "returning" in str(outcome.error).splitlines()[0]


def test_the_traceback_has_the_frames_of_the_task_only(registry: Registry) -> None:
    error = str(run(registry, "fails").error)
    assert error.startswith("ValueError: boom ü\n\nTraceback (most recent call last):\n")
    assert error.splitlines()[3].endswith("in fails")
    assert error.endswith("ValueError: boom ü")
    assert "cases.py" in error


def test_a_chain_of_exceptions_is_shown_whole(registry: Registry) -> None:
    error = str(run(registry, "fails_as", kind="chain").error)
    assert "ValueError: boom ü" in error
    assert "direct cause" in error


def test_a_long_error_keeps_its_head_and_its_tail(registry: Registry) -> None:
    error = str(run(registry, "fails_as", kind="long").error)
    assert error.startswith("ValueError: start")
    assert "bytes left out" in error
    assert error.endswith("end")


def test_a_coroutine_is_awaited(registry: Registry) -> None:
    assert run(registry, "dreams").result == '"dreamt"'
    error = str(run(registry, "fails_async").error)
    assert error.startswith("ValueError: async boom")
    assert "asyncio" not in error


def test_a_coroutine_ends_at_its_deadline(registry: Registry) -> None:
    outcome = run(registry, "dreams", soon(1.0), timeout=1.0, seconds=600)
    assert outcome.end is TIMED_OUT
    assert str(outcome.error).startswith("timed out after 1s\n")
    assert "in dreams" in str(outcome.error)  # where it was


def test_success_after_the_deadline_is_a_timeout(registry: Registry) -> None:
    assert run(registry, "sleeps", soon(0.01), timeout=0.01, seconds=0.02).end is TIMED_OUT
    assert run(registry, "sleeps", soon(600), seconds=0.01).end is SUCCESS


def test_the_context_knows_everything(registry: Registry) -> None:
    outcome = run(registry, "about", soon(100), results={"nothing": "[1]"}, x=1)
    for part in (
        '"dag":"cases"',
        '"exec_ts":"2024-03-11T12:00:00Z"',
        '"run":1',
        '"params":{"x":1}',
        '"parent":[1]',
    ):
        assert part in str(outcome.result)
    assert '"cancelled":false' in str(outcome.result)


def test_every_end_but_success_is_written_to_the_log() -> None:
    said: list[Any] = []

    class Sink:
        def done(self, grant: Any, outcome: Outcome) -> None:
            said.append(outcome.end)

        def log(self, records: Any) -> None:
            said.extend((r.level, r.message) for r in records)

    conclude(grant("a"), Outcome(SUCCESS), Sink())
    conclude(grant("a"), Outcome(TIMED_OUT, "timed out after 1s"), Sink())
    conclude(grant("a"), Outcome(End.CANCELLED, "cancelled"), Sink())
    assert said == [
        SUCCESS,
        *(("ERROR", "timed out after 1s"), TIMED_OUT),
        *(("WARNING", "cancelled"), End.CANCELLED),
    ]


def test_a_timeout_is_told_in_words(registry: Registry) -> None:
    outcome = run(registry, "nothing", soon(-1), timeout=timedelta(minutes=1, seconds=30).total_seconds())
    assert outcome.error == "timed out after 1m30s"
