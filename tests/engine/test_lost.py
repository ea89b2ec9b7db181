"""Attempts whose executor is gone, gives them back, or refuses them."""

import pytest

from engine.world import World, graph
from ppacer.engine import Reason
from ppacer.engine.events import Failed, LeaseExpired, LeaseRenewed, Succeeded

LOST = "lost: executor x is gone, with its program or for longer than a lease"


def one(*, at_most_once: bool = False, **config: int) -> World:
    """A run of `a` and then `b`, with `a` claimed by x."""
    world = World()
    world.trigger(graph("a", "b: a", a={"at_most_once": at_most_once, **config}))
    world.claim()
    return world


def test_a_lost_attempt_stays_running_until_its_successor_is_granted() -> None:
    world = one()
    assert world.lose("a") == ["a.0 lost"]
    assert world.statuses()["a"] == "RUNNING"
    assert world.engine.ready_count == 1
    assert world.claim(executor="y") == [
        f"a.0 RUNNING > FAILED_PENDING_RETRY by k1 LOST ({LOST}) retry at 0",
        "a.1 new SCHEDULED",
        "a.1 granted k2 to y",
    ]
    assert world.succeed("a")[0] == "a.1 RUNNING > SUCCESS by k2"


def test_a_late_success_counts_before_the_replacement() -> None:
    world = one()
    world.lose("a")
    assert world.handle(Succeeded(1, "a", 0, "k1")) == ["a.0 RUNNING > SUCCESS by k1", "b.0 new SCHEDULED"]
    assert world.claim(2) == ["b.0 granted k2 to x"]


def test_a_late_success_is_refused_after_the_replacement() -> None:
    world = one()
    world.lose("a")
    world.claim()
    assert world.handle(Succeeded(1, "a", 0, "k1", '"late"')) == []
    assert world.handle(Succeeded(1, "a", 1, "k1", '"late"')) == []  # the token decides, not the number
    assert world.succeed("a", '"in time"')[0] == 'a.1 RUNNING > SUCCESS by k2 = "in time"'


def test_a_late_failure_counts_before_the_replacement() -> None:
    world = one(retries=1)
    world.lose("a")
    assert world.fail("a") == [
        "a.0 RUNNING > FAILED_PENDING_RETRY by k1 FAILED (no) retry at 0",
        "a.1 new SCHEDULED",
    ]
    assert world.claim(2) == ["a.1 granted k2 to x"]


def test_an_attempt_that_was_heard_of_after_all_is_no_lost_one() -> None:
    """It is not one of the three that are granted anew, neither in memory nor after a start."""
    world = one(retries=4)
    for _ in range(4):
        world.lose("a")
        world.fail("a")
        world.claim()
    world.forget_everything()
    assert world.lose("a") == ["a.4 lost"]


def test_a_lost_attempt_whose_executor_comes_back_in_time_goes_on() -> None:
    world = one()
    world.lose("a")
    assert world.find("a") == ["a.0 found"]
    assert world.find("a") == []
    assert world.engine.ready_count == 0
    assert world.claim() == []
    assert world.succeed("a")[0] == "a.0 RUNNING > SUCCESS by k1"


def test_an_attempt_that_was_found_can_be_lost_again_and_is_offered_once() -> None:
    world = one()
    for _ in range(5):  # more often than losses are granted anew
        world.lose("a")
        world.find("a")
    assert world.lose("a") == ["a.0 lost"]
    assert len(world.engine.ready) == 1
    assert world.claim(2)[-1] == "a.1 granted k2 to x"
    assert world.handle(LeaseRenewed(1, "a", 0, "k1")) == []  # too late


def test_a_found_attempt_was_never_lost_after_a_start() -> None:
    world = one()
    for _ in range(4):
        world.lose("a")
        world.find("a")
    world.forget_everything()
    assert world.lose("a") == ["a.0 lost"]


def test_the_retry_of_a_lost_attempt_queues_behind_what_came_before_it() -> None:
    world = World()
    world.trigger(graph("a", "b", "c: b", a={"retries": 1}))
    world.claim(2)
    world.lose("a")
    world.succeed("b")
    world.fail("a")
    assert world.claim(2) == ["c.0 granted k3 to x", "a.1 granted k4 to x"]


def test_a_late_final_failure_takes_the_offer_back() -> None:
    world = one()
    world.lose("a")
    assert world.fail("a")[-1] == "run 1 RUNNING > FAILED"
    assert world.engine.ready_count == 0
    assert world.claim() == []


def test_being_lost_uses_up_no_retry() -> None:
    world = one(retries=1)
    world.lose("a")
    world.claim()
    assert "FAILED_PENDING_RETRY" in world.fail("a")[0]
    world.claim()
    assert world.fail("a")[-1] == "run 1 RUNNING > FAILED"


def test_three_times_granted_anew_then_failed() -> None:
    world = one(retries=5)
    for retry in range(3):
        assert world.lose("a") == [f"a.{retry} lost"]
        assert world.claim()[-1] == f"a.{retry + 1} granted k{retry + 2} to x"
    error = "lost: 4 times its executor was gone while this task ran; it is not started again"
    assert world.lose("a") == [
        f"a.3 RUNNING > FAILED by k4 LOST ({error})",
        f"alert FAILURE a.3 {error}",
        "b.0 new UPSTREAM_FAILED",
        "run 1 RUNNING > FAILED",
    ]


def test_a_lost_attempt_that_may_run_once_only_has_failed() -> None:
    world = one(at_most_once=True)
    error = "lost: its executor is gone, and a task with at_most_once is not started again"
    assert world.lose("a")[:2] == [f"a.0 RUNNING > FAILED by k1 LOST ({error})", f"alert FAILURE a.0 {error}"]
    assert world.handle(Succeeded(1, "a", 0, "k1")) == []
    assert world.status() == "FAILED"


def test_a_lease_that_ends_twice_is_one_loss() -> None:
    world = one()
    world.lose("a")
    assert world.lose("a") == []
    assert world.engine.ready_count == 1


def test_the_end_of_the_lease_of_a_replaced_attempt_changes_nothing() -> None:
    world = one()
    world.lose("a")
    world.claim()
    assert world.handle(LeaseExpired(1, "a", 0)) == []
    assert world.handle(LeaseExpired(1, "b", -1)) == []
    assert world.handle(LeaseExpired(1, "b", 0)) == []


def test_handed_back_costs_no_retry_and_no_alert() -> None:
    world = one(alert_on_retry=True)
    for retry in range(10):
        assert world.fail("a", Reason.HANDED_BACK, None) == [
            f"a.{retry} RUNNING > FAILED_PENDING_RETRY by k{retry + 1} HANDED_BACK retry at 0",
            f"a.{retry + 1} new SCHEDULED",
        ]
        world.claim()
    assert world.succeed("a")[0].startswith("a.10 RUNNING > SUCCESS")


def test_handed_back_before_it_began_costs_nothing_not_even_what_may_run_once_only() -> None:
    world = one(at_most_once=True)
    retry, token = world.running(1, "a")
    assert world.handle(Failed(1, "a", retry, token, Reason.HANDED_BACK, begun=False)) == [
        "a.0 RUNNING > FAILED_PENDING_RETRY by k1 HANDED_BACK retry at 0",
        "a.1 new SCHEDULED",
    ]


def test_handed_back_is_the_end_of_what_may_run_once_only() -> None:
    world = one(at_most_once=True)
    assert "RUNNING > FAILED by k1 HANDED_BACK" in world.fail("a", Reason.HANDED_BACK)[0]


def test_cancelled_by_mistake_costs_nothing() -> None:
    """An executor may be told to end what nobody has cancelled, by a scheduler that knows no better."""
    world = one()
    assert world.fail("a", Reason.CANCELLED, "ended") == [
        "a.0 RUNNING > FAILED_PENDING_RETRY by k1 HANDED_BACK (ended) retry at 0",
        "a.1 new SCHEDULED",
    ]
    world.claim()
    world.cancel()
    assert "a.1 RUNNING > CANCELLED by k2 CANCELLED (ended)" in world.fail("a", Reason.CANCELLED, "ended")


def test_cancelled_by_mistake_is_a_loss_of_what_may_run_once_only() -> None:
    world = one(at_most_once=True)
    assert "RUNNING > FAILED by k1 LOST" in world.fail("a", Reason.CANCELLED)[0]


def test_cancelled_by_mistake_before_it_began_costs_nothing_not_even_then() -> None:
    world = one(at_most_once=True)
    retry, token = world.running(1, "a")
    event = Failed(1, "a", retry, token, Reason.CANCELLED, begun=False)
    assert world.handle(event)[-1] == "a.1 new SCHEDULED"


def test_a_loss_that_the_executor_tells_is_granted_anew_at_once_three_times() -> None:
    world = one()
    for retry in range(3):
        assert world.fail("a", Reason.LOST, "died") == [
            f"a.{retry} RUNNING > FAILED_PENDING_RETRY by k{retry + 1} LOST (died) retry at 0",
            f"a.{retry + 1} new SCHEDULED",
        ]
        world.claim()
    assert world.fail("a", Reason.LOST, "died")[:2] == [
        "a.3 RUNNING > FAILED by k4 LOST (died)",
        "alert FAILURE a.3 died",
    ]


def test_losses_told_and_losses_noticed_count_together() -> None:
    world = one()
    for lose in (world.lose, lambda task_id: world.fail(task_id, Reason.LOST), world.lose):
        lose("a")
        world.claim()
    assert "RUNNING > FAILED by k4 LOST" in world.fail("a", Reason.LOST)[0]


def test_a_loss_that_was_noticed_before_it_is_told_is_one_loss() -> None:
    world = one()
    for _ in range(3):
        world.lose("a")
        assert "FAILED_PENDING_RETRY" in world.fail("a", Reason.LOST)[0]
        world.claim()
    assert "RUNNING > FAILED by k4 LOST" in world.fail("a", Reason.LOST)[0]


def test_a_loss_that_the_executor_tells_is_the_end_of_what_may_run_once_only() -> None:
    world = one(at_most_once=True)
    assert "RUNNING > FAILED by k1 LOST" in world.fail("a", Reason.LOST)[0]


def test_a_refused_attempt_is_offered_again_a_second_later() -> None:
    world = one()
    assert world.fail("a", Reason.REFUSED, "unknown task") == [
        "a.0 RUNNING > FAILED_PENDING_RETRY by k1 REFUSED (unknown task) retry at 1"
    ]
    assert world.claim() == []
    assert world.wait(1) == ["a.1 new SCHEDULED"]


@pytest.mark.parametrize("once", [False, True])
def test_refused_three_times_is_a_failure(once: bool) -> None:
    world = one(at_most_once=once)
    for _ in range(2):
        assert len(world.fail("a", Reason.REFUSED, begun=False)) == 1
        world.wait(1)
        world.claim()
    assert world.fail("a", Reason.REFUSED, "unknown task", begun=False)[:2] == [
        "a.2 RUNNING > FAILED by k3 REFUSED (unknown task)",
        "alert FAILURE a.2 unknown task",
    ]


def test_what_may_run_once_only_and_has_perhaps_begun_is_not_offered_again() -> None:
    world = one(at_most_once=True)
    assert "RUNNING > FAILED by k1 REFUSED" in world.fail("a", Reason.REFUSED, "the pipe broke")[0]


def test_refusals_use_up_no_retry() -> None:
    world = one(retries=1)
    world.fail("a", Reason.REFUSED)
    world.wait(1)
    world.claim()
    assert "FAILED_PENDING_RETRY" in world.fail("a")[0]


def test_an_attempt_ends_by_its_token_whatever_number_is_told() -> None:
    world = one()
    assert world.handle(Failed(1, "a", 99, "k1", Reason.FAILED, "x"))[0].startswith("a.0 RUNNING > FAILED")
