"""What is asked of the scheduler: each request carries the future that is answered after the commit."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from datetime import datetime
from typing import Any

import msgspec

from ppacer.choices import Role
from ppacer.engine.changes import AlertTried, Audited
from ppacer.protocol import Hello, Report
from ppacer.store.retention import Old

LOCAL = "local"  # the actor of who needs no token: somebody on this machine, or the program itself


class Claim(msgspec.Struct, frozen=True):
    """An executor wants work, and waits up to `wait` seconds for it."""

    executor: str
    slots: int
    wait: float
    life: str | None = None  # that of its hello; None: it speaks protocol 1 and says none


class Reports(msgspec.Struct, frozen=True):
    """An executor tells how attempts ended."""

    executor: str
    reports: Sequence[Report]
    life: str | None = None  # as in Claim


class Heartbeat(msgspec.Struct, frozen=True):
    """An executor lives and holds these attempts."""

    executor: str
    tokens: Sequence[str]
    life: str | None = None  # as in Claim


class Greeting(msgspec.Struct, frozen=True):
    """An executor says hello; answered with a Welcome."""

    hello: Hello

    @property
    def executor(self) -> str:
        """Its name."""
        return self.hello.name


class Goodbye(msgspec.Struct, frozen=True):
    """An executor ends and has nothing any more; `life` as in Claim."""

    executor: str
    life: str | None = None


class TriggerRun(msgspec.Struct, frozen=True):
    """Start a run of a dag now; answered with its RunRef."""

    dag_id: str
    params: dict[str, Any] = {}
    exec_ts: datetime | None = None


class CancelRun(msgspec.Struct, frozen=True):
    """End a run; answered with its RunRef."""

    run_id: int


class RestartRun(msgspec.Struct, frozen=True):
    """Let a failed or cancelled run go on; answered with its RunRef."""

    run_id: int


class PauseDag(msgspec.Struct, frozen=True):
    """No new scheduled runs of the dag."""

    dag_id: str


class UnpauseDag(msgspec.Struct, frozen=True):
    """Scheduled runs of the dag again, from now on; also a disabled dag gets another chance."""

    dag_id: str


class StartBackfill(msgspec.Struct, frozen=True):
    """Runs for the points in [begin, end) that have none, some at once; answered with its BackfillRef.

    Times without a zone are on the clock of the dag's schedule. Without an end: up to now.
    """

    dag_id: str
    begin: datetime
    end: datetime | None = None
    max_active_runs: int = 4
    newest_first: bool = False
    params: dict[str, Any] = {}


class PauseBackfill(msgspec.Struct, frozen=True):
    """The backfill begins no more runs for now; answered with its BackfillRef, as the next two are."""

    backfill_id: int


class UnpauseBackfill(msgspec.Struct, frozen=True):
    """The backfill goes on."""

    backfill_id: int


class CancelBackfill(msgspec.Struct, frozen=True):
    """The backfill begins no more runs, and those that are open are cancelled."""

    backfill_id: int


class DrainExecutor(msgspec.Struct, frozen=True):
    """The executor is given nothing new until this is taken back; answered with its name, as the next one."""

    executor: str


class UndrainExecutor(msgspec.Struct, frozen=True):
    """The executor is given work again."""

    executor: str


class CreateToken(msgspec.Struct, frozen=True):
    """Let the holder of a secret in, of which only the hash is told; answered with its TokenRow."""

    name: str
    role: Role
    expires_at: datetime | None
    token_id: str
    token_hash: str


class RevokeToken(msgspec.Struct, frozen=True):
    """Let the holder of a token in no more; answered with its TokenRow."""

    name: str


OfBackfill = StartBackfill | PauseBackfill | UnpauseBackfill | CancelBackfill
OfExecutor = DrainExecutor | UndrainExecutor
OfToken = CreateToken | RevokeToken
Command = TriggerRun | CancelRun | RestartRun | PauseDag | UnpauseDag | OfBackfill | OfExecutor | OfToken
FromExecutor = Claim | Reports | Heartbeat | Greeting | Goodbye
Ask = FromExecutor | AlertTried | Audited | Command | Old


class Origin(msgspec.Struct, frozen=True):
    """Who asks, and from where. With a `key` the same command again is no other command."""

    actor: str = LOCAL
    address: str | None = None
    key: str | None = None


HERE = Origin()


class Unclear(msgspec.Struct, frozen=True):
    """A command that was decided in a transaction of which nobody knows the end; `happened` asks the rows."""

    reply: Any
    happened: Callable[[], bool]


class Request:
    """One ask with the future of its answer. Whoever asked may give up by cancelling the future."""

    __slots__ = ("_taken", "ask", "future", "origin", "trouble", "unclear")

    def __init__(self, ask: Ask, origin: Origin = HERE) -> None:
        self.ask = ask
        self.origin = origin
        self.future: Future[Any] = Future()
        self.unclear: Unclear | None = None
        self.trouble: str | None = None  # why it was kept until the database is back
        self._taken: bool | None = None

    @property
    def is_awaited(self) -> bool:
        """False when whoever asked has given up."""
        return not self.future.cancelled()

    @property
    def is_open(self) -> bool:
        """True while whoever asked waits for an answer."""
        return not self.future.done()

    @property
    def is_answered(self) -> bool:
        """True when the answer is out: nothing may be decided any more."""
        return self.future.done() and self.is_awaited

    def take(self) -> bool:
        """Whether an answer will be heard. After True nobody can give up any more: `answer` must follow."""
        if self._taken is None:
            self._taken = self.future.set_running_or_notify_cancel()
        return self._taken

    def answer(self, value: Any) -> None:
        """Answers, unless nobody waits any more."""
        try:
            if isinstance(value, BaseException):
                self.future.set_exception(value)
            else:
                self.future.set_result(value)
        except InvalidStateError:
            return
