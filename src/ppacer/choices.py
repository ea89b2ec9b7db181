"""The words that options may have: a module of its own, because the help of the command line names them."""

from enum import StrEnum

RUNNERS = ("process", "pool", "thread", "async")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Role(StrEnum):
    """What the holder of an access token may do; each role but EXECUTOR may do what those before it may.

    VIEWER reads, OPERATOR also commands (trigger, cancel …), ADMIN also manages tokens. EXECUTOR claims and
    reports attempts, and nothing else.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    EXECUTOR = "executor"
