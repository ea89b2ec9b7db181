"""The words that options may have: a module of its own, because the help of the command line names them."""

import re
from enum import StrEnum

RUNNERS = ("process", "pool", "thread", "async", "dask", "ray")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

LABELS_MAX = 32  # of one task or executor
LABEL_WORDS = "a label has 1 to 100 letters, digits and _ - . : ="
_LABEL = re.compile(r"[A-Za-z0-9_.:=-]{1,100}")


def is_label(value: object) -> bool:
    """Whether an executor can carry this, and a task ask for it."""
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None


class Role(StrEnum):
    """What the holder of an access token may do.

    VIEWER reads, OPERATOR also commands (trigger, cancel …), EXECUTOR claims and reports attempts and does
    nothing else, ADMIN may do all that and manage tokens.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    EXECUTOR = "executor"


class DagState(StrEnum):
    """What lists of dags can be asked for; FAILED is about the newest run."""

    RUNNING = "running"
    FAILED = "failed"
    PAUSED = "paused"
    DISABLED = "disabled"
