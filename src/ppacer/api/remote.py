"""The scheduler as an executor on another machine sees it: the `protocol.Client` over HTTP."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

import msgspec

from ppacer.api.link import Link, Question
from ppacer.api.records import RecordSender
from ppacer.api.wire import ClaimBody, GoodbyeBody, HeartbeatBody, RecordsBody, ReportsBody
from ppacer.config import Mask
from ppacer.protocol import Answer, Hello, Report, Welcome
from ppacer.tasklog import LogRecord
from ppacer.tasklog.masking import masked_record

ANSWER_SECONDS = 60.0  # for what waits for a commit
HEARTBEAT_SECONDS = 10.0
CLAIM_SECONDS = 10.0  # beyond the wait that was asked for
GOODBYE_SECONDS = 3.0  # for all that is said at the end
T = TypeVar("T")

_encode = msgspec.json.Encoder(enc_hook=str).encode


class HttpExecutorClient:
    """Implements `protocol.Client`: each call is one request; what tasks say has a thread of its own."""

    def __init__(self, link: Link, executor: str, mask: Mask = str) -> None:
        self._link = link
        self._prefix = f"/api/v1/executors/{quote(executor, safe='')}/"
        self._mask = mask
        self._life: str | None = None
        self._is_closing = False
        self._records = RecordSender(self._send_records)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the sending of records and closes the connections."""
        self._is_closing = True
        self._records.close()
        self._link.close()

    def hello(self, hello: Hello) -> Welcome:
        """Introduces the executor; see `protocol.Client`."""
        self._life = hello.life
        return self._ask("hello", hello, Welcome, ANSWER_SECONDS)

    def claim(self, executor: str, slots: int, wait: float) -> Answer:
        """Waits for work; see `protocol.Client`."""
        patience = CLAIM_SECONDS if slots else GOODBYE_SECONDS
        return self._ask("claim", ClaimBody(slots, wait, self._life), Answer, wait + patience)

    def report(self, executor: str, reports: Sequence[Report]) -> Answer:
        """Delivers ends of attempts, after all that they have logged; see `protocol.Client`."""
        self._records.flush()
        return self._ask("report", ReportsBody(list(reports), self._life), Answer, ANSWER_SECONDS)

    def heartbeat(self, executor: str, tokens: Sequence[str]) -> Answer:
        """Keeps the lease; see `protocol.Client`."""
        return self._ask("heartbeat", HeartbeatBody(list(tokens), self._life), Answer, HEARTBEAT_SECONDS)

    def goodbye(self, executor: str) -> None:
        """Says that it ends; see `protocol.Client`."""
        self._ask("goodbye", GoodbyeBody(self._life), dict[str, Any], GOODBYE_SECONDS)

    def log(self, records: Sequence[LogRecord]) -> None:
        """Keeps log records to be sent soon; secrets of this machine do not leave it."""
        hidden = records if self._mask is str else [masked_record(record, self._mask) for record in records]
        self._records.put(hidden)

    def _send_records(self, records: Sequence[LogRecord], number: int) -> None:
        body = RecordsBody(list(records), self._life or "", number)
        patience = GOODBYE_SECONDS if self._is_closing else ANSWER_SECONDS
        self._ask("logs", body, dict[str, Any], patience)

    def _ask(self, verb: str, body: Any, kind: type[T], wait: float) -> T:
        return self._link.ask(Question("POST", self._prefix + verb, wait, _encode(body)), kind)
