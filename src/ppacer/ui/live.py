"""What makes pages live: server-sent events with its content when something on it has changed, or it is old.

One rendering serves all streams that show the same. After a rendering comes a pause: the longer, the more
processor time it has cost and the busier the program is otherwise, so open pages do not slow the scheduler.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable
from contextlib import suppress
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool as in_thread
from starlette.responses import Response, StreamingResponse

from ppacer.api.door import Door
from ppacer.clock import mono, processor_seconds, program_seconds
from ppacer.errors import PpacerError

LIVE = "/live"
STREAMS_MAX = 200
PAUSE_SECONDS = 0.5  # between two events of one stream: nobody reads faster
IDLE_PAUSE, BUSY_PAUSE = 4, 60  # times as long as a rendering took nothing is rendered, by what else is done
PAUSE_MAX = 10.0  # seconds: one dear page shall not hold up all others for long
SILENCE_SECONDS = 15.0  # after which a comment shows proxies that the connection lives
OLD_SECONDS = 30.0  # after which a page is rendered without news: nobody tells what has become late
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would collect events


class View(NamedTuple):
    """What a stream shows, of which news it is rendered anew, and whether its viewer still may see it.

    Views with the same key show the same.
    """

    key: Hashable
    subjects: Collection[Hashable]
    render: Callable[[], str]
    is_allowed: Callable[[], Awaitable[bool]]


class Rendering(NamedTuple):
    """The content of a page, of which moment it is, and when the loop's clock began to make it."""

    moment: str
    begun_at: float
    html: str


class Pause:
    """How long nothing is rendered, by how busy the program was otherwise since the last rendering."""

    def __init__(self) -> None:
        self.ends_at = 0.0
        self._begun_at, self._program = mono(), program_seconds()

    def begin(self, now: float, program: float, spent: float) -> None:
        """After a rendering that took so many seconds of a processor, of all that the program has taken."""
        others = program - self._program - spent
        busy = min(1.0, max(0.0, others / max(now - self._begun_at, 1e-6)))
        self.ends_at = now + min(PAUSE_MAX, spent * (IDLE_PAUSE + (BUSY_PAUSE - IDLE_PAUSE) * busy))
        self._begun_at, self._program = now, program


class Live:
    """All live streams of one program."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open: Counter[Hashable] = Counter()  # streams by what they show
        self._last: dict[Hashable, Rendering] = {}
        self._turn = asyncio.Lock()  # one rendering at a time
        self._pause = Pause()

    def answer(self, view: View, seen: str) -> Response:
        """A stream of what can be viewed, beginning at once unless the present moment was seen already."""
        if self._open.total() >= STREAMS_MAX:
            text = _named("full", f"{STREAMS_MAX} pages are live already; this one stands still.")
            return Response(text, media_type="text/event-stream", headers=HEADERS)
        return StreamingResponse(self._events(view, seen), media_type="text/event-stream", headers=HEADERS)

    async def _events(self, view: View, seen: str) -> AsyncIterator[str]:
        news, time = self._door.news, asyncio.get_running_loop().time
        shown_at = time()
        self._open[view.key] += 1
        try:
            with news.watch(view.subjects) as event, news.watch(()) as end:  # the end is told to all
                yield ":\n\n"  # the client knows that it is connected
                if seen != self._door.moment:
                    event.set()
                while not news.is_over:
                    has_news = await _within(event, SILENCE_SECONDS)
                    if not await view.is_allowed():
                        return
                    if not has_news and time() - shown_at < OLD_SECONDS:
                        yield ":\n\n"
                        continue
                    event.clear()
                    try:
                        rendering = await self._rendered(view, end)
                    except PpacerError as error:  # the database is away, say: it is tried again
                        yield _named("trouble", str(error))
                    else:
                        shown_at = rendering.begun_at
                        yield _event(rendering)
                    await _within(end, PAUSE_SECONDS)
        finally:
            self._open[view.key] -= 1
            if not self._open[view.key]:
                del self._open[view.key]
                self._last.pop(view.key, None)

    async def _rendered(self, view: View, end: asyncio.Event) -> Rendering:
        """A rendering of now: the last one, if begun since we asked, or not old and nothing has changed."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._turn:
            found = self._last.get(view.key)
            if found is not None and self._is_of_now(found, asked_at):
                return found
            await _within(end, self._pause.ends_at - loop.time())
            moment, begun_at = self._door.moment, loop.time()
            html, spent = await in_thread(_timed, view.render)
            rendering = Rendering(moment, begun_at, html)
            self._pause.begin(loop.time(), program_seconds(), spent)
            self._last[view.key] = rendering
            return rendering

    def _is_of_now(self, rendering: Rendering, asked_at: float) -> bool:
        age = asked_at - rendering.begun_at
        return age <= 0 or (age < OLD_SECONDS and rendering.moment == self._door.moment)


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
    return f"id: {rendering.moment}\n{_data(rendering.html)}\n"


def _named(name: str, text: str) -> str:
    """An event that is no content, but told to the page's script."""
    return f"event: {name}\n{_data(text)}\n"


def _data(text: str) -> str:
    return "".join(f"data: {line}\n" for line in text.splitlines())


def live_path(path: str) -> str:
    """Where the stream of a page is: `/dags` → `/live/dags`."""
    return f"{LIVE}{path.rstrip('/')}"


def own_path(path: str) -> str:
    """Of which page a path is, be it that of its stream: `/live/dags` → `/dags`."""
    return (path.removeprefix(LIVE) or "/") if path == LIVE or path.startswith(f"{LIVE}/") else path
