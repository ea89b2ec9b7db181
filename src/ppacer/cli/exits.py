"""Exit codes: what a script can tell apart."""

from ppacer.errors import (
    ConflictError,
    ExecutorRefusedError,
    NotFoundError,
    SchedulerUnavailable,
    StoreLockedError,
    StoreUnavailable,
)

OK = 0
FAILED = 1
USAGE = 2
UNAVAILABLE = 3
NOT_FOUND = 4
CONFLICT = 5
INTERRUPTED = 130
BROKEN_PIPE = 141  # as if SIGPIPE had ended it, which is what other programs do

MEANINGS = {
    OK: "done; a run that was waited for has succeeded",
    FAILED: "the run has failed or was cancelled; the file or database did not pass its check",
    USAGE: "wrong usage, or input that is not possible",
    UNAVAILABLE: "no scheduler answers, or the database refuses for now",
    NOT_FOUND: "there is no such dag, run or task",
    CONFLICT: "its state does not allow that, another scheduler has the database, or an executor is refused",
    INTERRUPTED: "ended by Ctrl-C (`serve` and `demo` end with 0 then), or `run` by SIGTERM",
}


def code_of(error: Exception) -> int:
    """The exit code for one of our errors."""
    match error:
        case NotFoundError():
            return NOT_FOUND
        case ConflictError() | ExecutorRefusedError() | StoreLockedError():
            return CONFLICT
        case SchedulerUnavailable() | StoreUnavailable():
            return UNAVAILABLE
    return USAGE
