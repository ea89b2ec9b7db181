"""The words that options may have: a module of its own, because the help of the command line names them."""

from enum import StrEnum

RUNNERS = ("process", "pool", "thread", "async")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Role(StrEnum):
    """What the holder of an access token may do.

    VIEWER reads, OPERATOR also commands (trigger, cancel …), EXECUTOR claims and reports attempts and does
    nothing else, ADMIN may do all that and manage tokens.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    EXECUTOR = "executor"
