"""Every error ppacer raises, as one tree: the facts in attributes, a sentence a user can act on.

PpacerError
├── DagError                 a dag, task, parameter or result that cannot be
│   ├── DuplicateIdError
│   ├── CycleError
│   ├── ParamsError
│   └── ResultError
├── ScheduleError            a schedule that cannot be, or does not advance
├── LoadError                a file of dags that does not import
├── ConfigError              an option with an impossible value
├── StoreError               the database refuses
│   ├── StoreLockedError     another scheduler has the file
│   └── StoreUnavailable     for now: full, read-only, locked, away
│       └── Deposed          another scheduler leads now
└── CommandError             a command that cannot be carried out
    ├── NotFoundError        no such dag, run or task
    ├── ConflictError        not in this state
    ├── KeyReusedError       its idempotency key belongs to another command
    ├── SchedulerUnavailable nobody answers
    │   ├── StandsBy         another one leads
    │   └── NoAnswerError    it was asked, and nobody knows what became of that
    ├── NotAdmittedError     the token or the address is not accepted
    ├── NotTakenError        the request can never be taken as it is
    ├── UnknownExecutorError the executor has to say hello first
    └── ExecutorRefusedError the executor cannot be taken as it is
"""

from collections.abc import Sequence


class PpacerError(Exception):
    """Base of all errors of ppacer; `str(error)` is one sentence for the user, `code` is for programs."""

    code = "error"


class DagError(PpacerError):
    """A dag, task or value in a dag is not valid."""

    code = "not_possible"


class DuplicateIdError(DagError):
    """Two things that need different ids have the same one."""

    def __init__(self, kind: str, id: str, where: str) -> None:
        super().__init__(f"{kind} id {id!r} is used twice in {where}; every {kind} there needs its own id")
        self.kind, self.id, self.where = kind, id, where


class CycleError(DagError):
    """The edges of a dag form a cycle; `path` names it, first and last element equal."""

    def __init__(self, dag_id: str, path: Sequence[str]) -> None:
        super().__init__(f"dag {dag_id!r} has a cycle: {' -> '.join(path)}")
        self.dag_id, self.path = dag_id, tuple(path)


class ParamsError(DagError):
    """Parameters of a trigger do not fit the dag's declaration; the message names the field."""


class ResultError(DagError):
    """A task returned something that cannot be passed on: not JSON, or too large."""


class ScheduleError(PpacerError):
    """A schedule is impossible, or its `next` does not advance."""

    code = "schedule_failed"


class LoadError(PpacerError):
    """A file of dags could not be imported; `traceback` holds the user's own frames."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ConfigError(PpacerError):
    """An option, environment variable or line of ppacer.toml has an impossible value."""

    code = "bad_request"


class StoreError(PpacerError):
    """The database cannot be used; the sentence says what to do."""


class StoreLockedError(StoreError):
    """Another scheduler has this database file."""


class StoreUnavailable(StoreError):  # noqa: N818 - a state, not a fault of the caller
    """The database refuses for now (disk full, read-only, locked, away); try again later."""

    code = "database_unavailable"


class Deposed(StoreUnavailable):
    """This scheduler led, and another one has taken over meanwhile: nothing was written."""


class CommandError(PpacerError):
    """A command cannot be carried out; nothing was changed."""


class NotFoundError(CommandError):
    """There is no such dag, run or task."""

    code = "not_found"


class ConflictError(CommandError):
    """The thing exists, but its state does not allow the command."""

    code = "conflict"


class KeyReusedError(CommandError):
    """The idempotency key of a command was used for another one before."""

    code = "key_reused"


class SchedulerUnavailable(CommandError):  # noqa: N818 - a state, not a fault of the caller
    """No scheduler answers, or it is stopping or degraded."""

    code = "unavailable"


class StandsBy(SchedulerUnavailable):
    """The scheduler of this program does not lead: another one does, or will."""


class NoAnswerError(SchedulerUnavailable):
    """The scheduler has taken the command and did not answer in time: it may still be carried out."""

    code = "no_answer"


class NotAdmittedError(CommandError):
    """The scheduler lets nobody in with this token, or under this address."""


class NotTakenError(CommandError):
    """What was sent can never be taken as it is: too large for what is between, or not understood."""


class UnknownExecutorError(CommandError):
    """The scheduler does not know this executor (it was started anew, say): hello comes first."""

    code = "unknown_executor"


class ExecutorRefusedError(CommandError):
    """The scheduler cannot work with this executor: its name is taken, or its version does not fit."""

    code = "executor_refused"
