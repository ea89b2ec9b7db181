"""What makes pages live: server-sent events with the page's content, each time something on it has changed.

One rendering serves all streams that show the same. All streams together render for a small part of the
time only: the more it costs, the longer the pause after it, so many open pages do not slow the scheduler.
The cost is the processor's time, not the clock's: on a busy machine a page waits no longer.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from contextlib import suppress
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool as in_thread
from starlette.responses import Response, StreamingResponse

from ppacer.api.door import Door
from ppacer.clock import processor_seconds
from ppacer.errors import PpacerError

LIVE = "/live"
STREAMS_MAX = 200
PAUSE_SECONDS = 0.5  # between two events of one stream: nobody reads faster
PAUSE_PER_RENDERING = 20  # times as long as a rendering took nothing is rendered: about 5 % of the time
SILENCE_SECONDS = 15.0  # after which a comment shows proxies that the connection lives
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would collect events


class Rendering(NamedTuple):
    """The content of a page, of which moment it is, and when the loop's clock began to make it."""

    moment: str
    begun_at: float
    html: str


class Live:
    """All live streams of one program."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open: Counter[Hashable] = Counter()  # streams by what they show
        self._last: dict[Hashable, Rendering] = {}
        self._turn = asyncio.Lock()  # one rendering at a time
        self._rested_at = 0.0

    def answer(
        self, key: Hashable, subjects: Collection[Hashable], seen: str, render: Callable[[], str]
    ) -> Response:
        """A stream of what `render` makes. Streams with the same key show the same."""
        if self._open.total() >= STREAMS_MAX:
            text = f"event: full\ndata: {STREAMS_MAX} pages are live already; this one stands still.\n\n"
            return Response(text, media_type="text/event-stream", headers=HEADERS)
        events = self._events(key, subjects, seen, render)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)

    async def _events(
        self, key: Hashable, subjects: Collection[Hashable], seen: str, render: Callable[[], str]
    ) -> AsyncIterator[str]:
        news = self._door.news
        self._open[key] += 1
        try:
            with news.watch(subjects) as event, news.watch(()) as end:  # the end is told to all
                yield ":\n\n"  # the client knows that it is connected
                if seen != self._door.moment:
                    event.set()
                while not news.is_over:
                    if not await _within(event, SILENCE_SECONDS):
                        yield ":\n\n"
                        continue
                    event.clear()
                    with suppress(PpacerError):  # the database is away, say: the next news may bring it
                        rendering = await self._rendered(key, render, end)
                        yield _event(rendering)
                    await _within(end, PAUSE_SECONDS)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
                self._last.pop(key, None)

    async def _rendered(self, key: Hashable, render: Callable[[], str], end: asyncio.Event) -> Rendering:
        """A rendering of now: the last one, when it was begun since we asked, or nothing has changed."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._turn:
            found = self._last.get(key)
            if found is not None and (found.begun_at >= asked_at or found.moment == self._door.moment):
                return found
            await _within(end, self._rested_at - loop.time())
            moment, begun_at = self._door.moment, loop.time()
            html, spent = await in_thread(_timed, render)
            rendering = Rendering(moment, begun_at, html)
            self._rested_at = loop.time() + PAUSE_PER_RENDERING * spent
            self._last[key] = rendering
            return rendering


def _timed(render: Callable[[], str]) -> tuple[str, float]:
    """What it makes, and how many seconds of a processor that took."""
    begun = processor_seconds()
    return render(), processor_seconds() - begun


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within so many seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    return event.is_set()


def _event(rendering: Rendering) -> str:
    lines = "".join(f"data: {line}\n" for line in rendering.html.splitlines())
    return f"id: {rendering.moment}\n{lines}\n"


def live_path(path: str) -> str:
    """Where the stream of a page is: `/dags` → `/live/dags`."""
    return f"{LIVE}{path.rstrip('/')}"


def own_path(path: str) -> str:
    """Of which page a path is, be it that of its stream: `/live/dags` → `/dags`."""
    return (path.removeprefix(LIVE) or "/") if path == LIVE or path.startswith(f"{LIVE}/") else path
