"""What scheduler and executor say to each other, in one program or over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Protocol

import msgspec

from ppacer.tasklog import LogRecord

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 10.0
PROTOCOL = 2
PROTOCOL_OLDEST = 1
"""The versions of these messages that a scheduler understands: the current one and the one before.

1: no hello; an executor begins with a claim, and is given whatever there is. 2: hello, welcome and goodbye,
labels, the dags that an executor has. Fields are only ever added, with a default that
means what their absence meant.
"""
LOCAL = "local"  # the executor inside the scheduler's own program: it dies with it
INPUTS_BYTES_MAX = 60 * 1024 * 1024  # of all results that one attempt takes; sixty of the largest


WITHOUT_NUL = r"^[^\x00]*$"  # PostgreSQL has no text with one
Text = Annotated[str, msgspec.Meta(max_length=1_000, pattern=WITHOUT_NUL)]
Identity = Annotated[str, msgspec.Meta(max_length=40, pattern=WITHOUT_NUL)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Hash = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-f]*$")]


class Hello(msgspec.Struct, frozen=True):
    """An executor introduces itself: at its start, and whenever the scheduler does not know it.

    `identity` is that of its folder, which a restart keeps; `life` is that of its process. `tokens` are the
    attempts it has, running or ended and not yet reported: what an earlier life had besides is lost. It takes
    tasks with these `labels` and `runners`; None: with any. `dag_versions`: the dags it has loaded.
    """

    name: str
    host: Text = ""
    pid: Number = 0
    version: Text = ""
    protocol: Number = PROTOCOL
    slots: Number = 0
    labels: list[str] | None = None
    runners: list[str] | None = None
    dag_versions: dict[str, str] = {}
    identity: Identity = ""
    life: Text = ""
    tokens: list[str] = []


class Welcome(msgspec.Struct, frozen=True):
    """The scheduler's answer to a hello: the protocol both speak, the lease in seconds, its own version."""

    protocol: int = PROTOCOL
    lease: float = LEASE_SECONDS
    version: str = ""


class End(StrEnum):
    """How an attempt ended.

    HANDED_BACK: given back unfinished, because the executor stops. LOST: it died with what it ran in, perhaps
    by its own fault. REFUSED: it could not be started here.
    """

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    HANDED_BACK = "HANDED_BACK"
    LOST = "LOST"
    REFUSED = "REFUSED"


class Grant(msgspec.Struct, frozen=True):
    """The right to execute one attempt. `results` are the JSON texts of the direct parents' results.

    `problem`: why it cannot succeed; it is not to be started but to be reported as FAILED with these words.
    """

    run_id: int
    dag_id: str
    exec_ts: datetime
    task_id: str
    retry: int
    token: str
    trigger: str
    timeout: float | None = None
    runner: str | None = None
    params: dict[str, Any] = {}
    results: dict[str, str] = {}
    problem: str | None = None


class Report(msgspec.Struct, frozen=True):
    """The end of one attempt; repeating a report changes nothing.

    `begun`: False when the task was certainly not started. `is_unfit`: REFUSED because this executor's code
    cannot run it, now or later. `body_hash`: of the code that ran, as `Dag` computes it; None: not known.
    `cpu_seconds`: of its process and of those that it waited for.
    """

    run_id: int
    task_id: str
    retry: int
    token: str
    end: End
    error: str | None = None
    result: str | None = None
    peak_memory: int | None = None  # bytes
    begun: bool = True
    is_unfit: bool = False
    body_hash: Hash | None = None
    cpu_seconds: Seconds | None = None


class Answer(msgspec.Struct, frozen=True):
    """What the scheduler has for an executor: new grants, and tokens of attempts that shall end.

    `accepted` has one flag for each report of the request; False: that attempt had been replaced.
    """

    grants: list[Grant] = []
    cancel: list[str] = []
    accepted: list[bool] = []


class Client(Protocol):
    """The scheduler as an executor sees it. Every call may raise SchedulerUnavailable."""

    def hello(self, hello: Hello) -> Welcome:
        """Introduces the executor. Raises ExecutorRefusedError when it can never be taken."""

    def claim(self, executor: str, slots: int, wait: float) -> Answer:
        """Waits up to `wait` seconds for work; `slots`: the executor's whole capacity, 0 while it drains.

        Raises UnknownExecutorError when the executor has to say hello first.
        """

    def report(self, executor: str, reports: Sequence[Report]) -> Answer:
        """Delivers ends of attempts; returns after they are committed."""

    def heartbeat(self, executor: str, tokens: Sequence[str]) -> Answer:
        """Says that the executor lives and holds these attempts; extends its lease."""

    def goodbye(self, executor: str) -> None:
        """Says that the executor ends and has nothing any more: nobody needs to wait for its lease."""

    def log(self, records: Sequence[LogRecord]) -> None:
        """Hands over log records; never blocks for long and never fails."""
