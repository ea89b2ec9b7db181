"""Dags of 100,000 tasks: built without recursion, in a number of steps that grows like tasks and edges.

Steps are counted as calls of functions, not in seconds, so that a busy machine changes nothing.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from ppacer.dag import Dag, Node, task
from ppacer.dag.node import EDGES_MAX
from ppacer.errors import DagError

LARGE = 100_000


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """It takes half of the time here, and finds nothing."""
    gc.disable()
    yield
    gc.enable()


class Step:
    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        self.id = id

    def execute(self, ctx: object) -> None: ...


def chain(count: int) -> Dag:
    start = at = Node(Step("s"))
    for i in range(count - 1):
        at = at.next(Step(f"s{i}"))
    return Dag("chain", start)


def fan_out(count: int) -> Dag:
    start = Node(Step("s"))
    start.fan_out_and_merge([Step(f"s{i}") for i in range(count - 2)], Step("end"))
    return Dag("fan", start)


def layers(count: int, width: int = 10) -> Dag:
    """Every node of a layer before every node of the next: ten edges for each task."""
    with Dag("layers") as dag:
        above: list[Node] = []
        for layer in range(count // width):
            below = [Node(Step(f"s{layer}-{i}")) for i in range(width)]
            above >> (below[0] >> [])
            for node in above:
                node >> below
            above = below
    return dag


def functions(count: int) -> Dag:
    with Dag("functions") as dag:
        at = first()
        for i in range(count - 1):
            at = step.with_options(id=f"s{i}")(at, i)
    return dag


@task
def first() -> int:
    return 0


@task(retries=1)
def step(x: int, i: int) -> int:
    return x + i


SHAPES: list[Callable[[int], Dag]] = [chain, fan_out, layers, functions]


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_tasks_take_twice_the_steps(shape: Callable[[int], Dag]) -> None:
    def build(count: int) -> None:
        dag = shape(count)
        assert len(dag.graph) == count
        dag.version  # noqa: B018
        dag.graph.children  # noqa: B018
        dag.graph.to_json()

    build(500)  # what is computed once is not counted
    small, large = calls(lambda: build(500)), calls(lambda: build(2_000))
    assert large / small == pytest.approx(4, rel=0.1)


def calls(work: Callable[[], Any]) -> int:
    """The number of calls of Python and C functions."""
    count = 0

    def seen(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("shape", [chain, fan_out])
def test_100_000_tasks_are_possible_without_recursion(shape: Callable[[int], Dag]) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(150 + len(frames()))
    try:
        dag = shape(LARGE)
        assert len(dag.version) == 16
    finally:
        sys.setrecursionlimit(limit)
    last = dag.graph.tasks[-1]
    assert (len(dag.graph), last.depth) == (LARGE, LARGE - 1 if shape is chain else 2)
    assert len(last.parents) == (1 if shape is chain else LARGE - 2)


def frames() -> list[FrameType]:
    found: list[FrameType] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def test_one_task_more_is_refused() -> None:
    with pytest.raises(DagError, match="dag 'fan' has 100,001 tasks; at most 100,000 are possible"):
        fan_out(LARGE + 1)


def test_a_million_edges_are_possible_and_more_than_the_limit_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert EDGES_MAX >= 1_000_000
    monkeypatch.setattr("ppacer.dag.dag.EDGES_MAX", 190)
    assert len(layers(20).graph.edges()) == 100
    with pytest.raises(DagError, match="dag 'layers' has 200 edges; at most 190 are possible"):
        layers(30)
