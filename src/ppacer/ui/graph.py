"""Draws the tasks of a dag in layers, from left to right: numbers for SVG, made of read models. Pure.

Layers by the longest path, the order inside a layer by barycenters, places by least squares. An edge over
several layers goes through a bend in each, which all long edges of one task share. Many tasks between the
same others are one box, and where that is still too much to be seen, a layer is.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from ppacer.api.why import about
from ppacer.engine import TaskStatus
from ppacer.store.views import TaskView
from ppacer.ui.filters import spoken

NODES_MAX, EDGES_MAX = 1_000, 4_000  # of a drawing; beyond, a layer is one box
ALIKE_MAX = 40  # tasks with the same parents and children that are drawn one by one
LAYERS_MAX = 200  # of boxes: layers that follow each other share one
BENDS_MAX = 4_000  # beyond, long edges are drawn straight
SWEEPS = 4  # there and back; more does not change what people see
HEIGHT, GAP, BEND = 26, 10, 4  # pixels of a node, between neighbours, and of a bend
BETWEEN, BETWEEN_MAX = 44, 140  # pixels between layers; the more edges, the more room they need
CHAR, AROUND = 7.25, 36  # pixels of a character, and of what stands around the name
NAME_MAX = 26  # characters of a name that are shown
EDGE = 1.5  # pixels around everything, for outlines
WORST_FIRST = (
    TaskStatus.FAILED, TaskStatus.UPSTREAM_FAILED, TaskStatus.FAILED_PENDING_RETRY, TaskStatus.RUNNING,
    TaskStatus.SCHEDULED, TaskStatus.CANCELLED, TaskStatus.NO_STATUS, TaskStatus.SKIPPED, TaskStatus.SUCCESS,
)  # fmt: skip

Parents = tuple[tuple[int, ...], ...]
Url = Callable[[TaskView], str | None]


@dataclass(frozen=True, slots=True)
class Node:
    """A task, or all tasks of a layer. `name` may be cut; `title` says all."""

    name: str
    title: str
    state: str
    url: str | None
    x: float
    y: float
    width: float
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class Picture:
    """Nodes, the paths of what leads from one to another, the room they need, and the same in words."""

    nodes: list[Node]
    edges: list[str]
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where nodes stand (their left upper corners), and the paths between them."""

    places: tuple[tuple[float, float], ...]
    edges: tuple[str, ...]
    width: float
    height: float


def picture(tasks: Sequence[TaskView], url: Url, nodes_max: int = NODES_MAX) -> Picture:
    """The tasks, in topological order, as boxes; `url`: where the box of a task leads."""
    at = {task.task_id: position for position, task in enumerate(tasks)}
    parents: Parents = tuple(tuple(at[parent] for parent in task.parents) for task in tasks)
    groups, parents = _grouped(parents, nodes_max)
    members = [[tasks[position] for position in group] for group in groups]
    names = [_name(group) for group in members]
    widths = tuple(_width(name) for name in names)
    layout = lay_out(parents, widths)
    nodes = [
        Node(name, _title(group), _state(group), url(group[0]) if len(group) == 1 else None, x, y, width)
        for name, group, (x, y), width in zip(names, members, layout.places, widths, strict=True)
    ]
    return Picture(nodes, list(layout.edges), layout.width, layout.height, _words(tasks))


def _grouped(parents: Parents, nodes_max: int) -> tuple[list[list[int]], Parents]:
    """Which tasks share a box, and from which boxes each of them comes."""
    groups = _alike(parents)
    boxes = _between(groups, parents)
    if len(groups) > nodes_max or sum(map(len, boxes)) > EDGES_MAX:
        groups = _by_layer(parents)
        boxes = _between(groups, parents)
    return groups, boxes


def _alike(parents: Parents) -> list[list[int]]:
    """Tasks with the same parents and children together, when they are many."""
    children: list[list[int]] = [[] for _ in parents]
    for position, above in enumerate(parents):
        for parent in above:
            children[parent].append(position)
    kinds: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for position, above in enumerate(parents):
        kinds.setdefault((above, tuple(children[position])), []).append(position)
    groups = [
        part
        for kind in kinds.values()
        for part in ([kind] if len(kind) > ALIKE_MAX else [[position] for position in kind])
    ]
    return sorted(groups)


def _by_layer(parents: Parents) -> list[list[int]]:
    layer = _layers(parents)
    share = -(-(max(layer) + 1) // LAYERS_MAX)
    groups: list[list[int]] = [[] for _ in range(max(layer) // share + 1)]
    for position, depth in enumerate(layer):
        groups[depth // share].append(position)
    return groups


def _between(groups: Sequence[Sequence[int]], parents: Parents) -> Parents:
    box = {position: at for at, group in enumerate(groups) for position in group}
    return tuple(
        tuple(sorted({box[parent] for position in group for parent in parents[position]} - {at}))
        for at, group in enumerate(groups)
    )


def _name(group: Sequence[TaskView]) -> str:
    if len(group) > 1:
        return f"{len(group):,} tasks"
    name = group[0].task_id
    half = NAME_MAX // 2
    return name if len(name) <= NAME_MAX else f"{name[: half - 1]}…{name[-half:]}"


def _title(group: Sequence[TaskView]) -> str:
    if len(group) > 1:
        return f"{group[0].task_id} … {group[-1].task_id}: {_counts(group)}"
    [task] = group
    took = f", {about(task.ended_at - task.started_at)}" if task.started_at and task.ended_at else ""
    return f"{task.task_id}: {spoken(task.status)}{took}"


def _state(group: Sequence[TaskView]) -> str:
    states = {task.status for task in group}
    return next(state for state in WORST_FIRST if state in states)


def _words(tasks: Sequence[TaskView]) -> str:
    return f"{len(tasks):,} tasks: {_counts(tasks)}" if tasks else "no tasks"


def _counts(tasks: Sequence[TaskView]) -> str:
    counts = Counter(task.status for task in tasks)
    return ", ".join(f"{counts[state]:,} {spoken(state)}" for state in WORST_FIRST if counts[state])


def _width(name: str) -> float:
    return round(len(name) * CHAR + AROUND)


# -- the layout ------------------------------------------------------------------------------------------


class Net(NamedTuple):
    """Nodes and bends: for each its layer, and what leads to and from it."""

    nodes: int  # how many; what comes behind them are bends
    layer: list[int]
    above: list[list[int]]
    below: list[list[int]]
    columns: list[list[int]]  # the members of each layer, from top to bottom


@lru_cache(maxsize=64)
def lay_out(parents: Parents, widths: tuple[float, ...]) -> Layout:
    """Places for nodes so wide, each behind its parents, which stand before it in the order of positions."""
    net = _net(parents)
    for _ in range(SWEEPS):
        _sort(net, net.columns, net.above)
        _sort(net, net.columns[::-1], net.below)
    middles = _middles(net)
    column_widths = [
        max((widths[at] for at in column if at < net.nodes), default=0) for column in net.columns
    ]
    gaps = [
        min(BETWEEN_MAX, BETWEEN + 2 * sum(len(net.above[at]) for at in column)) for column in net.columns
    ]
    steps = (wide + gap for wide, gap in zip(column_widths, [*gaps[1:], 0], strict=False))
    lefts = [*accumulate(steps, initial=EDGE)]
    rights = [lefts[at] + wide for at, wide in enumerate(column_widths)]
    ends = [
        lefts[layer] + widths[at] if at < net.nodes else rights[layer] for at, layer in enumerate(net.layer)
    ]
    edges = [
        _path(ends[parent], rights[net.layer[parent]], middles[parent], lefts[net.layer[at]], middles[at])
        + ("" if at < net.nodes else f"H{rights[net.layer[at]]:g}")
        for at, over in enumerate(net.above)
        for parent in over
    ]
    places = tuple((lefts[net.layer[at]], round(middles[at] - HEIGHT / 2, 1)) for at in range(net.nodes))
    bottom = max(middles, default=0.0) + HEIGHT / 2
    return Layout(places, tuple(edges), max(rights, default=0.0) + EDGE, round(bottom + EDGE, 1))


def _layers(parents: Parents) -> list[int]:
    """The length of the longest path to each node."""
    layer: list[int] = []
    for above in parents:
        layer.append(max((layer[parent] for parent in above), default=-1) + 1)
    return layer


def _net(parents: Parents) -> Net:
    layer, above = _layers(parents), [[*over] for over in parents]
    bends = sum(_reach(parents, layer))
    if bends <= BENDS_MAX:
        _bend(layer, above)
    below: list[list[int]] = [[] for _ in above]
    for at, over in enumerate(above):
        for parent in over:
            below[parent].append(at)
    columns: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for at, depth in enumerate(layer):
        columns[depth].append(at)
    return Net(len(parents), layer, above, below, columns)


def _reach(parents: Parents, layer: Sequence[int]) -> list[int]:
    """How many layers lie between each node and the farthest that it leads to."""
    farthest = [0] * len(parents)
    for at, over in enumerate(parents):
        for parent in over:
            farthest[parent] = max(farthest[parent], layer[at] - layer[parent] - 1)
    return farthest


def _bend(layer: list[int], above: list[list[int]]) -> None:
    """Leads every long edge through a bend in each layer on its way; edges of one parent share them."""
    bends: dict[tuple[int, int], int] = {}  # by parent and layer
    for at, over in enumerate([*above]):
        for place, parent in enumerate(over):
            last = parent
            for between in range(layer[parent] + 1, layer[at]):
                if (parent, between) not in bends:
                    bends[parent, between] = len(layer)
                    layer.append(between)
                    above.append([last])
                last = bends[parent, between]
            above[at][place] = last


def _sort(net: Net, columns: Sequence[list[int]], beside: Sequence[Sequence[int]]) -> None:
    """Orders each column by where the neighbours on one side stand; who has none there keeps its place."""
    place = {at: float(row) for column in net.columns for row, at in enumerate(column)}
    for column in columns:
        weights = {at: _mean(place, beside[at], place[at]) for at in column}
        column.sort(key=weights.__getitem__)
        place.update((at, float(row)) for row, at in enumerate(column))


def _mean(values: Mapping[int, float] | Sequence[float], keys: Sequence[int], default: float) -> float:
    return sum(values[key] for key in keys) / len(keys) if keys else default


def _middles(net: Net) -> list[float]:
    """The heights of all middles: as near to the neighbours as order and distance allow."""
    middles = [0.0] * len(net.layer)
    offsets = [_offsets(net, column) for column in net.columns]
    for column, offset in zip(net.columns, offsets, strict=True):
        for at, distance in zip(column, offset, strict=True):
            middles[at] = distance - offset[-1] / 2
    ways = [(net.above, [*zip(net.columns, offsets, strict=True)])]
    ways.append((net.below, ways[0][1][::-1]))
    for beside, columns in [*ways, *ways, ways[0]]:
        for column, offset in columns:
            wanted = [_mean(middles, beside[at], middles[at]) for at in column]
            for at, middle in zip(column, _placed(wanted, offset), strict=True):
                middles[at] = middle
    top = min(middles, default=0.0) - HEIGHT / 2 - EDGE
    return [round(middle - top, 1) for middle in middles]


def _offsets(net: Net, column: Sequence[int]) -> list[float]:
    """How far below the first each of a column stands at least."""
    heights = [HEIGHT if at < net.nodes else BEND for at in column]
    return [*accumulate((GAP + (one + two) / 2 for one, two in pairwise(heights)), initial=0.0)]


def _placed(wanted: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Places in this order and at these distances, with the least sum of squares from where they want to be.

    Neighbours that want to be nearer than they may are moved as one block to their mean.
    """
    blocks: list[tuple[float, int]] = []  # the mean, and of how many
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _path(x: float, bend: float, y: float, there: float, to: float) -> str:
    """From the right of a node straight to where its column ends, and in a curve to the left of another."""
    half = (bend + there) / 2
    curve = f"H{there:g}" if y == to else f"H{bend:g}C{half:g} {y:g} {half:g} {to:g} {there:g} {to:g}"
    return f"M{x:g} {y:g}{curve}"
