"""`max_active_runs`: how many runs of a dag are RUNNING at once; the others wait in the order they came."""

from engine.world import World, at, chain, graph
from ppacer.engine import RunRef
from ppacer.engine.engine import ROOM_DEFAULT
from ppacer.engine.events import Claimed, Succeeded, Triggered


def test_a_run_beyond_the_cap_waits() -> None:
    world = World(room=2)
    world.trigger(graph("a"), 1)
    world.trigger(graph("a"), 2)
    assert world.trigger(graph("a"), 3) == ["point d MANUALLY_TRIGGERED 3 next never", "run 3 d@3 v1 manual"]
    assert not world.engine.has_room("d")
    assert [world.status(run_id) for run_id in (1, 2, 3)] == ["RUNNING", "RUNNING", "SCHEDULED"]


def test_the_next_run_begins_in_the_call_that_ends_one() -> None:
    world = World(room=1)
    world.trigger(graph("a"), 1)
    world.trigger(graph("a"), 2)
    world.claim()
    assert world.succeed("a") == [
        "a.0 RUNNING > SUCCESS by k1",
        "run 1 RUNNING > SUCCESS",
        "run 2 SCHEDULED > RUNNING",
        "2/a.0 new SCHEDULED",
    ]


def test_waiting_runs_begin_in_their_order() -> None:
    world = World(room=1)
    for run_id in (1, 2, 3, 4):
        world.trigger(graph("a"), run_id)
    assert world.work() == ["a.0", "2/a.0", "3/a.0", "4/a.0"]


def test_a_failed_run_makes_room_too() -> None:
    world = World(room=1)
    world.trigger(chain(2), 1)
    world.trigger(chain(2), 2)
    world.claim()
    assert world.fail("t0")[-2:] == ["run 2 SCHEDULED > RUNNING", "2/t0.0 new SCHEDULED"]


def test_the_room_of_one_dag_is_not_that_of_another() -> None:
    world = World(room=1)
    world.trigger(graph("a"), 1)
    assert "run 2 SCHEDULED > RUNNING" in world.trigger(graph("a"), 2, dag_id="e")


def test_the_default_is_sixteen() -> None:
    world = World()
    for run_id in range(1, 18):
        world.trigger(graph("a"), run_id)
    assert ROOM_DEFAULT == 16
    assert [world.status(run_id) for run_id in (16, 17)] == ["RUNNING", "SCHEDULED"]


def test_more_room_lets_waiting_runs_begin() -> None:
    world = World(room=1)
    for run_id in (1, 2, 3, 4):
        world.trigger(graph("a"), run_id)
    lines = world.room(3)
    assert [line for line in lines if line.startswith("run")] == [
        "run 2 SCHEDULED > RUNNING",
        "run 3 SCHEDULED > RUNNING",
    ]


def test_less_room_ends_nothing_and_begins_nothing() -> None:
    world = World(room=3)
    for run_id in (1, 2, 3, 4):
        world.trigger(graph("a"), run_id)
    assert world.room(1) == []
    world.claim(3)
    assert world.succeed("a", run_id=1)[1:] == ["run 1 RUNNING > SUCCESS"]
    assert world.succeed("a", run_id=2)[1:] == ["run 2 RUNNING > SUCCESS"]
    assert "run 4 SCHEDULED > RUNNING" in world.succeed("a", run_id=3)


def test_a_thousand_waiting_runs_without_tasks_all_end() -> None:
    world = World(room=1)
    engine = world.engine
    world.trigger(graph("a"), 1)
    for run_id in range(2, 1002):
        engine.handle(Triggered(RunRef(run_id, "d", at(run_id)), graph(), "v1"), at(0))
    engine.handle(Claimed("x", ["k"], at(30)), at(0))
    changes = engine.handle(Succeeded(1, "a", 0, "k"), at(0))
    assert len(changes) == 2 + 2 * 1000
    assert (engine.runs, engine.waiting, engine.active) == ({}, {}, {})


def test_a_finished_dag_leaves_nothing_in_memory() -> None:
    world = World(room=2)
    for run_id in range(1, 8):
        world.trigger(chain(2), run_id)
    world.work(2, failing=["t1"])
    assert (world.engine.runs, world.engine.waiting, world.engine.active) == ({}, {}, {})
    assert world.engine.ready_count == 0
