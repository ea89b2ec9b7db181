"""Events about something that is not so (any more), and events that come twice: they change nothing."""

from collections.abc import Callable

import pytest

from engine.oracle import picture
from engine.world import World, at, graph
from ppacer.engine import Reason, RunRef, ScheduleEvent
from ppacer.engine.events import (
    Cancel,
    Claimed,
    Event,
    Failed,
    LeaseExpired,
    LeaseRenewed,
    Restart,
    RetryDue,
    RoomChanged,
    RunDue,
    Succeeded,
    Triggered,
)

REF = RunRef(1, "d", at(1))
GRAPH = graph("a", "b: a", a={"retries": 1, "retry_delay": 5.0})


def started() -> World:
    world = World()
    world.trigger(GRAPH)
    world.claim()
    return world


def finished() -> World:
    world = started()
    world.succeed("a")
    world.claim()
    world.succeed("b")
    return world


def pending() -> World:
    world = started()
    world.fail("a")
    return world


UNKNOWN: list[Event] = [
    Succeeded(9, "a", 0, "k1"),
    Succeeded(1, "z", 0, "k1"),
    Succeeded(1, "a", 0, "other"),
    Succeeded(1, "a", 0, ""),
    Succeeded(1, "b", 0, "k1"),
    Failed(9, "a", 0, "k1", Reason.FAILED),
    Failed(1, "z", 0, "k1", Reason.FAILED),
    Failed(1, "a", 0, "other", Reason.TIMED_OUT),
    Failed(1, "b", 0, "k1", Reason.REFUSED),
    LeaseExpired(9, "a", 0),
    LeaseExpired(1, "z", 0),
    LeaseExpired(1, "a", 1),
    LeaseExpired(1, "a", -1),
    LeaseExpired(1, "b", -1),
    LeaseRenewed(1, "a", 0, "k1"),
    LeaseRenewed(9, "a", 0, "k1"),
    RetryDue(9, "a", 0),
    RetryDue(1, "z", 0),
    RetryDue(1, "a", 0),
    RetryDue(1, "b", -1),
    Cancel(9),
    Restart(9),
    Restart(1),
    Claimed("x", ["more"], at(30)),
    Claimed("x", [], at(30)),
]


@pytest.mark.parametrize("event", UNKNOWN, ids=repr)
def test_what_is_not_so_changes_nothing(event: Event) -> None:
    world = started()
    before = picture(world.engine)
    assert world.handle(event) == []
    assert picture(world.engine) == before


@pytest.mark.parametrize("event", [*UNKNOWN, Cancel(1), Failed(1, "b", 0, "k2", Reason.FAILED)], ids=repr)
def test_nothing_changes_a_run_that_has_ended(event: Event) -> None:
    world = finished()
    assert world.handle(event) == []
    assert world.engine.runs == {}


TWICE: list[tuple[Callable[[], World], Event]] = [
    (World, Triggered(REF, GRAPH, "v1")),
    (World, RunDue(REF, GRAPH, "v1", ScheduleEvent.REGULAR, at(9))),
    (started, Succeeded(1, "a", 0, "k1")),
    (started, Failed(1, "a", 0, "k1", Reason.FAILED)),
    (started, Failed(1, "a", 0, "k1", Reason.HANDED_BACK)),
    (started, Failed(1, "a", 0, "k1", Reason.REFUSED)),
    (started, LeaseExpired(1, "a", 0)),
    (started, Cancel(1)),
    (pending, RetryDue(1, "a", 0)),
    (pending, Cancel(1)),
]


@pytest.mark.parametrize(
    ("world", "event"), TWICE, ids=lambda one: getattr(one, "__name__", type(one).__name__)
)
def test_an_event_that_comes_twice_counts_once(world: Callable[[], World], event: Event) -> None:
    here = world()
    assert here.handle(event) != []
    before = picture(here.engine)
    assert here.handle(event) == []
    assert picture(here.engine) == before


def test_a_restart_that_comes_twice_counts_once() -> None:
    world = World()
    world.trigger(graph("a"))
    world.work(failing=["a"])
    assert world.restart() != []
    assert world.handle(Restart(1)) == []


def test_room_that_does_not_change_changes_nothing() -> None:
    world = World(room=1)
    world.trigger(graph("a"), 1)
    world.trigger(graph("a"), 2)
    assert world.handle(RoomChanged("d", 1)) == []
    assert world.handle(RoomChanged("unknown", 3)) == []


def test_forgetting_an_open_or_unknown_run_does_nothing() -> None:
    world = started()
    world.engine.forget(1)
    world.engine.forget(9)
    assert set(world.engine.runs) == {1}
