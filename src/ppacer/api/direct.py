"""The short way of what executors say most: a request that came whole is answered without the layers of ASGI.

There is one for each hop of a chain (docs/decisions/0005). Whatever is not quite as usual goes the usual way,
which alone knows how to refuse.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Access, Permission
from ppacer.api.door import EXECUTOR_SECONDS, Door
from ppacer.api.executors import is_large
from ppacer.api.guard import EXECUTORS, Guard
from ppacer.api.parameters import IN_PATH
from ppacer.api.problems import RequestError, of_error
from ppacer.api.route import BIG, answer
from ppacer.api.wire import HeartbeatBody, ReportsBody
from ppacer.errors import PpacerError, SchedulerUnavailable
from ppacer.scheduler.requests import FromExecutor, Heartbeat, Reports

log = logging.getLogger("ppacer.api")

Write = Callable[[int, Iterable[tuple[bytes, bytes]], bytes], None]


class Verb(NamedTuple):
    """How to read what is asked by one of the verbs."""

    decode: Callable[[bytes], Any]
    ask: Callable[[str, Any], FromExecutor]


_reports, _heartbeat = msgspec.json.Decoder(ReportsBody).decode, msgspec.json.Decoder(HeartbeatBody).decode
VERBS = {
    "report": Verb(_reports, lambda name, body: Reports(name, body.reports, body.life)),
    "heartbeat": Verb(_heartbeat, lambda name, body: Heartbeat(name, body.tokens, body.life)),
}


class Direct:
    """Takes reports and heartbeats in the thread of the loop, and answers them after the commit."""

    def __init__(self, door: Door, guard: Guard, access: Access) -> None:
        self._door, self._guard, self._access = door, guard, access

    @staticmethod
    def may_take(scope: Mapping[str, Any]) -> bool:
        """Whether its header looks like one of these requests."""
        path = scope["path"]
        return scope["method"] == "POST" and path.startswith(EXECUTORS) and path.rpartition("/")[2] in VERBS

    def take(self, scope: Any, body: bytes, write: Write) -> bool:
        """Whether it answers this request by `write`, now or later; False: it is to go the usual way."""
        headers = Headers(scope=scope)
        if len(body) > BIG or self._guard.refusal("POST", headers, BIG) is not None:
            return False
        if not self._access.admits_at_once(headers, Permission.EXECUTE):
            return False
        name, _, verb = scope["path"][len(EXECUTORS) :].rpartition("/")
        try:
            ask = VERBS[verb].ask(IN_PATH["executor"].read(name), VERBS[verb].decode(body))
            future = self._door.submit(ask)
        except (PpacerError, RequestError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        _Waiting(future, Request(scope), write)
        return True


class _Waiting:
    """A request that the scheduler has; it is answered when that is done, or the time is over."""

    def __init__(self, future: Future[Any], request: Request, write: Write) -> None:
        self._future, self._request, self._write = future, request, write
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(EXECUTOR_SECONDS, future.cancel)  # nothing is told to nobody
        self._slowly: asyncio.Task[None] | None = None
        future.add_done_callback(self._tell_loop)

    def _tell_loop(self, _: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        self._timer.cancel()
        if self._future.cancelled():
            self._send(self._refusal(SchedulerUnavailable("the scheduler did not answer in time")))
        elif (error := self._future.exception()) is not None:
            if not isinstance(error, PpacerError):
                log.error("a request of an executor has failed", exc_info=error)
            self._send(self._refusal(error))
        elif is_large(self._future.result()):
            self._slowly = self._loop.create_task(self._send_slowly())
        else:
            self._send(answer(self._future.result()))

    async def _send_slowly(self) -> None:
        """It is written by another thread, for others to be answered meanwhile."""
        self._send(await in_thread(answer, self._future.result()))

    def _refusal(self, error: BaseException) -> Response:
        return of_error(self._request, error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _send(self, response: Response) -> None:
        self._write(response.status_code, response.raw_headers, bytes(response.body))
