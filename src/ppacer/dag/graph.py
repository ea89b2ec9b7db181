"""The graph of a dag as plain data: what a run pins when it begins. Linear time, no recursion."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import msgspec

from ppacer.errors import CycleError, DagError

CYCLE_SHOWN_MAX = 20


class TaskSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the engine must know of one task; durations in seconds, `parents` as positions in the graph."""

    id: str
    parents: tuple[int, ...] = ()
    depth: int = 0
    width: int = 0
    timeout: float | None = None
    retries: int = 0
    retry_delay: float = 0.0
    retry_backoff: float = 1.0
    retry_delay_max: float = 86_400.0
    retry_jitter: float = 0.0
    alert_on_failure: bool = True
    alert_on_retry: bool = False
    runner: str | None = None
    at_most_once: bool = False
    labels: tuple[str, ...] = ()


class Graph:
    """Tasks in topological order, with the edges both ways; equal JSON is an equal graph. Immutable."""

    tasks: tuple[TaskSpec, ...]
    index: Mapping[str, int]

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        index = {task.id: position for position, task in enumerate(tasks)}
        vars(self).update(tasks=tuple(tasks), index=MappingProxyType(index))

    def __setattr__(self, name: str, value: object) -> None:
        raise DagError(f"a graph cannot change; {name} was not set")

    def __repr__(self) -> str:
        return f"Graph({len(self)} tasks)"

    def __len__(self) -> int:
        return len(self.tasks)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """For each task the positions of its children."""
        children: list[list[int]] = [[] for _ in self.tasks]
        for position, task in enumerate(self.tasks):
            for parent in task.parents:
                children[parent].append(position)
        return tuple(map(tuple, children))

    def to_json(self) -> str:
        return msgspec.json.encode(self.tasks).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Graph":
        return cls(msgspec.json.decode(text, type=tuple[TaskSpec, ...]))

    def edges(self) -> list[tuple[str, str]]:
        """Every edge as (parent id, child id)."""
        return [(self.tasks[parent].id, task.id) for task in self.tasks for parent in task.parents]


def topological_order(dag_id: str, ids: Sequence[str], children: Sequence[Sequence[int]]) -> list[int]:
    """Positions so that parents come before children (Kahn); raises CycleError with the cycle's path."""
    unmet = [0] * len(ids)
    for targets in children:
        for target in targets:
            unmet[target] += 1
    order = [position for position, count in enumerate(unmet) if count == 0]
    for position in order:  # grows while it is walked
        for child in children[position]:
            unmet[child] -= 1
            if unmet[child] == 0:
                order.append(child)
    if len(order) < len(ids):
        left = {position for position, count in enumerate(unmet) if count}
        raise _cycle_error(dag_id, _name_a_cycle(ids, children, left))
    return order


def _cycle_error(dag_id: str, path: Sequence[str]) -> CycleError:
    error = CycleError(dag_id, path)
    if len(path) > CYCLE_SHOWN_MAX:  # the path is whole in the attribute; a sentence stays readable
        half = CYCLE_SHOWN_MAX // 2
        shown = " -> ".join([*path[:half], "…", *path[-half:]])
        error.args = (f"dag {dag_id!r} has a cycle of {len(path) - 1:,} tasks: {shown}",)
    return error


def _name_a_cycle(ids: Sequence[str], children: Sequence[Sequence[int]], left: set[int]) -> list[str]:
    """One cycle among the positions that the topological order could not place.

    Every such position has an unplaced parent, so walking to parents must come back to a place seen before.
    """
    parent = {child: position for position in left for child in children[position] if child in left}
    at, seen = min(left), dict[int, int]()
    while at not in seen:
        seen[at] = len(seen)
        at = parent[at]
    cycle = [position for position, place in seen.items() if place >= seen[at]]
    return [ids[at], *(ids[position] for position in reversed(cycle))]


def depths(order: Sequence[int], children: Sequence[Sequence[int]]) -> list[int]:
    """For each position the length of the longest path from a root."""
    depth = [0] * len(children)
    for position in order:
        below = depth[position] + 1
        for child in children[position]:
            if depth[child] < below:
                depth[child] = below
    return depth


def widths(order: Sequence[int], depth: Sequence[int]) -> list[int]:
    """For each position its place among those of the same depth, in topological order."""
    used: dict[int, int] = {}
    width = [0] * len(depth)
    for position in order:
        width[position] = used.get(depth[position], 0)
        used[depth[position]] = width[position] + 1
    return width
