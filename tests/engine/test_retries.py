"""Retries: how many, how long after, and which alerts."""

import itertools
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.world import World, at, graph
from ppacer.dag import TaskSpec
from ppacer.engine import Reason, RunRef
from ppacer.engine.retries import retry_delay

REF = RunRef(1, "d", at(0))


def one(**config: Any) -> World:
    """A run of the single task `a`, claimed."""
    world = World()
    world.trigger(graph("a", a=config))
    world.claim()
    return world


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert one(retries=0).fail("a")[-1] == "run 1 RUNNING > FAILED"


def test_a_retry_without_delay_is_ready_in_the_same_call() -> None:
    world = one(retries=1)
    assert world.fail("a") == [
        "a.0 RUNNING > FAILED_PENDING_RETRY by k1 FAILED (no) retry at 0",
        "a.1 new SCHEDULED",
    ]
    assert world.claim() == ["a.1 granted k2 to x"]


def test_success_on_the_last_allowed_try() -> None:
    world = one(retries=3)
    for _ in range(3):
        world.fail("a")
        world.claim()
    assert world.succeed("a") == ["a.3 RUNNING > SUCCESS by k4", "run 1 RUNNING > SUCCESS"]
    assert not world.rows.alerts


def test_exhausted_retries_are_one_failure_alert() -> None:
    world = one(retries=2)
    lines = world.fail("a")
    for _ in range(2):
        world.claim()
        lines += world.fail("a")
    assert [line for line in lines if line.startswith("alert")] == ["alert FAILURE a.2 no"]
    assert world.status() == "FAILED"
    assert world.claim() == []


def test_an_alert_for_every_retry_when_asked() -> None:
    world = one(retries=2, alert_on_retry=True)
    lines = world.fail("a", error="1")
    world.claim()
    lines += world.fail("a", error="2")
    world.claim()
    lines += world.fail("a", error="3")
    alerts = [line for line in lines if line.startswith("alert")]
    assert alerts == ["alert RETRY a.0 1", "alert RETRY a.1 2", "alert FAILURE a.2 3"]


def test_an_alert_for_retries_only() -> None:
    world = one(retries=1, alert_on_retry=True, alert_on_failure=False)
    lines = world.fail("a")
    world.claim()
    lines += world.fail("a")
    assert [line for line in lines if line.startswith("alert")] == ["alert RETRY a.0 no"]


def test_parallel_branches_have_retries_of_their_own() -> None:
    world = World()
    world.trigger(graph("a", "b", "c", "d: a", a={"retries": 0}, b={"retries": 1}, c={"retries": 2}))
    order = world.work(3, failing=["a", "b", "c"])
    assert sorted(order) == ["a.0", "b.0", "b.1", "c.0", "c.1", "c.2"]
    statuses = {"a": "FAILED", "b": "FAILED", "c": "FAILED", "d": "UPSTREAM_FAILED"}
    assert world.statuses() == statuses


def test_a_delayed_retry_is_not_ready_before_its_time() -> None:
    world = one(retries=1, retry_delay=10.0)
    world.now = 5
    assert world.fail("a") == ["a.0 RUNNING > FAILED_PENDING_RETRY by k1 FAILED (no) retry at 15"]
    assert world.engine.next_due() == at(15)
    assert world.wait(9.999999) == []
    assert world.claim() == []
    assert world.wait(0.000001) == ["a.1 new SCHEDULED"]
    assert world.engine.next_due() is None
    assert world.wait(100) == []


def test_retries_fall_due_in_the_order_of_their_times() -> None:
    world = World()
    delays = {name: {"retries": 1, "retry_delay": delay} for name, delay in (("a", 30), ("b", 10), ("c", 20))}
    world.trigger(graph("a", "b", "c", **delays))
    world.claim(3)
    for name in delays:
        world.fail(name)
    assert world.engine.next_due() == at(10)
    assert world.wait(25) == ["b.1 new SCHEDULED", "c.1 new SCHEDULED"]
    assert world.engine.next_due() == at(30)


def test_back_off_grows_up_to_its_limit() -> None:
    world = one(retries=4, retry_delay=1.0, retry_backoff=3.0, retry_delay_max=10.0)
    delays = []
    for _ in range(4):
        delays.append(float(world.fail("a")[0].rpartition(" ")[2]) - world.now)
        world.wait(delays[-1])
        world.claim()
    assert delays == [1, 3, 9, 10]


def test_only_failures_and_timeouts_make_the_delay_grow() -> None:
    world = one(retries=9, retry_delay=1.0, retry_backoff=2.0)
    assert world.fail("a")[0].endswith("retry at 1")
    world.wait(1)
    for _ in range(3):
        world.claim()
        world.fail("a", Reason.HANDED_BACK)
    world.claim()
    assert world.fail("a", Reason.TIMED_OUT)[0].endswith("retry at 3")


@pytest.mark.parametrize("nth", [1, 10, 400, 1000])
def test_no_delay_stays_no_delay_however_often(nth: int) -> None:
    spec = TaskSpec("a", retries=1000, retry_delay=0.0, retry_backoff=100.0)
    assert retry_delay(REF, spec, nth, nth) == timedelta(0)


@pytest.mark.parametrize("nth", [155, 400, 1000])
def test_a_power_too_large_for_a_float_is_the_longest_delay(nth: int) -> None:
    spec = TaskSpec("a", retries=1000, retry_delay=1e-3, retry_backoff=100.0, retry_delay_max=60.0)
    assert retry_delay(REF, spec, nth, nth) == timedelta(seconds=60)


def test_a_retry_in_the_year_ten_thousand_is_not_a_crash() -> None:
    longest = timedelta.max.total_seconds()
    world = one(retries=1, retry_delay=longest, retry_delay_max=longest, retry_jitter=1.0)
    assert "FAILED_PENDING_RETRY" in world.fail("a")[0]
    due = world.engine.next_due()
    assert due is not None
    assert due > at(86_400 * 365)


def test_jitter_is_the_same_for_the_same_attempt_and_differs_between_attempts() -> None:
    spec = TaskSpec("a", retries=100, retry_delay=100.0, retry_jitter=0.5)
    delays = [retry_delay(REF, spec, 1, retry) for retry in range(100)]
    assert delays == [retry_delay(REF, spec, 1, retry) for retry in range(100)]
    assert len(set(delays)) > 90
    others = [RunRef(1, "e", at(0)), RunRef(1, "d", at(1))]
    assert len({retry_delay(ref, spec, 1, 0) for ref in (REF, *others)}) == 3
    spread = max(delays) - min(delays)
    assert spread > timedelta(seconds=35)


def test_jitter_does_not_depend_on_the_number_or_the_time_zone_of_the_run() -> None:
    spec = TaskSpec("a", retries=1, retry_delay=100.0, retry_jitter=1.0)
    elsewhere = RunRef(9, "d", at(0).astimezone(ZoneInfo("Asia/Tokyo")))
    assert retry_delay(REF, spec, 1, 0) == retry_delay(elsewhere, spec, 1, 0)


@given(
    delay=st.floats(0, 1e6),
    backoff=st.floats(1, 100),
    longer=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    nth=st.integers(1, 1000),
    retry=st.integers(0, 5000),
)
def test_a_delay_keeps_its_bounds(
    delay: float, backoff: float, longer: float, jitter: float, nth: int, retry: int
) -> None:
    spec = TaskSpec(
        "a",
        retries=1000,
        retry_delay=delay,
        retry_backoff=backoff,
        retry_delay_max=delay + longer,
        retry_jitter=jitter,
    )
    plain = delay
    for _ in range(nth - 1):
        plain = min(plain * backoff, delay + longer)
    seconds = retry_delay(REF, spec, nth, retry).total_seconds()
    slack = 1e-6 + plain * 1e-9  # microseconds, and the rounding of a power against that of a product
    assert plain - slack <= seconds <= plain * (1 + jitter) + slack


def test_attempt_numbers_count_on_whatever_the_reason() -> None:
    world = one(retries=2)
    names = itertools.chain(
        world.fail("a", Reason.HANDED_BACK),
        world.claim(),
        world.fail("a", Reason.TIMED_OUT),
        world.claim(),
        world.fail("a"),
        world.claim(),
        world.fail("a"),
    )
    created = [line.split()[0] for line in names if " new " in line]
    assert created == ["a.1", "a.2", "a.3"]
    assert world.status() == "FAILED"
