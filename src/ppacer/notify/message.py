"""What a notification is about, and the seam to whoever delivers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ppacer.clock import utc
from ppacer.errors import PpacerError


class NotifyError(PpacerError):
    """A notification was not delivered; the outbox tries again.

    `status` is the code with which the other side answered (HTTP or SMTP), None where it gave none. The
    sentence never holds what may be secret: the path and query of a URL, headers, passwords, answers.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class MsgData:
    """The facts a template may use. `exec_ts` is kept in UTC and needs a time zone (else ValueError)."""

    dag_id: str
    exec_ts: datetime
    task_id: str | None = None
    retry: int | None = None
    task_run_error: str | None = None
    runtime_info: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "exec_ts", utc(self.exec_ts))


class Sender(Protocol):
    """Delivers one notification. Returns when it is delivered, raises when it is not; never tries twice.

    A retry after a failure may deliver a message twice, never lose it. `send` is called from any thread.
    """

    def send(self, template: str, data: MsgData) -> None: ...
