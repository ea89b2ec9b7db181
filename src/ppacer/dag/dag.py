"""A dag: tasks, edges, a schedule. Validated when it is built, immutable afterwards."""

from collections.abc import Iterable, Mapping
from contextvars import Token
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

from ppacer.clock import to_text
from ppacer.dag import graph as graphs
from ppacer.dag.body import TaskBody, body_of
from ppacer.dag.check import check_catch_up, check_id, check_limit, check_schedule, check_tags, shown
from ppacer.dag.fingerprint import digest
from ppacer.dag.function import BoundTask
from ppacer.dag.graph import Graph, TaskSpec
from ppacer.dag.node import EDGES_MAX, Group, Node, _open_dag
from ppacer.dag.params import Params
from ppacer.dag.task import Task, TaskConfig, config_hash, with_options
from ppacer.errors import DagError, DuplicateIdError, ParamsError
from ppacer.schedule import CatchUp, Schedule

TASKS_MAX = 100_000
ACTIVE_RUNS_MAX = 100_000
DEFAULT = TaskConfig()


class _Content(NamedTuple):
    """What a dag has once it is built."""

    nodes: Mapping[str, Node]
    configs: Mapping[str, TaskConfig]
    graph: Graph


class Dag:
    """A directed acyclic graph of tasks, with a schedule.

    Tasks are placed in it in its `with` block, or reached from the `roots` given here. `catch_up` says what
    becomes of points missed while no scheduler ran: False skips to the next point, True runs all of them, a
    number the newest so many, a timedelta those not older. At most `max_active_runs` runs are open at once.
    `params` is a dataclass or msgspec struct with defaults. `config` is the default TaskConfig of the tasks.
    Raises DagError, naming the task or the cycle.
    """

    def __init__(
        self,
        id: str,
        *roots: Node,
        schedule: Schedule | None = None,
        catch_up: CatchUp = False,
        tags: Iterable[str] = (),
        params: type | None = None,
        max_active_runs: int = 16,
        config: TaskConfig | None = None,
    ) -> None:
        self._nodes: dict[str, Node] = {}
        self._content: _Content | None = None
        self._failed = False
        self._token: Token[Dag | None] | None = None
        self.id = check_id("dag", id)
        self.schedule = schedule
        self.schedule_text, self._start = check_schedule(id, schedule)
        self.catch_up: CatchUp = check_catch_up(id, catch_up)
        self.tags = check_tags(id, tags)
        self.params = _check_params(id, params, is_scheduled=schedule is not None)
        self.max_active_runs = check_limit(id, "max_active_runs", max_active_runs, ACTIVE_RUNS_MAX)
        if config is not None and not isinstance(config, TaskConfig):
            raise DagError(f"dag {id!r}: config is {shown(config)}; write config=TaskConfig(…)")
        self.config = DEFAULT if config is None else config
        self._is_sealed = True
        if roots:
            self._build(roots)

    def __setattr__(self, name: str, value: object) -> None:
        if "_is_sealed" in vars(self) and not name.startswith("_"):
            raise DagError(f"dag {self.id!r} cannot be changed: give {name} to Dag(…)")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise DagError(f"dag {self.id!r} cannot be changed: {name} stays")

    def __enter__(self) -> "Dag":
        self._check_writable()
        if self._token is not None:
            raise DagError(f"the `with` block of dag {self.id!r} is open already")
        self._token = _open_dag.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._token is not None
        _open_dag.reset(self._token)
        self._token = None
        if kind is None:
            self._build()
        else:
            self._fail()

    def __repr__(self) -> str:
        return f"Dag({self.id})"

    @property
    def is_built(self) -> bool:
        """Whether the dag is complete: validated, and never to change again."""
        return self._content is not None

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by task id, parents before children."""
        return self._built().nodes

    @property
    def configs(self) -> Mapping[str, TaskConfig]:
        """The configuration of every task, defaults of the dag and options of the task included."""
        return self._built().configs

    @property
    def graph(self) -> Graph:
        """The graph that a run pins when it begins."""
        return self._built().graph

    def add(self, node: Node) -> Node:
        """Places a node in this dag; the `with` block does it for the nodes made there."""
        self._check_writable()
        if not isinstance(node, Node):
            raise DagError(f"dag {self.id!r}: {_no_root(node)}")
        if node._dag is self:
            return node
        if node._dag is not None:
            raise DagError(f"task {node.id!r} is in dag {node._dag.id!r} and cannot be in {self.id!r} too")
        if node._id in self._nodes:
            advice = " (a task function gets another one by with_options)"
            where = f"dag {self.id!r}{advice if isinstance(node.task, BoundTask) else ''}"
            raise DuplicateIdError("task", node.id, where)
        node._dag = self
        self._nodes[node._id] = node
        return node

    def finish(self) -> None:
        """Builds a dag that has no `with` block; DagError when its block is open or ended in an error."""
        if self._content is not None:
            return
        if self._token is not None:
            raise DagError(f"the `with` block of dag {self.id!r} has not ended yet")
        self._build()

    def _check_writable(self) -> None:
        if self._content is not None:
            raise DagError(f"dag {self.id!r} is built and cannot be changed")
        if self._failed:
            raise DagError(f"dag {self.id!r} could not be built, because of an error before; make a new Dag")

    def _built(self) -> _Content:
        if self._content is None:
            self._check_writable()
            raise DagError(f"dag {self.id!r} is not built yet: its `with` block has not ended")
        return self._content

    def _build(self, roots: Iterable[Node] = ()) -> None:
        """Validates everything and freezes the dag: after this, nothing about it changes."""
        self._check_writable()
        try:
            self._reach(roots)
            self._content = _content(self, list(self._nodes.values()))
        except BaseException:
            self._fail()
            raise

    def _reach(self, roots: Iterable[Node]) -> None:
        """Adds everything that can be reached from `roots` and from what was placed by hand."""
        for root in roots:
            self.add(root)
        todo = list(self._nodes.values())
        while todo:
            todo += [self.add(child) for child in todo.pop()._children if child._dag is not self]

    def _fail(self) -> None:
        """Half a dag is no dag: its nodes are free again, and it stays empty."""
        self._failed = True
        for node in self._nodes.values():
            node._dag = None
        self._nodes.clear()

    def body(self, task_id: str) -> TaskBody:
        """The code of a task: its type, its source, their hash (constants and attributes included)."""
        return body_of(self.nodes[task_id].task)

    @cached_property
    def bodies(self) -> Mapping[str, TaskBody]:
        """The code of every task, by id."""
        return MappingProxyType({task_id: body_of(node._task) for task_id, node in self.nodes.items()})

    @property
    def attributes(self) -> dict[str, Any]:
        """Everything about the dag that is neither schedule nor task, as plain values."""
        catch_up = self.catch_up
        return {
            "CatchUp": catch_up.total_seconds() if isinstance(catch_up, timedelta) else catch_up,
            "Tags": list(self.tags),
            "MaxActiveRuns": self.max_active_runs,
            "Params": self.params.schema(),
        }

    @cached_property
    def hash_meta(self) -> str:
        """Hash of schedule and attributes."""
        return digest(self.id, self.schedule_text, self.start_text, self.attributes)

    @cached_property
    def hash_tasks(self) -> str:
        """Hash of ids, edges, configuration and source of all tasks, in whatever order they were written."""
        hashes = {id(config): config_hash(config) for config in _distinct(self.configs.values())}
        tasks = [(key, hashes[id(config)], self.bodies[key].hash) for key, config in self.configs.items()]
        return digest(sorted(self.graph.edges()), sorted(tasks))

    @cached_property
    def version(self) -> str:
        """The content hash by which runs pin this dag: 16 hex digits."""
        return digest(self.hash_meta, self.hash_tasks)[:16]

    @property
    def start_text(self) -> str | None:
        """The schedule's start in UTC, as far as it has one."""
        return None if self._start is None else to_text(self._start)

    def task(self, task_id: str) -> Task:
        """The task with this id; KeyError when there is none."""
        return self.nodes[task_id].task


def _check_params(dag_id: str, type: type | None, *, is_scheduled: bool) -> Params:
    try:
        params = Params(type)
    except ParamsError as error:
        raise ParamsError(f"dag {dag_id!r}: {error}") from error
    if is_scheduled and type is not None:
        try:
            params.validate({})
        except ParamsError as error:
            raise ParamsError(f"dag {dag_id!r}: its scheduled runs take the defaults, but {error}") from error
    return params


def _content(dag: Dag, nodes: list[Node]) -> _Content:
    if len(nodes) > TASKS_MAX:
        raise DagError(f"dag {dag.id!r} has {len(nodes):,} tasks; at most {TASKS_MAX:,} are possible")
    edges = sum(len(node._children) for node in nodes)
    if edges > EDGES_MAX:
        raise DagError(f"dag {dag.id!r} has {edges:,} edges; at most {EDGES_MAX:,} are possible")
    for node in nodes:
        for parent in node._parents:
            if parent._dag is not dag:
                raise DagError(
                    f"task {node.id!r} of dag {dag.id!r} comes after {parent.id!r}, which is not in the dag: "
                    "make it in the `with` block, or give it to Dag(…) as a root"
                )
    place = {node: position for position, node in enumerate(nodes)}
    children = [[place[child] for child in node._children] for node in nodes]
    order = graphs.topological_order(dag.id, [node._id for node in nodes], children)
    configs = [_config(dag, node) for node in nodes]
    specs = _specs(nodes, order, children, configs)
    return _Content(
        nodes=MappingProxyType({nodes[at]._id: nodes[at] for at in order}),
        configs=MappingProxyType({nodes[at]._id: configs[at] for at in order}),
        graph=Graph(specs),
    )


def _no_root(thing: object) -> str:
    if isinstance(thing, Group | list | tuple):
        return f"{shown(thing)} is a list; write Dag(id, *nodes)"
    if hasattr(thing, "execute"):
        return f"{shown(thing)} is not a node; write Node(…) around it"
    if hasattr(thing, "with_options"):
        return f"{shown(thing)} is not a node; call it in the `with` block of the dag"
    return f"{shown(thing)} is not a node; all but the id and the roots needs its name: schedule=…, params=…"


def _config(dag: Dag, node: Node) -> TaskConfig:
    """The configuration of the node or else of the dag, with the options of the node."""
    base = node._config or dag.config
    if not node._options:
        return base
    try:
        return with_options(base, node._options)
    except DagError as error:
        raise DagError(f"task {node.id!r} of dag {dag.id!r}: {error}") from error


def _specs(
    nodes: list[Node], order: list[int], children: list[list[int]], configs: list[TaskConfig]
) -> list[TaskSpec]:
    depth = graphs.depths(order, children)
    width = graphs.widths(order, depth)
    place = {position: rank for rank, position in enumerate(order)}
    parents: list[list[int]] = [[] for _ in nodes]
    for position, targets in enumerate(children):
        for target in targets:
            parents[target].append(place[position])
    settings = {id(config): _settings(config) for config in _distinct(configs)}
    return [
        TaskSpec(nodes[at]._id, tuple(sorted(parents[at])), depth[at], width[at], **settings[id(configs[at])])
        for at in order
    ]


def _distinct(configs: Iterable[TaskConfig]) -> Iterable[TaskConfig]:
    """Each object once: a dag of 10,000 tasks has a handful."""
    return {id(config): config for config in configs}.values()


def _settings(config: TaskConfig) -> dict[str, Any]:
    """The part of a TaskConfig that a run must know, as a TaskSpec has it."""
    return {
        "timeout": None if config.timeout is None else config.timeout.total_seconds(),
        "retries": config.retries,
        "retry_delay": config.retry_delay.total_seconds(),
        "retry_backoff": float(config.retry_backoff),
        "retry_delay_max": config.retry_delay_max.total_seconds(),
        "retry_jitter": float(config.retry_jitter),
        "alert_on_failure": config.alert_on_failure,
        "alert_on_retry": config.alert_on_retry,
        "runner": config.runner,
        "at_most_once": config.at_most_once,
        "labels": tuple(config.labels),
    }
