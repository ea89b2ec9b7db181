"""A task placed in a graph, and the operators that draw edges."""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Union

from ppacer.dag.task import Task, TaskConfig
from ppacer.errors import DagError

if TYPE_CHECKING:
    from ppacer.dag.dag import Dag

Target = Union["Node", "Group", Iterable["Node"]]

_open_dag: ContextVar["Dag | None"] = ContextVar("open_dag", default=None)


def open_dag() -> "Dag | None":
    """The dag whose `with` block is running in this context."""
    return _open_dag.get()


class Node:
    """A task with its place in a dag. Edges are drawn with `next`, `>>`, `<<` or `fan_out_and_merge`.

    `config` overrides the dag's default as a whole; `options` override single fields of it.
    """

    __slots__ = ("children", "config", "dag", "options", "task")

    def __init__(self, task: Task, config: TaskConfig | None = None, **options: Any) -> None:
        if not isinstance(getattr(task, "id", None), str) or not callable(getattr(task, "execute", None)):
            raise DagError(f"{task!r} is not a task: it needs an `id` and a method `execute(ctx)`")
        self.task = task
        self.config = config
        self.options = options
        self.children: dict[Node, None] = {}  # ordered, without doubles
        self.dag: Dag | None = None
        dag = open_dag()
        if dag is not None:
            dag.add(self)

    def __repr__(self) -> str:
        return f"Node({self.task.id})"

    @property
    def id(self) -> str:
        return self.task.id

    def next(self, child: "Node | Task", config: TaskConfig | None = None) -> "Node":
        """Puts `child` behind this node and returns it, so that chains read from left to right."""
        node = child if isinstance(child, Node) else Node(child, config)
        self._draw(node)
        return node

    def fan_out_and_merge(self, nodes: Iterable["Node | Task"], merge: "Node | Task") -> "Node":
        """Puts all of `nodes` behind this one, and `merge` behind all of them; returns `merge`."""
        middle = [self.next(node) for node in nodes]
        last = merge if isinstance(merge, Node) else Node(merge)
        for node in middle or [self]:
            node._draw(last)
        return last

    def __rshift__(self, other: Target) -> Any:
        return Group([self]) >> other

    def __rrshift__(self, other: Iterable["Node"]) -> "Node":
        Group(other) >> self
        return self

    def __lshift__(self, other: Target) -> Any:
        Group(_nodes(other)) >> self
        return other

    def _draw(self, child: "Node") -> None:
        built = next((n.dag for n in (self, child) if n.dag is not None and n.dag.is_built), None)
        if built is not None:
            raise DagError(f"dag {built.id!r} is built and cannot change; draw {self.id!r} >> {child.id!r} before")
        self.children[child] = None


class Group:
    """Several nodes that are one side of an edge: what `a >> [b, c]` returns."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = list(nodes)

    def __rshift__(self, other: Target) -> Any:
        targets = _nodes(other)
        for node in self.nodes:
            for target in targets:
                node._draw(target)
        return other if isinstance(other, Node) else Group(targets)

    def __rrshift__(self, other: Iterable[Node]) -> "Group":
        Group(other) >> self
        return self


def _nodes(target: Target) -> list[Node]:
    nodes = [target] if isinstance(target, Node) else target.nodes if isinstance(target, Group) else list(target)
    for node in nodes:
        if not isinstance(node, Node):
            raise DagError(f"an edge needs nodes on both sides, not {node!r}; was a task called outside its dag?")
    return nodes
