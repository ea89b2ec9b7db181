"""The log of an attempt on its page, and as a text to keep. What scripts show of it is in `static/log.js`."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool as in_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.route import Route
from ppacer.clock import to_text
from ppacer.store.views import AttemptView, RunView
from ppacer.tasklog import LogRow
from ppacer.tasklog.plain import plain
from ppacer.ui.login import entrance

LINES = 500  # of the page without scripts
LOOKED_MAX = 10_000  # lines among which a text or a level is looked for
TEXT_CHARS_MAX = 4_000  # of one line on the page; `log.js` has the same number
FILE_ROWS = 2_000  # that are read at once for a file


OURS = ("stream", "end")  # attributes that ppacer adds; `log.js` has the same


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it is shown. `source`: its level, or the stream that it came by; `more`: its attributes."""

    log_id: int
    at: datetime
    level: str
    source: str
    text: str
    more: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines of a log. `older`: the number below which there may be more of them.

    `is_cut`: so many lines were looked at, and the others not yet.
    """

    lines: list[Line]
    older: int | None
    is_cut: bool


def lines(
    door: Door,
    run: RunView,
    task_id: str,
    attempt: AttemptView | None,
    text: str | None,
    level: str | None,
    before: int | None,
) -> Part:
    """The last lines of an attempt, or those before one of them; narrowed, of those that are looked at."""
    if attempt is None:
        return Part([], None, False)
    key = (run.dag_id, run.exec_ts, task_id, attempt.retry)
    low = door.logs.back(*key, before=before, rows=LOOKED_MAX) if text or level else 0
    rows = door.logs.tail(*key, before=before, after=low, limit=LINES, level=level, text=text)
    if len(rows) == LINES:
        return Part([_line(row) for row in rows], rows[0].log_id, False)
    return Part([_line(row) for row in rows], low + 1 if low else None, low > 0)


def _line(row: LogRow) -> Line:
    given = row.attributes or {}
    source = str(given.get("stream", row.level)) if row.level == "INFO" else row.level
    more = {name: value for name, value in given.items() if name not in OURS}
    return Line(row.log_id, row.at, row.level, source, _cut(plain(row.message)), more)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"


def log_routes(door: Door, trouble: Callable[[Request, Exception], Response]) -> list[Route]:
    """The route of the log as a file."""

    def log_file(request: Request, run_id: int, task_id: str, retry: int) -> Response:
        """All that an attempt has logged up to now, as text."""
        run = door.reads.run(run_id)
        name = f"{run.dag_id}-{run_id}-{task_id}-{retry}.log"
        return StreamingResponse(
            _file(door, run, task_id, retry),
            media_type="text/plain",
            headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"},
        )

    path = "/runs/{run_id}/tasks/{task_id}/{retry}/log.txt"
    return [Route("GET", path, log_file, Permission.VIEW, entrance=entrance, trouble=trouble)]


async def _file(door: Door, run: RunView, task_id: str, retry: int) -> AsyncIterator[str]:
    """Page by page, so that a million lines need no memory."""
    read = partial(door.logs.read, run.dag_id, run.exec_ts, task_id, retry, limit=FILE_ROWS)
    after = 0
    while rows := await in_thread(read, after=after):
        after = rows[-1].log_id
        yield "".join(map(_text, rows))


def _text(row: LogRow) -> str:
    return f"{to_text(row.at)} {row.level} {plain(row.message)}\n"
