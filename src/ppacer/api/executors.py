"""The executors' verbs over HTTP: what they ask goes into the scheduler's inbox, and waits for the commit.

No thread waits for an executor: a long poll is a future of the inbox.
"""

from functools import partial
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.requests import Request

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.route import BIG, Route, answer
from ppacer.api.wire import ClaimBody, GoodbyeBody, HeartbeatBody, Nothing, RecordsBody, ReportsBody
from ppacer.protocol import Answer, Hello, Welcome
from ppacer.scheduler.requests import Claim, Goodbye, Greeting, Heartbeat, Reports

PREFIX = "/api/v1/executors/"
WAIT_SECONDS_MAX = 60.0
SEEN_MAX = 1_000  # executors of which it is known what they have sent last
RECORDS_MAX = 64  # log records that are taken without another thread


def executor_routes(door: Door) -> list[Route]:
    """The routes over `door`."""
    verbs, path = Verbs(door), f"{PREFIX}{{executor}}"
    post = partial(Route, "POST", permission=Permission.EXECUTE)
    return [
        post(
            f"{path}/hello",
            verbs.hello,
            body=Hello,
            answer=Welcome,
            problems=("not_found", "executor_refused"),
        ),
        post(
            f"{path}/claim",
            verbs.claim,
            body=ClaimBody,
            answer=Answer,
            problems=("not_found", "unknown_executor"),
        ),
        post(f"{path}/report", verbs.report, body=ReportsBody, answer=Answer, problems=("not_found",)),
        post(
            f"{path}/heartbeat", verbs.heartbeat, body=HeartbeatBody, answer=Answer, problems=("not_found",)
        ),
        post(f"{path}/logs", verbs.logs, body=RecordsBody, answer=Nothing, problems=("not_found",)),
        post(f"{path}/goodbye", verbs.goodbye, body=GoodbyeBody, answer=Nothing, problems=("not_found",)),
    ]


class Verbs:
    """The endpoints."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._seen: dict[str, tuple[str, int]] = {}  # by executor: its life, and its last batch of records

    async def hello(self, request: Request, executor: str, body: Hello) -> Any:
        """Introduces an executor, at its start and whenever the scheduler does not know it."""
        return await self.door.ask(Greeting(msgspec.structs.replace(body, name=executor)))

    async def claim(self, request: Request, executor: str, body: ClaimBody) -> Any:
        """Waits for attempts to run: a long poll, answered as soon as there is something to be told."""
        wait = min(max(body.wait, 0.0), WAIT_SECONDS_MAX)
        ask = Claim(executor, max(body.slots, 0), wait, body.life)
        return await _told(await self.door.poll(ask, wait, request.receive) or Answer())

    async def report(self, request: Request, executor: str, body: ReportsBody) -> Any:
        """Takes the ends of attempts, which may be told again; the answer brings new grants."""
        return await _told(await self.door.ask(Reports(executor, body.reports, body.life)))

    async def heartbeat(self, request: Request, executor: str, body: HeartbeatBody) -> Any:
        """Keeps the lease of an executor; the answer brings cancellations."""
        return await self.door.ask(Heartbeat(executor, body.tokens, body.life))

    async def logs(self, request: Request, executor: str, body: RecordsBody) -> Any:
        """Takes what tasks have said."""
        life, number = self._seen.get(executor, ("", 0))
        if body.life != life or body.number > number:
            self._seen.pop(executor, None)  # the newest stand last
            self._seen[executor] = body.life, body.number
            if len(self._seen) > SEEN_MAX:
                del self._seen[next(iter(self._seen))]
            if len(body.records) <= RECORDS_MAX:
                self.door.take_records(body.records)
            else:
                await in_thread(self.door.take_records, body.records)
        return Nothing()

    async def goodbye(self, request: Request, executor: str, body: GoodbyeBody) -> Any:
        """The executor has ended, and has nothing any more: nobody needs to wait for its lease."""
        await self.door.ask(Goodbye(executor, body.life))
        return Nothing()


async def _told(told: Answer) -> Any:
    """Large inputs of tasks are written by another thread, for others to be answered meanwhile."""
    return await in_thread(answer, told) if is_large(told) else told


def is_large(told: Answer) -> bool:
    """Whether it takes its time to be written."""
    return sum(len(text) for grant in told.grants for text in grant.results.values()) > BIG
