"""Graphs of every shape run to their end, in order; these events → exactly these changes."""

import pytest

from engine.world import World, at, chain, fan, graph
from ppacer.engine import Engine, Reason, RunRef, ScheduleEvent
from ppacer.engine.changes import AttemptCreated, AttemptGranted, PointRecorded, RunChanged, RunCreated
from ppacer.engine.events import Claimed, Failed, LeaseExpired, PointsSkipped, RunDue, Succeeded, Triggered


def test_a_chain_of_two_from_its_point_to_its_end() -> None:
    world = World()
    assert world.due(graph("a", "b: a")) == [
        "point d REGULAR 1 next 61",
        "run 1 d@1 v1 schedule",
        "run 1 SCHEDULED > RUNNING",
        "a.0 new SCHEDULED",
    ]
    assert world.claim() == ["a.0 granted k1 to x"]
    assert world.succeed("a", "7") == ["a.0 RUNNING > SUCCESS by k1 = 7", "b.0 new SCHEDULED"]
    assert world.claim(executor="y") == ["b.0 granted k2 to y"]
    assert world.succeed("b") == ["b.0 RUNNING > SUCCESS by k2", "run 1 RUNNING > SUCCESS"]
    assert world.engine.runs == {}


def test_every_field_of_the_changes_of_a_trigger() -> None:
    world, ref = World(), RunRef(7, "d", at(3))
    world.now = 5
    assert world.changes(Triggered(ref, graph("a"), "v9", '{"n":1}')) == [
        PointRecorded("d", at(5), ScheduleEvent.MANUALLY_TRIGGERED, at(3), None),
        RunCreated(ref, at(5), "v9", "manual", '{"n":1}'),  # type: ignore[arg-type]  # a StrEnum equals its text
        RunChanged(ref, at(5), "SCHEDULED", "RUNNING"),  # type: ignore[arg-type]  # as above
        AttemptCreated(ref, "a", 0, 0, at(5)),
    ]
    world.now = 6
    assert world.changes(Claimed("x", ["t"], at(36))) == [
        AttemptGranted(ref, 0, "a", 0, at(6), "t", "x", at(36)),
    ]


def test_a_run_keeps_the_parameters_of_its_point_and_its_event() -> None:
    world = World()
    event = RunDue(RunRef(1, "d", at(1)), graph("a"), "v1", ScheduleEvent.CAUGHT_UP, None, '{"n":2}')
    assert world.handle(event)[:2] == ["point d CAUGHT_UP 1 next never", 'run 1 d@1 v1 schedule {"n":2}']
    assert world.engine.runs[1].params == '{"n":2}'


def test_skipped_points_are_one_record() -> None:
    assert World().handle(PointsSkipped("d", at(0), at(600))) == ["point d SKIPPED 0 next 600"]
    assert World().handle(PointsSkipped("d", at(0), None)) == ["point d SKIPPED 0 next never"]


def test_a_run_without_tasks_ends_as_it_begins() -> None:
    world = World()
    assert world.trigger(graph())[2:] == ["run 1 SCHEDULED > RUNNING", "run 1 RUNNING > SUCCESS"]
    assert world.engine.runs == {}
    assert world.claim() == []


def test_a_single_task() -> None:
    world = World()
    world.trigger(graph("only"))
    assert world.work() == ["only.0"]
    assert world.status() == "SUCCESS"


def test_one_three_one() -> None:
    world = World()
    world.trigger(fan(3))
    world.claim()
    assert world.succeed("first")[1:] == ["m0.0 new SCHEDULED", "m1.0 new SCHEDULED", "m2.0 new SCHEDULED"]
    assert len(world.claim(3)) == 3
    assert len(world.succeed("m1")) == len(world.succeed("m0")) == 1
    assert world.succeed("m2")[1:] == ["last.0 new SCHEDULED"]
    assert world.work() == ["last.0"]
    assert world.status() == "SUCCESS"


@pytest.mark.parametrize("length", [10, 25, 100])
def test_a_chain_runs_in_its_order(length: int) -> None:
    world = World()
    world.trigger(chain(length))
    assert world.work(count=5) == [f"t{n}.0" for n in range(length)]
    assert world.status() == "SUCCESS"


def test_several_roots_are_ready_at_once() -> None:
    world = World()
    assert world.trigger(graph("a", "b", "c: a b"))[3:] == ["a.0 new SCHEDULED", "b.0 new SCHEDULED"]
    assert world.work(2) == ["a.0", "b.0", "c.0"]


def test_two_runs_of_one_dag_do_not_touch_each_other() -> None:
    world = World()
    world.trigger(graph("a", "b: a"), 1)
    world.trigger(graph("a", "b: a"), 2)
    assert world.claim(2) == ["a.0 granted k1 to x", "2/a.0 granted k2 to x"]
    world.fail("a", run_id=1)
    world.succeed("a", run_id=2)
    assert world.work() == ["2/b.0"]
    assert (world.status(1), world.status(2)) == ("FAILED", "SUCCESS")


def test_two_dags_with_the_same_execution_time() -> None:
    world = World()
    for run_id, dag_id in ((1, "d"), (2, "e")):
        world.handle(Triggered(RunRef(run_id, dag_id, at(0)), graph("a"), "v1"))
    assert world.work(2) == ["a.0", "2/a.0"]
    assert (world.status(1), world.status(2)) == ("SUCCESS", "SUCCESS")


def test_what_is_ready_is_granted_first_in_first_out() -> None:
    world = World()
    world.trigger(graph("a", "b", "c: a"), 1)
    world.trigger(graph("z", "y"), 2)
    world.claim()
    world.succeed("a")
    assert world.claim(2) == ["b.0 granted k2 to x", "2/z.0 granted k3 to x"]
    assert world.claim(9) == ["2/y.0 granted k4 to x", "c.0 granted k5 to x"]


def test_a_claim_takes_as_much_as_it_has_tokens_and_not_more_than_there_is() -> None:
    world = World()
    world.trigger(graph("a", "b", "c"))
    assert world.engine.ready_count == 3
    assert world.claim(0) == []
    assert len(world.claim(2)) == 2
    assert world.engine.ready_count == 1
    assert len(world.claim(2)) == 1
    assert world.claim(2) == []


def test_a_task_gets_recorded_what_it_returned_and_took_and_which_code_ran() -> None:
    world = World()
    world.trigger(graph("a"))
    world.claim()
    done = Succeeded(1, "a", 0, "k1", "[1]", peak_memory=4096, body_hash="c0de", cpu_seconds=0.5)
    assert world.handle(done)[0] == "a.0 RUNNING > SUCCESS by k1 = [1] peak 4096 ran c0de cpu 0.5"


def test_a_failure_has_its_code_recorded_and_a_lost_attempt_has_none() -> None:
    world = World()
    world.trigger(graph("a", a={"retries": 1}))
    world.claim()
    failed = Failed(1, "a", 0, "k1", Reason.FAILED, "no", 1, body_hash="c0de", cpu_seconds=2.0)
    assert world.handle(failed)[0].endswith("peak 1 ran c0de cpu 2.0")
    world.claim()
    world.handle(LeaseExpired(1, "a", 1))
    lost = world.claim()
    assert lost[0].startswith("a.1 RUNNING > FAILED_PENDING_RETRY")
    assert not any(" ran " in change for change in lost)


def test_a_fan_in_of_ten_thousand_costs_each_parent_one_change() -> None:
    engine, width = Engine(), 10_000
    engine.handle(Triggered(RunRef(1, "d", at(0)), fan(width), "v1"), at(0))
    engine.handle(Claimed("x", ["first"], at(30)), at(0))
    assert len(engine.handle(Succeeded(1, "first", 0, "first"), at(0))) == 1 + width
    engine.handle(Claimed("x", [f"t{n}" for n in range(width)], at(30)), at(0))
    sizes = {len(engine.handle(Succeeded(1, f"m{n}", 0, f"t{n}"), at(0))) for n in range(width - 1)}
    assert sizes == {1}
    assert len(engine.handle(Succeeded(1, f"m{width - 1}", 0, f"t{width - 1}"), at(0))) == 2
