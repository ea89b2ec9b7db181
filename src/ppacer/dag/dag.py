"""A dag: tasks, edges, a schedule. Validated when it is built, immutable afterwards."""

import re
from collections.abc import Iterable
from contextvars import Token
from dataclasses import fields, replace
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import Any

import msgspec

from ppacer.clock import to_text
from ppacer.dag import graph as graphs
from ppacer.dag.fingerprint import digest
from ppacer.dag.function import BoundTask
from ppacer.dag.graph import Graph, TaskSpec
from ppacer.dag.node import Node, _open_dag
from ppacer.dag.source import source_of
from ppacer.dag.task import Task, TaskConfig
from ppacer.dag.values import Params
from ppacer.errors import DagError, DuplicateIdError
from ppacer.schedule import CatchUp, Schedule, validate_catch_up

ID_GRAMMAR = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
TASKS_MAX = 100_000
ACTIVE_RUNS_MAX = 100_000


class TaskBody(msgspec.Struct, frozen=True):
    """What is kept of a task's code: the name of its type, its source text and the hash of both."""

    type_name: str
    source: str
    hash: str


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
        self.is_built = False
        self.id = check_id("dag", id)
        self.schedule = schedule
        validate_catch_up(catch_up)
        self.catch_up = catch_up
        self.tags = _check_tags(id, tags)
        self.params = Params(params)
        self.max_active_runs = max_active_runs
        self.config = config or TaskConfig()
        self._nodes: dict[Node, None] = {}
        self._token: Token[Dag | None] | None = None
        if not 1 <= max_active_runs <= ACTIVE_RUNS_MAX:
            raise DagError(f"dag {id!r}: max_active_runs is {max_active_runs!r}; it must be 1 to {ACTIVE_RUNS_MAX}")
        if schedule is not None:
            for name in ("next", "start"):
                if not hasattr(schedule, name):
                    raise DagError(f"dag {id!r}: {schedule!r} is not a schedule: it has no `{name}`")
            self.params.validate({})  # a scheduled run takes the defaults, so there must be some
        if roots:
            self._reach(roots)
            self._build()

    def __enter__(self) -> "Dag":
        if self.is_built:
            raise DagError(f"dag {self.id!r} is built and cannot change")
        self._token = _open_dag.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._token is not None
        _open_dag.reset(self._token)
        if kind is None:
            self._reach(list(self._nodes))
            self._build()

    def __repr__(self) -> str:
        return f"Dag({self.id})"

    def add(self, node: Node) -> Node:
        """Places a node in this dag; the `with` block does it for the nodes made there."""
        if self.is_built:
            raise DagError(f"dag {self.id!r} is built and cannot change; {node.id!r} comes too late")
        if node.dag is not None and node.dag is not self:
            raise DagError(f"task {node.id!r} is part of dag {node.dag.id!r} and cannot be in {self.id!r} too")
        node.dag = self
        self._nodes[node] = None
        return node

    def _reach(self, roots: Iterable[Node]) -> None:
        """Adds everything that can be reached from `roots`."""
        todo = list(roots)
        for node in todo:
            if not isinstance(node, Node):
                raise DagError(f"dag {self.id!r}: {node!r} is not a Node; write Node({node!r})")
            self.add(node)
        while todo:
            for child in todo.pop().children:
                if child not in self._nodes:
                    self.add(child)
                    todo.append(child)

    def _build(self) -> None:
        """Validates everything and freezes the dag: after this, nothing about it changes."""
        nodes = list(self._nodes)
        if len(nodes) > TASKS_MAX:
            raise DagError(f"dag {self.id!r} has {len(nodes):,} tasks; at most {TASKS_MAX:,} are possible")
        ids: dict[str, int] = {}
        for position, node in enumerate(nodes):
            if check_id("task", node.id) in ids:
                raise DuplicateIdError("task", node.id, f"dag {self.id!r}")
            ids[node.id] = position
        place = {node: position for position, node in enumerate(nodes)}
        children = [[place[child] for child in node.children] for node in nodes]
        order = graphs.topological_order(self.id, [node.id for node in nodes], children)
        self.nodes = {nodes[position].id: nodes[position] for position in order}
        self.configs = {id: self._config(node) for id, node in self.nodes.items()}
        self.graph = Graph(_specs(self, nodes, order, children))
        self.is_built = True

    def _config(self, node: Node) -> TaskConfig:
        try:
            return replace(node.config or self.config, **node.options)
        except (DagError, TypeError) as error:
            raise DagError(f"task {node.id!r} of dag {self.id!r}: {error}") from error

    def body(self, task_id: str) -> TaskBody:
        """The code of a task: its type, its source, their hash (constants in arguments included)."""
        task = self.nodes[task_id].task
        code = task.function.fn if isinstance(task, BoundTask) else type(task)
        source, name = source_of(code), str(getattr(code, "__name__", type(task).__name__))
        return TaskBody(name, source, digest(name, source, task.arguments if isinstance(task, BoundTask) else None))

    @cached_property
    def bodies(self) -> dict[str, TaskBody]:
        """The code of every task, by id."""
        return {task_id: self.body(task_id) for task_id in self.nodes}

    @cached_property
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
        """Hash of ids, edges, configuration and source of all tasks, whatever the order they were written in."""
        edges = sorted(self.graph.edges())
        tasks = sorted((s.id, graphs.spec_as_dict(s), self.bodies[s.id].hash) for s in self.graph.tasks)
        return digest(edges, tasks)

    @cached_property
    def version(self) -> str:
        """The content hash by which runs pin this dag: 16 hex digits."""
        return digest(self.hash_meta, self.hash_tasks)[:16]

    @property
    def schedule_text(self) -> str | None:
        """The schedule as text; another text is another schedule."""
        return None if self.schedule is None else str(self.schedule)

    @property
    def start_text(self) -> str | None:
        """The schedule's start in UTC, as far as it has one."""
        start = getattr(self.schedule, "start", None)
        return None if start is None else to_text(start)

    def task(self, task_id: str) -> Task:
        """The task with this id; KeyError when there is none."""
        return self.nodes[task_id].task


def check_id(kind: str, id: str) -> str:
    """Ids are 1 to 200 letters, digits, `_`, `-` and `.`: safe in URLs, file names, SQL and logs."""
    if not isinstance(id, str) or not ID_GRAMMAR.fullmatch(id) or id in (".", ".."):
        shown = repr(id) if len(repr(id)) <= 80 else repr(id)[:77] + "…"
        raise DagError(f"{kind} id {shown} is not possible: use 1 to 200 letters, digits, '_', '-' and '.'")
    return id


def _check_tags(dag_id: str, tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise DagError(f"dag {dag_id!r}: tags is the text {tags!r}; write tags=[{tags!r}]")
    result = tuple(dict.fromkeys(tags))
    for tag in result:
        if not isinstance(tag, str) or not 1 <= len(tag) <= 100:
            raise DagError(f"dag {dag_id!r}: tag {tag!r} is not a text of 1 to 100 characters")
    return result


def _specs(dag: Dag, nodes: list[Node], order: list[int], children: list[list[int]]) -> list[TaskSpec]:
    depth = graphs.depths(order, children)
    width = graphs.widths(order, depth)
    place = {position: rank for rank, position in enumerate(order)}
    parents: list[list[int]] = [[] for _ in nodes]
    for position, targets in enumerate(children):
        for target in targets:
            parents[target].append(place[position])
    return [
        _spec(nodes[at].id, sorted(parents[at]), depth[at], width[at], dag.configs[nodes[at].id]) for at in order
    ]


def _spec(id: str, parents: list[int], depth: int, width: int, config: TaskConfig) -> TaskSpec:
    return TaskSpec(
        id=id,
        parents=tuple(parents),
        depth=depth,
        width=width,
        timeout=None if config.timeout is None else config.timeout.total_seconds(),
        retries=config.retries,
        retry_delay=config.retry_delay.total_seconds(),
        retry_backoff=config.retry_backoff,
        retry_delay_max=config.retry_delay_max.total_seconds(),
        retry_jitter=config.retry_jitter,
        alert_on_failure=config.alert_on_failure,
        alert_on_retry=config.alert_on_retry,
        runner=config.runner,
        at_most_once=config.at_most_once,
    )


def config_as_dict(config: TaskConfig) -> dict[str, Any]:
    """A TaskConfig as plain values, for `dagtasks.TaskConfig`; of a notifier only its type is kept."""
    plain: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name == "notifier":
            value = None if value is None else type(value).__name__
        elif field.name.endswith("_template") and value == field.default:
            continue  # two long texts that say nothing about this task
        plain[field.name] = value.total_seconds() if isinstance(value, timedelta) else value
    return plain
