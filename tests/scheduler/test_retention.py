"""The scheduler deletes a slice of the past when all else is done; it can fail, and harms nothing then."""

from collections.abc import Callable
from typing import Any

import pytest

from ppacer.engine.changes import AlertTried
from ppacer.errors import SchedulerUnavailable, StoreUnavailable
from ppacer.protocol import End, Hello
from ppacer.scheduler import RestartRun, State, TriggerRun
from ppacer.scheduler.requests import Goodbye, Greeting, Request
from ppacer.store.retention import OldRuns, Past
from scheduler import oracle
from scheduler.harness import World, dag

Make = Callable[..., World]
DAY = 86_400.0


def aged(world: Make, runs: int = 3) -> tuple[World, OldRuns]:
    """A day after some failed runs: the slice with all but the newest of them."""
    w = world(dag("d", "a", "b: a"))
    for _ in range(runs):
        w.trigger()
        w.executor().finish(End.FAILED)
        w.jump(1)
    w.send(*(AlertTried(row["AlertId"], w.utc) for row in w.rows("SELECT AlertId FROM outbox")))
    w.jump(DAY)
    w.checks = False  # for the oracle a point has its run for ever
    past = Past(w.path)
    [old, *_] = past.slices(w.utc, 1)
    past.close()
    assert isinstance(old, OldRuns)
    return w, old


@pytest.fixture(autouse=True)
def memory(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is what the rows say, after every step."""
    send = World.send

    def checked(self: World, *asks: Any) -> list[Request]:
        requests = send(self, *asks)
        if not self.degraded:
            oracle.check_memory(self.scheduler, self.store)
        return requests

    monkeypatch.setattr(World, "send", checked)


def test_a_slice_is_answered_with_what_was_deleted(world: Make) -> None:
    w, old = aged(world)
    assert w.do(old) == 2
    assert len(w.runs()) == 1
    assert w.do(old) == 0
    assert w.do(TriggerRun("d")).run_id == 4


@pytest.mark.parametrize("order", [1, -1])
def test_a_restart_in_the_same_step_wins_and_the_run_is_whole(world: Make, order: int) -> None:
    w, old = aged(world)
    before = w.attempts(2)
    restart, forget = requests = [Request(RestartRun(2)), Request(old)]
    w.send(*requests[::order])
    assert (restart.future.result(0).run_id, forget.future.result(0)) == (2, 1)
    assert w.status(2) == "RUNNING"
    assert set(before) < set(w.attempts(2))
    w.executor().finish()
    assert w.status(2) == "SUCCESS"


def test_a_slice_that_fails_is_told_so_and_all_else_goes_on(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    w, old = aged(world)

    def refuse(old: object) -> int:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(w.store, "forget", refuse)
        trigger, forget, again = w.send(TriggerRun("d"), old, TriggerRun("d"))
    assert isinstance(forget.future.exception(0), StoreUnavailable)
    assert [trigger.future.result(0).run_id, again.future.result(0).run_id] == [4, 5]
    assert w.scheduler.state is State.RUNNING
    assert w.do(old) == 2


def test_a_bug_in_deleting_fails_alone(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    w, old = aged(world)
    with monkeypatch.context() as patch:
        patch.setattr(w.store, "forget", lambda old: 1 // 0)
        trigger, forget = w.send(TriggerRun("d"), old)
    assert forget.future.exception(0) is not None
    assert trigger.future.result(0).run_id == 4
    assert len(w.runs()) == 4
    assert w.do(old) == 2


def test_nothing_is_deleted_for_somebody_who_has_given_up(world: Make) -> None:
    w, old = aged(world)
    request = Request(old)
    request.future.cancel()
    w.send(request)
    assert len(w.runs()) == 3


def test_while_the_database_is_away_nothing_old_is_kept_waiting(world: Make) -> None:
    w, old = aged(world)
    w.store.gone = True
    w.send(TriggerRun("d"))
    w.checks = False
    assert isinstance(w.refused(old), SchedulerUnavailable)
    w.store.gone = False
    w.run(5, step=1)
    assert w.do(old) == 2


def test_a_late_report_of_a_deleted_run_changes_nothing(world: Make) -> None:
    w, old = aged(world)
    ex = w.executor()
    grant = next(grant for grant in ex.seen if grant.run_id == 1)
    w.do(old)
    before = w.everything()
    assert w.do(ex.reports((grant, End.SUCCESS))).accepted == [False]
    assert w.everything() == before


def test_an_executor_that_was_deleted_can_come_back(world: Make) -> None:
    w = world()
    hello = Greeting(Hello("one", identity="i", life="l", slots=1))
    w.do(hello)
    w.do(Goodbye("one", "l"))
    w.jump(2 * DAY)
    past = Past(w.path)
    [old] = past.executors(w.utc)
    past.close()
    assert w.do(old) == 1
    assert w.rows("SELECT * FROM executors") == []
    commits = w.store.commits
    w.do(hello)
    assert w.store.commits == commits + 1  # nothing had to be read back
    assert len(w.rows("SELECT * FROM executors")) == 1
