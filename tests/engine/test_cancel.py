"""Cancelling: what waits ends at once, what runs when it is reported; a success already reached stays."""

from engine.world import World, chain, graph
from ppacer.engine import Reason
from ppacer.engine.events import Succeeded


def test_a_run_that_waits_for_room_ends_at_once() -> None:
    world = World(room=1)
    world.trigger(graph("x"), 2)
    world.trigger(chain(2), 1)
    assert world.cancel(1) == [
        "run 1 cancel",
        "t0.0 new CANCELLED",
        "t1.0 new CANCELLED",
        "run 1 SCHEDULED > CANCELLED",
    ]
    assert world.engine.waiting == {}
    assert world.work() == ["2/x.0"]


def test_a_run_without_tasks_that_waits_for_room() -> None:
    world = World(room=1)
    world.trigger(graph("x"), 2)
    world.trigger(graph(), 1)
    assert world.cancel(1) == ["run 1 cancel", "run 1 SCHEDULED > CANCELLED"]


def test_a_scheduled_attempt_ends_at_once_and_is_granted_to_nobody() -> None:
    world = World()
    world.trigger(chain(2))
    assert world.cancel() == [
        "run 1 cancel",
        "t0.0 SCHEDULED > CANCELLED CANCELLED",
        "t1.0 new CANCELLED",
        "run 1 RUNNING > CANCELLED",
    ]
    assert world.claim() == []


def test_a_running_attempt_ends_when_its_end_is_reported() -> None:
    world = World()
    world.trigger(chain(2))
    world.claim()
    assert world.cancel() == ["run 1 cancel", "t1.0 new CANCELLED"]
    assert world.status() == "RUNNING"
    assert world.fail("t0", Reason.CANCELLED, "stopped") == [
        "t0.0 RUNNING > CANCELLED by k1 CANCELLED (stopped)",
        "run 1 RUNNING > CANCELLED",
    ]


def test_a_success_that_comes_after_the_cancel_stays_a_success() -> None:
    world = World()
    world.trigger(chain(2))
    world.claim()
    world.cancel()
    assert world.succeed("t0") == ["t0.0 RUNNING > SUCCESS by k1", "run 1 RUNNING > CANCELLED"]
    assert world.statuses() == {"t0": "SUCCESS", "t1": "CANCELLED"}


def test_a_run_whose_last_task_still_succeeds_is_a_success() -> None:
    world = World()
    world.trigger(chain(1))
    world.claim()
    assert world.cancel() == ["run 1 cancel"]
    assert world.succeed("t0")[-1] == "run 1 RUNNING > SUCCESS"


def test_a_failure_after_the_cancel_is_no_retry_and_no_alert() -> None:
    world = World()
    world.trigger(graph("a", a={"retries": 5, "alert_on_retry": True}))
    world.claim()
    world.cancel()
    assert world.fail("a") == ["a.0 RUNNING > CANCELLED by k1 FAILED (no)", "run 1 RUNNING > CANCELLED"]


def test_what_is_handed_back_after_the_cancel_is_not_granted_again() -> None:
    world = World()
    world.trigger(graph("a"))
    world.claim()
    world.cancel()
    assert world.fail("a", Reason.HANDED_BACK)[-1] == "run 1 RUNNING > CANCELLED"


def test_a_pending_retry_ends_at_once() -> None:
    world = World()
    world.trigger(graph("a", a={"retries": 1, "retry_delay": 10.0}))
    world.claim()
    world.fail("a")
    assert world.cancel() == ["run 1 cancel", "a.1 new CANCELLED", "run 1 RUNNING > CANCELLED"]
    assert world.wait(100) == []


def test_a_lost_attempt_ends_at_once_and_its_late_success_is_refused() -> None:
    world = World()
    world.trigger(chain(2))
    world.claim()
    world.lose("t0")
    error = "lost: its executor is gone, and the run was cancelled"
    assert world.cancel() == [
        "run 1 cancel",
        f"t0.0 RUNNING > CANCELLED by k1 LOST ({error})",
        "t1.0 new CANCELLED",
        "run 1 RUNNING > CANCELLED",
    ]
    assert world.handle(Succeeded(1, "t0", 0, "k1")) == []
    assert world.claim() == []


def test_an_attempt_that_is_lost_after_the_cancel_ends_the_run() -> None:
    world = World()
    world.trigger(chain(2))
    world.claim()
    world.cancel()
    error = "lost: its executor is gone, and the run was cancelled"
    assert world.lose("t0") == [
        f"t0.0 RUNNING > CANCELLED by k1 LOST ({error})",
        "run 1 RUNNING > CANCELLED",
    ]


def test_several_lost_attempts_end_with_the_run_once() -> None:
    world = World()
    world.trigger(graph("a", "b", "c"))
    world.claim(2)
    world.lose("a")
    world.lose("b")
    lines = world.cancel()
    assert lines[-1] == "run 1 RUNNING > CANCELLED"
    assert len([line for line in lines if line.startswith("run 1 RUNNING")]) == 1
    assert set(world.statuses().values()) == {"CANCELLED"}


def test_failures_from_before_the_cancel_stay() -> None:
    world = World()
    world.trigger(graph("a", "b", "c: a"))
    world.claim()
    world.fail("a")
    assert world.cancel() == [
        "run 1 cancel",
        "b.0 SCHEDULED > CANCELLED CANCELLED",
        "run 1 RUNNING > CANCELLED",
    ]
    assert world.statuses() == {"a": "FAILED", "b": "CANCELLED", "c": "UPSTREAM_FAILED"}


def test_a_second_cancel_changes_nothing() -> None:
    world = World()
    world.trigger(chain(2))
    world.claim()
    world.cancel()
    assert world.cancel() == []


def test_a_cancelled_run_makes_room_for_the_next_one() -> None:
    world = World(room=1)
    world.trigger(graph("a"), 1)
    world.trigger(graph("a"), 2)
    assert world.cancel(1)[-2:] == ["run 2 SCHEDULED > RUNNING", "2/a.0 new SCHEDULED"]
