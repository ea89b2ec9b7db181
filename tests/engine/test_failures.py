"""A task that fails: what is downstream fails with it in the same breath, what is beside it goes on."""

import pytest

from engine.world import World, chain, graph
from ppacer.engine import Reason


def test_the_first_task_of_a_chain_fails() -> None:
    world = World()
    world.trigger(chain(3))
    world.claim()
    assert world.fail("t0", error="ouch") == [
        "t0.0 RUNNING > FAILED by k1 FAILED (ouch)",
        "alert FAILURE t0.0 ouch",
        "t1.0 new UPSTREAM_FAILED",
        "t2.0 new UPSTREAM_FAILED",
        "run 1 RUNNING > FAILED",
    ]


def test_the_middle_task_of_a_chain_fails() -> None:
    world = World()
    world.trigger(chain(3))
    world.claim()
    world.succeed("t0")
    world.claim()
    assert world.fail("t1")[2:] == ["t2.0 new UPSTREAM_FAILED", "run 1 RUNNING > FAILED"]
    assert world.statuses() == {"t0": "SUCCESS", "t1": "FAILED", "t2": "UPSTREAM_FAILED"}


def test_the_last_task_of_a_chain_fails() -> None:
    world = World()
    world.trigger(chain(3))
    assert world.work(failing=["t2"]) == ["t0.0", "t1.0", "t2.0"]
    assert world.statuses() == {"t0": "SUCCESS", "t1": "SUCCESS", "t2": "FAILED"}
    assert world.status() == "FAILED"


def test_everything_downstream_fails_in_the_same_call_however_deep() -> None:
    world = World()
    world.trigger(chain(100))
    world.claim()
    lines = world.fail("t0")
    assert lines[2:-1] == [f"t{n}.0 new UPSTREAM_FAILED" for n in range(1, 100)]


def test_a_task_with_two_failed_parents_gets_one_row() -> None:
    world = World()
    world.trigger(graph("a", "b", "c: a b", "d: c"))
    world.claim(2)
    assert world.fail("a")[2:] == ["c.0 new UPSTREAM_FAILED", "d.0 new UPSTREAM_FAILED"]
    assert world.fail("b")[2:] == ["run 1 RUNNING > FAILED"]


def test_a_parallel_branch_goes_on_and_the_run_ends_with_it() -> None:
    world = World()
    world.trigger(graph("a", "bad: a", "good: a", "more: good", "join: bad more"))
    assert world.work(failing=["bad"]) == ["a.0", "bad.0", "good.0", "more.0"]
    assert world.statuses()["more"] == "SUCCESS"
    assert world.statuses()["join"] == "UPSTREAM_FAILED"
    assert world.status() == "FAILED"


def test_a_success_beside_a_failure_starts_nothing_that_needs_both() -> None:
    world = World()
    world.trigger(graph("a", "b", "c: a b"))
    world.claim(2)
    world.fail("a")
    assert world.succeed("b") == ["b.0 RUNNING > SUCCESS by k2", "run 1 RUNNING > FAILED"]


def test_a_failure_of_one_run_leaves_the_other_run_alone() -> None:
    world = World()
    world.trigger(chain(2), 1)
    world.trigger(chain(2), 2)
    world.claim(2)
    world.fail("t0", run_id=2)
    assert (world.status(1), world.status(2)) == ("RUNNING", "FAILED")


@pytest.mark.parametrize("reason", [Reason.FAILED, Reason.TIMED_OUT])
def test_the_reason_and_the_error_are_kept(reason: Reason) -> None:
    world = World()
    world.trigger(graph("a"))
    world.claim()
    assert world.fail("a", reason, "because")[0] == f"a.0 RUNNING > FAILED by k1 {reason} (because)"


def test_no_alert_where_none_is_wanted() -> None:
    world = World()
    world.trigger(graph("a", "b: a", a={"alert_on_failure": False}))
    world.claim()
    assert world.fail("a") == [
        "a.0 RUNNING > FAILED by k1 FAILED (no)",
        "b.0 new UPSTREAM_FAILED",
        "run 1 RUNNING > FAILED",
    ]


def test_upstream_failure_raises_no_alert() -> None:
    world = World()
    world.trigger(chain(5))
    world.claim()
    assert [line for line in world.fail("t0") if line.startswith("alert")] == ["alert FAILURE t0.0 no"]
