"""Dags as values: tasks, nodes, edges, configuration, source and fingerprints. Nothing here does I/O."""

from ppacer.dag.body import TaskBody
from ppacer.dag.check import check_id
from ppacer.dag.dag import Dag
from ppacer.dag.function import BoundTask, TaskFunction, task
from ppacer.dag.graph import Graph, TaskSpec
from ppacer.dag.node import Group, Node
from ppacer.dag.registry import Registry
from ppacer.dag.task import RunInfo, Task, TaskConfig, TaskContext, config_as_dict

__all__ = [
    "BoundTask",
    "Dag",
    "Graph",
    "Group",
    "Node",
    "Registry",
    "RunInfo",
    "Task",
    "TaskBody",
    "TaskConfig",
    "TaskContext",
    "TaskFunction",
    "TaskSpec",
    "check_id",
    "config_as_dict",
    "task",
]
