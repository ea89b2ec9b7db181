"""A task placed in a graph, and the operators that draw edges."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Union

from ppacer.dag.check import check_id, shown
from ppacer.dag.task import Task, TaskConfig, check_options
from ppacer.errors import DagError

if TYPE_CHECKING:
    from ppacer.dag.dag import Dag

Target = Union["Node", "Group", Iterable["Node | Group"]]

EDGES_MAX = 2_000_000

_open_dag: ContextVar["Dag | None"] = ContextVar("open_dag", default=None)


def open_dag() -> "Dag | None":
    """The dag whose `with` block is running in this context."""
    return _open_dag.get()


class Node:
    """A task with its place in a dag. Edges are drawn with `next`, `>>`, `<<` or `fan_out_and_merge`.

    `config` overrides the dag's default as a whole; `options` override single fields of it.
    """

    __slots__ = ("_children", "_config", "_dag", "_id", "_options", "_parents", "_task")

    def __init__(self, task: Task, config: TaskConfig | None = None, **options: Any) -> None:
        self._id = _check_task(task)
        if options:
            check_options(self._id, options)
        if config is not None and not isinstance(config, TaskConfig):
            raise DagError(f"task {self._id!r}: config is {shown(config)}; write TaskConfig(…)")
        self._task = task
        self._config = config
        self._options = options
        self._children: dict[Node, None] = {}  # ordered, without doubles
        self._parents: list[Node] = []
        self._dag: Dag | None = None
        dag = open_dag()
        if dag is not None:
            dag.add(self)

    def __repr__(self) -> str:
        return f"Node({self._id})"

    @property
    def id(self) -> str:
        """The task's id when it was placed here."""
        return self._id

    @property
    def task(self) -> Task:
        return self._task

    @property
    def config(self) -> TaskConfig | None:
        return self._config

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType(self._options)

    @property
    def children(self) -> tuple["Node", ...]:
        """The nodes behind this one, in the order in which the edges were drawn."""
        return tuple(self._children)

    @property
    def dag(self) -> "Dag | None":
        """The dag that this node is part of, None before it is."""
        return self._dag

    def next(self, child: "Node | Task", config: TaskConfig | None = None) -> "Node":
        """Puts `child` behind this node and returns it, so that chains read from left to right."""
        if isinstance(child, Node) and config is not None:
            raise DagError(f"task {child.id!r}: give the config where its Node is made, Node(task, config)")
        node = child if isinstance(child, Node) else Node(child, config)
        self._draw(node)
        return node

    def fan_out_and_merge(self, nodes: Iterable["Node | Task"], merge: "Node | Task") -> "Node":
        """Puts all of `nodes` behind this one, and `merge` behind all of them; returns `merge`."""
        if isinstance(nodes, Node) or not isinstance(nodes, Iterable):
            raise DagError(f"fan_out_and_merge behind {self._id!r} needs a list of nodes, not {shown(nodes)}")
        middle = [self.next(node) for node in nodes]
        last = merge if isinstance(merge, Node) else Node(merge)
        for node in middle or [self]:
            node._draw(last)
        return last

    def __rshift__(self, other: Target) -> Any:
        return Group([self]) >> other

    def __lshift__(self, other: Target) -> Any:
        return Group([self]) << other

    def __rrshift__(self, other: Target) -> "Node":
        Group(_nodes(other)) >> self
        return self

    def __rlshift__(self, other: Target) -> "Node":
        Group(_nodes(other)) << self
        return self

    def _has_no_value(self, *_: object) -> NoReturn:
        """`if extract():`, `for row in extract():` and `extract()[0]` cannot work: the task runs later."""
        raise DagError(
            f"task {self._id!r} has no result yet, it runs later; decide and loop in a task that takes it"
        )

    __bool__ = __iter__ = __getitem__ = _has_no_value

    def _draw(self, child: "Node") -> None:
        dag, other = self._dag, child._dag
        if dag is not other or dag is not None:
            if dag is not other and dag is not None and other is not None:
                raise DagError(
                    f"{self._id!r} >> {child._id!r} joins two dags, {dag.id!r} and {other.id!r}: "
                    "a task depends on tasks of its own dag alone"
                )
            for one in (dag, other):
                if one is not None and one.is_built:
                    raise DagError(f"dag {one.id!r} is built: {self._id!r} >> {child.id!r} comes too late")
        if child not in self._children:
            self._children[child] = None
            child._parents.append(self)


class Group:
    """Several nodes that are one side of an edge: what `a >> [b, c]` returns."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = tuple(nodes)

    def __repr__(self) -> str:
        return f"Group({', '.join(node.id for node in self.nodes)})"

    def __rshift__(self, other: Target) -> Any:
        nodes = _nodes(other)
        _draw_all(self.nodes, nodes)
        return other if isinstance(other, Node) else Group(nodes or self.nodes)

    def __lshift__(self, other: Target) -> Any:
        nodes = _nodes(other)
        _draw_all(nodes, self.nodes)
        return other if isinstance(other, Node) else Group(nodes or self.nodes)

    def __rrshift__(self, other: Target) -> "Group":
        _draw_all(_nodes(other), self.nodes)
        return self

    def __rlshift__(self, other: Target) -> "Group":
        _draw_all(self.nodes, _nodes(other))
        return self


def _draw_all(parents: Sequence[Node], children: Sequence[Node]) -> None:
    """Every edge between the two sides. An empty side is no barrier: `a >> [] >> b` is `a >> b`."""
    if len(parents) * len(children) > EDGES_MAX:
        raise DagError(
            f"{len(parents):,} tasks before {len(children):,} are {len(parents) * len(children):,} edges, at "
            f"most {EDGES_MAX:,} are possible; put one Empty task between them"
        )
    for parent in parents:
        for child in children:
            parent._draw(child)


def _nodes(target: object) -> list[Node]:
    """One side of an edge: a node, a group, or a list of them."""
    if isinstance(target, Node):
        return [target]
    if isinstance(target, Group):
        return list(target.nodes)
    if isinstance(target, str) or not isinstance(target, Iterable):
        raise DagError(_no_node(target))
    found: list[Node] = []
    for one in target:
        if not isinstance(one, Node | Group):
            raise DagError(_no_node(one))
        found += [one] if isinstance(one, Node) else one.nodes
    return found


def _no_node(thing: object) -> str:
    what = f"an edge needs nodes on both sides, not {shown(thing)}"
    if hasattr(thing, "with_options"):
        return f"{what}; call it"
    if hasattr(thing, "execute"):
        return f"{what}; write Node(…) around it"
    return f"{what}; was a task called outside of its dag?"


def _check_task(task: Task) -> str:
    """The id of anything that is a task."""
    if isinstance(task, type):
        raise DagError(f"{shown(task)} is a class; a task is an instance of it, {task.__name__}(…)")
    if isinstance(task, Node):
        raise DagError(f"{shown(task)} is a node already")
    if callable(task) and not hasattr(task, "execute"):
        raise DagError(f"{shown(task)} is a function; decorate it with @task and call it inside the dag")
    if not hasattr(task, "id") or not callable(getattr(task, "execute", None)):
        raise DagError(f"{shown(task)} is not a task: it needs an `id` and a method `execute(ctx)`")
    id, execute = check_id("task", task.id), task.execute
    bound = getattr(execute, "__func__", None)
    if not _takes(bound or execute, 2 if bound else 1):
        raise DagError(
            f"task {id!r}: its `execute` must take one argument, the context: def execute(self, ctx)"
        )
    return id


def _takes(fn: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments; yes where Python cannot tell."""
    try:
        return _cached_takes(fn, count)
    except (TypeError, ValueError):
        return True


@lru_cache(maxsize=4096)  # 10,000 tasks of one class are looked at once
def _cached_takes(fn: Callable[..., Any], count: int) -> bool:
    signature = inspect.signature(fn)
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
