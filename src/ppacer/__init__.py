"""ppacer runs workflows on schedule: define dags in Python, start one program, and they run.

The names below are the public API; they are imported on first use, so that `import ppacer` is cheap and
the parent of the task processes stays small.
"""

from typing import TYPE_CHECKING, Any

from ppacer.version import VERSION

if TYPE_CHECKING:
    from ppacer.app import run_once, serve
    from ppacer.dag import Dag, Node, Registry, RunInfo, Task, TaskConfig, TaskContext, task
    from ppacer.errors import PpacerError

__version__ = VERSION

_HOME = {
    "Dag": "ppacer.dag",
    "Node": "ppacer.dag",
    "PpacerError": "ppacer.errors",
    "Registry": "ppacer.dag",
    "RunInfo": "ppacer.dag",
    "Task": "ppacer.dag",
    "TaskConfig": "ppacer.dag",
    "TaskContext": "ppacer.dag",
    "run_once": "ppacer.app",
    "serve": "ppacer.app",
    "task": "ppacer.dag",
}

__all__ = [
    "Dag",
    "Node",
    "PpacerError",
    "Registry",
    "RunInfo",
    "Task",
    "TaskConfig",
    "TaskContext",
    "__version__",
    "run_once",
    "serve",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ppacer' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
