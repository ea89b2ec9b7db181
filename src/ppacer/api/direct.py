"""The short way of what executors say most: a request that came whole is answered without the layers of ASGI.

There is one for each hop of a chain (docs/decisions/0005). Whatever is not quite as usual goes the usual way,
which alone knows how to refuse.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Access, Permission
from ppacer.api.connection import Outgoing
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

    def take(self, scope: Any, body: bytes, outgoing: Callable[[], Outgoing]) -> bool:
        """Whether it answers this request, now or later; False: it is to go the usual way."""
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
        _Waiting(future, Request(scope), outgoing())
        return True


class _Waiting:
    """A request that the scheduler has; it is answered when that is done, or the time is over."""

    def __init__(self, future: Future[Any], request: Request, outgoing: Outgoing) -> None:
        self._future, self._request, self._outgoing = future, request, outgoing
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(EXECUTOR_SECONDS, future.cancel)  # nothing is told to nobody
        self._slowly: asyncio.Task[None] | None = None
        future.add_done_callback(self._done)

    def _done(self, _: object) -> None:
        """In the scheduler's thread, as a rule: what it has to say is on its way before it goes on."""
        future, finish = self._future, self._finish
        with suppress(Exception):  # what cannot be written is told by `_finish`, too
            if not future.cancelled() and future.exception() is None and not is_large(future.result()):
                finish = partial(self._end, self._outgoing.send(answer(future.result())))
        try:
            self._loop.call_soon_threadsafe(finish)
        except RuntimeError:  # the loop is closed: the server has ended
            self._outgoing.close()

    def _end(self, rest: bytes) -> None:
        self._timer.cancel()
        self._outgoing.end(rest)

    def _finish(self) -> None:
        """Answers what is not usual."""
        if self._future.cancelled():
            self._send(self._refusal(SchedulerUnavailable("the scheduler did not answer in time")))
        elif (error := self._future.exception()) is not None:
            if not isinstance(error, PpacerError):
                log.error("a request of an executor has failed", exc_info=error)
            self._send(self._refusal(error))
        else:
            self._slowly = self._loop.create_task(self._send_slowly())

    async def _send_slowly(self) -> None:
        """It is written by another thread, for others to be answered meanwhile."""
        try:
            response = await in_thread(answer, self._future.result())
        except Exception as error:
            log.exception("an answer to an executor cannot be written")
            response = self._refusal(error)
        self._send(response)

    def _refusal(self, error: BaseException) -> Response:
        return of_error(self._request, error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _send(self, response: Response) -> None:
        self._end(self._outgoing.send(response))
