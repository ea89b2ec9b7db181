"""Restart of a failed or cancelled run: what failed and what depends on it, in order, with a new budget."""

import pytest

from engine.world import World, chain, graph
from ppacer.engine import Reason
from ppacer.engine.events import Restart, Succeeded


def failed_in_the_middle() -> World:
    """a → b → c and d beside; b has failed, a and d have not."""
    world = World()
    world.trigger(graph("a", "b: a", "c: b", "d: a"))
    world.work(failing=["b"])
    return world


def test_a_restart_begins_with_what_failed_and_nothing_else() -> None:
    world = failed_in_the_middle()
    assert world.restart() == [
        "run 1 restart 1",
        "run 1 FAILED > SCHEDULED",
        "run 1 SCHEDULED > RUNNING",
        "b.1 new SCHEDULED in restart 1",
    ]
    assert world.statuses() == {"a": "SUCCESS", "b": "SCHEDULED", "c": "NO_STATUS", "d": "SUCCESS"}
    assert world.claim(9) == ["b.1 granted k4 to x"]


def test_downstream_tasks_wait_for_their_retried_parent() -> None:
    """Defect 1 of the original: they started beside it."""
    world = World()
    world.trigger(graph("a", "b: a", "c: b", "d: b c"))
    world.work(failing=["a"])
    world.restart()
    for task_id in ("a", "b", "c"):
        assert len(world.claim(9)) == 1
        world.succeed(task_id)
    assert world.work() == ["d.1"]
    assert world.status() == "SUCCESS"


def test_a_restart_that_fails_again_fails_downstream_again() -> None:
    world = failed_in_the_middle()
    world.restart()
    world.claim()
    assert world.fail("b") == [
        "b.1 RUNNING > FAILED by k4 FAILED (no)",
        "alert FAILURE b.1 no",
        "c.1 new UPSTREAM_FAILED in restart 1",
        "run 1 RUNNING > FAILED",
    ]


def test_a_run_that_is_not_restarted_stays_as_it_is() -> None:
    world = failed_in_the_middle()
    assert world.claim() == []
    assert world.engine.runs == {}


@pytest.mark.parametrize("times", [0, 1, 2, 10])
def test_restarted_many_times_every_task_has_gapless_numbers(times: int) -> None:
    world = World()
    world.trigger(chain(3))
    world.work(failing=["t1"])
    for n in range(1, times + 1):
        assert world.restart()[0] == f"run 1 restart {n}"
        world.work(failing=["t1"] if n < times else [])
    assert world.status() == ("FAILED" if times == 0 else "SUCCESS")
    assert [world.rows.latest(1, f"t{n}") for n in range(3)] == [0, times, times]


def test_a_restart_has_a_new_budget_of_retries() -> None:
    world = World()
    world.trigger(graph("a", a={"retries": 1}))
    assert world.work(failing=["a"]) == ["a.0", "a.1"]
    world.restart()
    assert world.work(failing=["a"]) == ["a.2", "a.3"]
    assert world.status() == "FAILED"


def test_a_restart_has_a_new_budget_of_losses_and_refusals() -> None:
    world = World()
    world.trigger(graph("a", "b"))
    world.claim(2)
    for _ in range(3):
        world.lose("a")
        world.claim()
    world.lose("a")
    for _ in range(2):
        world.fail("b", Reason.REFUSED)
        world.wait(1)
        world.claim()
    world.fail("b", Reason.REFUSED)
    assert world.status() == "FAILED"
    world.restart()
    world.claim(2)
    assert world.lose("a") == ["a.4 lost"]
    assert world.fail("b", Reason.REFUSED)[0].endswith("retry at 3")


def test_the_back_off_begins_anew() -> None:
    world = World()
    world.trigger(graph("a", a={"retries": 2, "retry_delay": 1.0, "retry_backoff": 10.0}))
    for _ in range(3):
        world.claim()
        world.fail("a")
        world.wait(10)
    world.restart()
    world.claim()
    assert world.fail("a")[0].endswith(f"retry at {world.now + 1:g}")


def test_a_retry_from_before_the_restart_does_not_come_due_in_it() -> None:
    world = World()
    world.trigger(graph("a", a={"retries": 1, "retry_delay": 100.0}))
    world.claim()
    world.fail("a")
    world.now = 50
    world.cancel()
    world.restart()
    world.claim()
    assert world.fail("a")[0].endswith("retry at 150")
    assert world.wait(50) == []
    assert world.wait(50) == ["a.3 new SCHEDULED in restart 1"]


def test_a_cancelled_run_can_be_restarted() -> None:
    world = World()
    world.trigger(chain(3))
    world.claim()
    world.succeed("t0")
    world.cancel()
    assert world.restart() == [
        "run 1 restart 1",
        "run 1 CANCELLED > SCHEDULED",
        "run 1 SCHEDULED > RUNNING",
        "t1.1 new SCHEDULED in restart 1",
    ]
    assert world.work() == ["t1.1", "t2.1"]
    assert world.status() == "SUCCESS"
    assert not world.rows.runs[1].cancelling


def test_a_run_cancelled_while_it_waited_can_be_restarted() -> None:
    world = World(room=1)
    world.trigger(chain(1), 2)
    world.trigger(chain(2), 1)
    world.cancel(1)
    assert world.restart(1)[-1] == "run 1 CANCELLED > SCHEDULED"
    assert sorted(world.work()) == ["2/t0.0", "t0.1", "t1.1"]


def test_a_run_without_tasks_can_be_restarted_after_a_cancel() -> None:
    world = World(room=1)
    world.trigger(chain(1), 2)
    world.trigger(graph(), 1)
    world.cancel(1)
    world.work()
    assert world.restart(1)[-1] == "run 1 RUNNING > SUCCESS"


def test_a_cancel_after_a_restart_works() -> None:
    world = failed_in_the_middle()
    world.restart()
    assert world.cancel()[-1] == "run 1 RUNNING > CANCELLED"
    assert world.statuses() == {"a": "SUCCESS", "b": "CANCELLED", "c": "CANCELLED", "d": "SUCCESS"}


def test_a_success_is_not_restarted() -> None:
    world = World()
    world.trigger(chain(2))
    world.work()
    assert world.restart() == []
    assert world.engine.runs == {}


def test_an_open_run_is_not_restarted() -> None:
    world = World(room=1)
    world.trigger(chain(2), 1)
    world.trigger(chain(2), 2)
    assert world.restart(1) == []
    assert world.restart(2) == []
    world.cancel(1)
    assert world.restart(2) == []


def test_a_restart_of_a_run_that_is_not_in_memory_changes_nothing() -> None:
    assert failed_in_the_middle().handle(Restart(1)) == []


def test_a_restarted_run_waits_for_room_behind_those_that_wait() -> None:
    world = World(room=1)
    world.trigger(chain(1), 1)
    world.work(failing=["t0"])
    world.trigger(chain(1), 2)
    world.trigger(chain(1), 3)
    assert world.restart(1) == ["run 1 restart 1", "run 1 FAILED > SCHEDULED"]
    assert world.work() == ["2/t0.0", "3/t0.0", "t0.1"]


def test_tokens_from_before_the_restart_are_refused() -> None:
    world = failed_in_the_middle()
    world.restart()
    world.claim()
    assert world.handle(Succeeded(1, "b", 0, "k2")) == []
    assert world.handle(Succeeded(1, "b", 1, "k2")) == []


def test_what_was_offered_before_the_cancel_is_not_offered_twice_after_the_restart() -> None:
    world = World()
    world.trigger(graph("a", "b"))
    world.cancel()
    world.restart()
    assert world.engine.ready_count == 2
    assert world.claim(9) == ["a.1 granted k1 to x", "b.1 granted k2 to x"]


def test_results_of_before_are_still_there() -> None:
    world = World()
    world.trigger(chain(2))
    world.claim()
    world.succeed("t0", "42")
    world.claim()
    world.fail("t1")
    world.restart()
    assert [task.has_result for task in world.engine.runs[1].tasks] == [True, False]
