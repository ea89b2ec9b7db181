"""Who gets which ready task: the oldest that it can take, and no other."""

import random
from collections.abc import Iterable

import pytest

from engine.world import World, graph
from ppacer.engine.engine import STALE_MAX
from ppacer.engine.ready import Needs, ReadyQueue, take

ANYBODY: Needs = ((), None)
GPU: Needs = (("gpu",), None)
BIG_GPU: Needs = (("big", "gpu"), None)
DASK: Needs = ((), "dask")


def queue_of(*entries: tuple[Needs, str, int]) -> ReadyQueue:
    queue = ReadyQueue()
    for needs, dag_id, number in entries:
        queue.put(needs, dag_id, number, 0, 0)
    return queue


def taken(
    queue: ReadyQueue,
    labels: Iterable[str] | None = None,
    runners: Iterable[str] | None = None,
    without: Iterable[str] = (),
    count: int = 99,
) -> list[int]:
    lanes = queue.lanes(
        None if labels is None else frozenset(labels), None if runners is None else frozenset(runners)
    )
    entries = (take(lanes, frozenset(without)) for _ in range(count))
    return [entry[1] for entry in entries if entry is not None]


def test_the_oldest_first_across_dags_and_needs() -> None:
    queue = queue_of((GPU, "a", 1), (ANYBODY, "b", 2), (GPU, "b", 3), (ANYBODY, "a", 4), (DASK, "a", 5))
    assert taken(queue) == [1, 2, 3, 4, 5]
    assert len(queue) == 0
    assert list(queue) == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [((), [2]), (("gpu",), [1, 2]), (("big",), [2]), (("big", "gpu", "old"), [1, 2, 3]), (None, [1, 2, 3])],
)
def test_all_labels_of_a_task_must_be_carried(labels: Iterable[str] | None, expected: list[int]) -> None:
    queue = queue_of((GPU, "a", 1), (ANYBODY, "a", 2), (BIG_GPU, "a", 3))
    assert taken(queue, labels) == expected
    assert sorted([*expected, *(run_id for run_id, _, _ in queue)]) == [1, 2, 3]


def test_a_runner_that_is_asked_for_must_be_there() -> None:
    queue = queue_of((DASK, "a", 1), (ANYBODY, "a", 2), (((), "thread"), "a", 3))
    assert taken(queue, runners=["process", "thread"]) == [2, 3]
    assert taken(queue, runners=["dask"]) == [1]


def test_dags_that_cannot_be_run_are_passed_over_and_stay_in_order() -> None:
    queue = queue_of(*((ANYBODY, "ab"[number % 2], number) for number in range(8)))
    assert taken(queue, without="a", count=2) == [1, 3]
    assert taken(queue, without="b", count=1) == [0]
    assert taken(queue) == [2, 4, 5, 6, 7]


def test_what_is_not_taken_stays() -> None:
    queue = queue_of(*((ANYBODY, "a", number) for number in range(5)))
    assert taken(queue, count=2) == [0, 1]
    assert [run_id for run_id, _, _ in queue] == [2, 3, 4]


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_list(seed: int) -> None:
    chance, queue = random.Random(seed), ReadyQueue()
    plain: list[tuple[Needs, str, int]] = []
    for number in range(400):
        needs, dag_id = chance.choice([ANYBODY, GPU, BIG_GPU, DASK]), chance.choice("abc")
        queue.put(needs, dag_id, number, 0, 0)
        plain.append((needs, dag_id, number))
        if chance.random() < 0.3:
            labels = frozenset(chance.sample(["gpu", "big"], chance.randint(0, 2)))
            runners = None if chance.random() < 0.5 else frozenset({"process"})
            without = frozenset(chance.sample("abc", chance.randint(0, 2)))
            count = chance.randint(0, 5)
            expected = [
                one
                for one in plain
                if set(one[0][0]) <= labels
                and (runners is None or one[0][1] in (None, *runners))
                and one[1] not in without
            ][:count]
            assert taken(queue, labels, runners, without, count) == [one[2] for one in expected]
            plain = [one for one in plain if one not in expected]
    assert sorted(run_id for run_id, _, _ in queue) == [one[2] for one in plain]
    assert len(queue) == len(plain)


def test_what_is_out_of_date_in_a_lane_that_nobody_serves_does_not_pile_up() -> None:
    """Tasks for an executor that does not exist, in runs that are cancelled, for weeks."""
    world, names = World(room=40), [f"t{n}" for n in range(100)]
    wide = graph(*names, **{name: {"labels": ("gpu",)} for name in names})
    for run_id in range(1, 40):
        world.trigger(wide, run_id)
        if run_id > 3:
            world.cancel(run_id)
    assert world.engine.ready_count == 300
    assert len(world.engine.ready) <= 300 * 2 + STALE_MAX
    assert len(world.claim(400)) == 300


def test_what_is_left_after_a_sweep_stays_in_order() -> None:
    lanes = [(GPU, "a"), (ANYBODY, "b"), (GPU, "b")]
    queue = queue_of(*((*lanes[number % 3], number) for number in range(60)))
    assert queue.sweep(lambda run_id, position, retry: run_id % 5 == 0) == 12
    assert taken(queue) == [number for number in range(60) if number % 5 == 0]
