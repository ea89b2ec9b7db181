"""The outside of the scheduler: the inbox, the loop around `step`, the client in the same program."""

import re
import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import pytest

from ppacer.errors import NotFoundError, SchedulerUnavailable
from ppacer.protocol import Answer, End, Report
from ppacer.schedule import Fixed
from ppacer.scheduler import LocalClient, State, TriggerRun
from ppacer.scheduler.inbox import BATCH_MAX
from ppacer.scheduler.requests import Claim, Reports, Request
from ppacer.scheduler.scheduler import TOKENS_AT_ONCE, new_tokens
from scheduler.harness import PATIENCE, T0, World, at, dag, seconds

Make = Callable[..., World]


def test_what_is_submitted_is_answered_after_the_next_step(world: Make) -> None:
    w = world(dag("d", "a"))
    request = w.scheduler.submit(TriggerRun("d"))
    assert not request.future.done()
    w.send(*w.scheduler.inbox.take(0.0))
    assert request.future.result(0).run_id == 1


def test_a_batch_has_a_limit_and_the_rest_comes_next(world: Make) -> None:
    w = world(dag("d", "a"))
    for _ in range(BATCH_MAX + 3):
        w.scheduler.submit(TriggerRun("nobody"))
    assert len(w.scheduler.inbox.take(0.0)) == BATCH_MAX
    assert len(w.scheduler.inbox.take(0.0)) == 3
    assert w.scheduler.inbox.take(0.0) == []


def test_everything_in_the_inbox_is_refused_at_the_end(world: Make) -> None:
    w = world(dag("d", "a"))
    requests = [w.scheduler.submit(TriggerRun("d")) for _ in range(BATCH_MAX * 2 + 1)]
    w.scheduler.close()
    assert all(isinstance(request.future.exception(0), SchedulerUnavailable) for request in requests)
    late = w.scheduler.submit(TriggerRun("d"))
    assert isinstance(late.future.exception(0), SchedulerUnavailable)
    assert w.scheduler.state is State.STOPPED


def test_an_open_long_poll_is_answered_at_the_end(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    ex.claim()
    [poll] = ex.polls
    w.scheduler.close()
    assert poll.future.result(0) == Answer()


def test_a_request_that_comes_during_the_end_is_not_forgotten(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread saw a running scheduler, and the inbox was emptied before it could put anything in."""
    w = world(dag("d", "a"))
    waiting = w.scheduler.inbox._queue

    class Slow:
        def put(self, request: Any) -> None:
            w.scheduler.close()
            waiting.put(request)

        def __getattr__(self, name: str) -> Any:
            return getattr(waiting, name)

    monkeypatch.setattr(w.scheduler.inbox, "_queue", Slow())
    request = w.scheduler.submit(TriggerRun("d"))
    assert isinstance(request.future.exception(0), SchedulerUnavailable)


def test_executors_may_report_while_commands_are_refused(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.scheduler.refuse_commands()
    assert isinstance(w.refused(TriggerRun("d")), SchedulerUnavailable)
    assert ex.report(ex.holding("a")).accepted == [True]
    assert w.status(run) == "SUCCESS"


def test_commands_stay_refused_when_the_database_comes_back_during_the_end(world: Make) -> None:
    w = world(dag("d", "a"))
    w.scheduler.refuse_commands()
    w.store.gone = True
    w.checks = False
    w.send(Reports("remote", [Report(1, "a", 0, "x", End.SUCCESS)]))
    w.run(3, step=1)
    w.store.gone = False
    w.run(5, step=1)
    assert isinstance(w.refused(TriggerRun("d")), SchedulerUnavailable)
    assert w.runs() == []


def test_the_loop_steps_with_the_time_after_its_sleep(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time read before the sleep would shorten every lease by the sleep."""
    w = world(dag("d", "a", schedule=Fixed(at(15), seconds(1000))))
    steps: list[float] = []
    real = w.scheduler.step

    def take(wait: float) -> list[Request]:
        w.jump(wait)
        return []

    def step(now: Any, requests: Sequence[Request] = ()) -> None:
        assert now == w.now()
        steps.append((now.utc - T0).total_seconds())
        real(now, requests)
        if len(steps) == 2:
            w.scheduler.stop()

    monkeypatch.setattr(w.scheduler.inbox, "take", lambda wait: take(wait) if wait else [])
    monkeypatch.setattr(w.scheduler, "step", step)
    w.scheduler.run()
    assert steps[0] == 15
    assert w.exec_times() == [at(15)]


def test_the_loop_waits_only_while_nothing_is_due(world: Make) -> None:
    w = world(
        dag("d", "a", configs={"a": {"retries": 1, "retry_delay": seconds(3)}}),
        dag("s", "x", schedule=Fixed(at(8), seconds(1000))),
    )
    pause = w.scheduler._pause
    assert pause(w.now()) == 8
    w.run(3, step=1)
    assert pause(w.now()) == 5
    w.trigger("d")
    ex = w.executor()
    ex.claim(wait=0.0)
    ex.report(ex.holding("a"), End.FAILED)
    assert pause(w.now()) == 3
    ex.claim(wait=1.5)
    assert pause(w.now()) == 1.5


def test_an_idle_loop_sleeps_long(world: Make) -> None:
    w = world(dag("d", "a"))
    assert w.scheduler._pause(w.now()) >= 10


def test_a_listener_that_fails_harms_nobody(world: Make) -> None:
    w = world(dag("d", "a"))

    def bad(changes: object) -> None:
        raise ZeroDivisionError

    w.scheduler.listeners.insert(0, bad)
    assert w.trigger() == 1
    assert w.runs() == [(T0, "RUNNING")]


def test_the_local_client_is_answered_like_any_other(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    answers: list[Any] = []
    client = LocalClient(w.scheduler, lambda records: None)
    thread = threading.Thread(target=lambda: answers.append(client.claim("local", 3, 0.0)))
    thread.start()
    w.send(*w.scheduler.inbox.take(PATIENCE))
    thread.join(PATIENCE)
    assert [grant.task_id for grant in answers[0].grants] == ["a"]


def test_a_client_that_gives_up_takes_its_request_back(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from ppacer.scheduler import client as module

    monkeypatch.setattr(module, "PATIENCE", 0.0)
    w = world(dag("d", "a"))
    w.trigger()
    client = LocalClient(w.scheduler, lambda records: None)
    with pytest.raises(SchedulerUnavailable):
        client.claim("local", 3, 0.0)
    [request] = w.scheduler.inbox.take(0.0)
    w.send(request)
    assert w.do(Claim("local", 3, 0.0)).grants[0].task_id == "a"


def test_an_unknown_dag_is_an_error_of_the_one_who_asked(world: Make) -> None:
    w = world()
    assert isinstance(w.refused(TriggerRun("d")), NotFoundError)


def test_a_program_without_schedules_creates_no_runs_by_itself(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppacer.dag import Registry
    from ppacer.scheduler import Scheduler

    w = world(dag("d", "a", schedule=Fixed(at(10), seconds(10)), catch_up=True), start=False)
    w.scheduler = Scheduler(w.store, Registry(w.dags), w, scheduled=False)
    w.scheduler.start(w.now())
    w.run(60)
    assert w.runs() == []
    assert w.trigger() == 1


def test_tokens_are_new_and_of_one_shape_however_many_are_asked_for_at_once() -> None:
    tokens = list(islice(new_tokens(), 3 * TOKENS_AT_ONCE))
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch("[0-9a-f]{16}", token) for token in tokens)
