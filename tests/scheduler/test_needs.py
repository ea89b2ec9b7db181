"""Which executor gets which task: labels and runners, and what becomes of a task that is refused."""

from collections.abc import Callable

import pytest

from ppacer.protocol import End
from scheduler.harness import Executor, World, dag

Make = Callable[..., World]


def only(w: World, name: str, *labels: str, runners: frozenset[str] | None = None) -> Executor:
    """An executor that waits for work and takes what these labels and runners suffice for."""
    ex = w.executor(name)
    ex.claim()
    session = w.scheduler.memory.tasks.sessions[name]
    session.labels, session.runners = frozenset(labels), runners
    return ex


def test_a_task_goes_to_an_executor_that_carries_its_labels(world: Make) -> None:
    w = world(dag("d", "a", "b", configs={"b": {"labels": ["gpu", "big"]}}))
    plain, gpu, big = only(w, "plain"), only(w, "gpu", "gpu"), only(w, "big", "gpu", "big")
    run = w.trigger()
    for ex in (plain, gpu):
        ex.finish()
    assert big.holding("b").retry == 0
    big.finish()
    assert w.status(run) == "SUCCESS"
    assert {grant.task_id for grant in [*plain.seen, *gpu.seen]} == {"a"}


def test_a_task_whose_labels_nobody_carries_waits_and_others_pass_it(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"labels": ["gpu"]}}), dag("e", "a"))
    plain = only(w, "plain")
    waiting, other = w.trigger("d"), w.trigger("e")
    plain.finish()
    assert (w.status(waiting), w.status(other)) == ("RUNNING", "SUCCESS")
    only(w, "late", "gpu").finish()
    assert w.status(waiting) == "SUCCESS"


def test_a_task_goes_to_an_executor_that_has_its_runner(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"runner": "pool"}}))
    threads, pool = (
        only(w, "threads", runners=frozenset({"thread"})),
        only(w, "p", runners=frozenset({"pool"})),
    )
    w.trigger()
    assert threads.held == {}
    assert pool.holding("a").retry == 0


def refuse(ex: Executor, task_id: str = "a", **facts: object) -> None:
    ex.report(ex.holding(task_id), End.REFUSED, error="unknown here", **facts)


def test_what_an_executor_is_unfit_for_goes_elsewhere_however_long_that_takes(world: Make) -> None:
    w = world(dag("d", "a"))
    old = w.executor("old")
    old.claim()
    run = w.trigger()
    new = w.executor("new")
    new.claim()
    refuse(old, is_unfit=True)
    w.run(1.0, beat=[old, new])
    assert new.holding("a").retry == 1
    new.report(new.holding("a"), End.HANDED_BACK)
    old.claim()
    new.finish()
    assert len(old.seen) == 1
    assert w.status(run) == "SUCCESS"


def test_a_busy_executor_is_waited_for_and_the_unfit_one_is_not_asked_again(world: Make) -> None:
    w = world(dag("d", "a"), dag("e", "a"))
    old, new = w.executor("old"), w.executor("new", slots=1)
    new.claim()
    w.trigger("e")
    assert new.holding("a").dag_id == "e"
    old.claim()
    run = w.trigger("d")
    refuse(old, is_unfit=True)
    w.run(120.0, step=5.0, beat=[old, new])
    assert len(old.seen) == 1
    new.finish()
    assert w.attempts(run) == [("a", 0, "FAILED_PENDING_RETRY", "REFUSED"), ("a", 1, "SUCCESS", None)]


def test_a_refusal_for_now_gives_others_the_turn_for_a_while(world: Make) -> None:
    w = world(dag("d", "a"))
    full, other = w.executor("full"), w.executor("other")
    full.claim()
    other.claim()
    w.trigger()
    first = full if full.held else other
    second = other if first is full else full
    refuse(first)
    w.run(1.0, beat=[full, other])
    assert second.held
    second.finish()
    w.run(12.0, beat=[full, other])
    now = w.now()
    assert not w.scheduler.memory.tasks.sessions[first.name].claimed([], now.utc, now).without


@pytest.mark.parametrize("is_unfit", [True, False])
def test_where_there_is_nobody_else_the_task_fails_with_what_was_said(world: Make, is_unfit: bool) -> None:
    w = world(dag("d", "a"))
    ex = w.executor("only")
    ex.claim()
    run = w.trigger()
    for _ in range(3):
        refuse(ex, is_unfit=is_unfit)
        w.run(1.5, beat=[ex])
    assert [status for _, _, status, _ in w.attempts(run)] == ["FAILED_PENDING_RETRY"] * 2 + ["FAILED"]


def test_when_the_others_are_gone_the_one_that_refused_is_asked_again(world: Make) -> None:
    w = world(dag("d", "a"))
    old, new = w.executor("old"), w.executor("new", slots=1)
    new.claim()
    old.claim()
    w.trigger()
    first, second = (old, new) if old.held else (new, old)
    refuse(first, is_unfit=True)
    w.run(100.0, step=5.0, beat=[first])  # the second is not heard of any more
    assert first.held
    assert second.name not in w.scheduler.memory.tasks.sessions
