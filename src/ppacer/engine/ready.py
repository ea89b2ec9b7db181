"""What is ready to be granted, oldest first, by what an executor must have to take it.

Tasks that need the same (labels, runner) wait in one lane, there in one queue for each dag: so an executor
passes over a dag whose code it does not have without looking at its tasks one by one.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator

from ppacer.dag import TaskSpec

Entry = tuple[int, int, int, int]
"""(number, run, position, retry): numbers go up; what is out of date is passed over by whoever takes it."""
Head = tuple[int, str]
"""The number of the oldest entry of a dag, and the dag."""
IDLE_MAX = 64  # empty queues that a lane keeps for the next task of their dags

Needs = tuple[tuple[str, ...], str | None]
"""What a task asks of an executor: all of these labels, and this runner unless it is None."""


def needs_of(spec: TaskSpec) -> Needs:
    """What a task of a graph asks for."""
    return spec.labels, spec.runner


def are_met(needs: Needs, labels: Collection[str] | None, runners: Collection[str] | None) -> bool:
    """Whether an executor with these has what is needed; None: it takes everything."""
    wanted, runner = needs
    has_runner = runners is None or runner is None or runner in runners
    return has_runner and (labels is None or all(label in labels for label in wanted))


class Lane:
    """The queues of all dags with tasks of the same needs, and a heap of their oldest entries."""

    __slots__ = ("heads", "queues")

    def __init__(self) -> None:
        self.queues: dict[str, deque[Entry]] = {}
        self.heads: list[Head] = []  # one for each queue that is not empty

    def put(self, dag_id: str, entry: Entry) -> None:
        """Adds an entry, whose number is the highest so far."""
        queue = self.queues.get(dag_id)
        if queue is None:
            queue = self.queues[dag_id] = deque()
        if not queue:
            heapq.heappush(self.heads, (entry[0], dag_id))
        queue.append(entry)

    def take(self, head: Head) -> Entry:
        """Takes out the oldest entry of the dag of `head`."""
        heads, dag_id = self.heads, head[1]
        queue = self.queues[dag_id]
        entry = queue.popleft()
        if heads[0] is head:
            heapq.heappop(heads)
        else:  # rare: of a dag that others wait before
            heads.remove(head)
            heapq.heapify(heads)
        if queue:
            heapq.heappush(heads, (queue[0][0], dag_id))
        elif len(self.queues) > IDLE_MAX:
            del self.queues[dag_id]
        return entry


class ReadyQueue:
    """All lanes. To put or take an entry costs O(log dags) and O(lanes), of which there are few."""

    def __init__(self) -> None:
        self._lanes: dict[Needs, Lane] = {}
        self._number = 0

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for lane in self._lanes.values():
            for queue in lane.queues.values():
                yield from (entry[1:] for entry in queue)

    def __len__(self) -> int:
        return sum(len(queue) for lane in self._lanes.values() for queue in lane.queues.values())

    def put(self, needs: Needs, dag_id: str, run_id: int, position: int, retry: int) -> None:
        """Adds an attempt behind all others."""
        lane = self._lanes.get(needs)
        if lane is None:
            lane = self._lanes[needs] = Lane()
        self._number += 1
        lane.put(dag_id, (self._number, run_id, position, retry))

    def sweep(self, is_live: Callable[[int, int, int], bool]) -> int:
        """Takes out what is out of date, in lanes that nobody serves; returns how much is left."""
        for needs, lane in list(self._lanes.items()):
            del self._lanes[needs]
            for dag_id, queue in lane.queues.items():
                for entry in queue:
                    if is_live(*entry[1:]):
                        self._lanes.setdefault(needs, Lane()).put(dag_id, entry)
        return len(self)

    def lanes(self, labels: Collection[str] | None, runners: Collection[str] | None) -> list[Lane]:
        """Where an executor with these may `take` from; see `are_met`. Good until the next `put`."""
        return [lane for needs, lane in self._lanes.items() if lane.heads and are_met(needs, labels, runners)]


def take(lanes: list[Lane], without: Collection[str]) -> Entry | None:
    """Takes out the oldest entry of these lanes that is of none of these dags."""
    best: tuple[Head, Lane] | None = None
    for lane in lanes:
        heads = lane.heads
        first = heads[0] if heads else None
        if first is not None and first[1] in without:
            first = min((head for head in heads if head[1] not in without), default=None)
        if first is not None and (best is None or first < best[0]):
            best = first, lane
    return None if best is None else best[1].take(best[0])
