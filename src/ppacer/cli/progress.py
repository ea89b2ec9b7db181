"""How a run goes, as it goes: a line for every change, or on a terminal a board that is redrawn in place."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ppacer.cli.screen import Screen
from ppacer.cli.show import ENDS, first_line
from ppacer.cli.words import span

if TYPE_CHECKING:
    from rich.text import Text

    from ppacer.engine.changes import Change
    from ppacer.tasklog import LogRecord

NAME_MAX = 30
ROWS_MAX = 12  # of the board, and never more than half of the terminal
DONE = ("SUCCESS", "SKIPPED")


class Row:
    """What is known of one task."""

    __slots__ = ("began_at", "ended_at", "note", "retry", "status")

    def __init__(self) -> None:
        self.status, self.retry, self.note = "NO_STATUS", 0, ""
        self.began_at: datetime | None = None
        self.ended_at: datetime | None = None


class Progress:
    """Takes changes and log records from the threads of the program, and shows them one after the other."""

    def __init__(self, screen: Screen, task_ids: Sequence[str]) -> None:
        self._screen = screen
        self._rows = {task_id: Row() for task_id in task_ids}
        self._width = min(NAME_MAX, max(map(len, task_ids), default=0))
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._board: Board | None = None
        self._is_closed = False

    def __call__(self, changes: "Sequence[Change]", records: "Sequence[LogRecord]") -> None:
        """What was committed, and what tasks said."""
        with self._lock:
            if self._is_closed:
                return
            try:
                if self._screen.can_redraw and self._board is None:
                    self._board = Board(self._rows, self._screen)
                for change in changes:
                    self._change(change)
                for record in records:
                    self._record(record)
                self._show()
            except (OSError, ValueError):  # nobody reads any more; the run goes on
                self._is_closed = True

    def close(self) -> None:
        """Takes the board away; nothing is shown any more."""
        with self._lock:
            self._is_closed = True
            if self._board is not None:
                self._board.close()

    def _change(self, change: "Change") -> None:
        from ppacer.engine.changes import (
            AttemptCreated,
            AttemptEnded,
            AttemptFound,
            AttemptGranted,
            AttemptLost,
            CancelRequested,
        )

        match change:
            case AttemptCreated():
                self._set(change.task_id, change.status, change.at, change.retry, "")
            case AttemptGranted():
                self._set(change.task_id, "RUNNING", change.at, change.retry, "")
            case AttemptEnded():
                self._set(change.task_id, change.status, change.at, change.retry, _end_note(change))
                if change.retry_at is not None:  # the error of the last attempt stands at the end of all
                    self._details(change.task_id, change.retry, change.at, change.error or "")
            case AttemptLost():
                self._set(change.task_id, "RUNNING", change.at, change.retry, "lost; it is started anew")
            case AttemptFound():
                self._set(change.task_id, "RUNNING", change.at, change.retry, "its executor is back")
            case CancelRequested():
                self._lines.append(f"{_clock(change.at)} cancelling: running tasks are being stopped")

    def _set(self, task_id: str, status: str, at: datetime, retry: int, note: str) -> None:
        row = self._rows.setdefault(task_id, Row())
        row.status, row.retry, row.note = status, retry, note
        if status == "RUNNING":
            row.began_at, row.ended_at = at, None
        elif status != "SCHEDULED":
            row.ended_at = at
        if self._board is None and status != "SCHEDULED":
            self._lines.append(self._line_of(task_id, row, at))

    def _line_of(self, task_id: str, row: Row, at: datetime) -> str:
        state = self._screen.state(row.status)
        again = f"retry {row.retry}" if row.retry and row.status == "RUNNING" else ""
        time = span(row.ended_at - row.began_at) if row.began_at and row.ended_at else ""
        note = "; ".join(filter(None, (again, time, row.note)))
        return f"{_clock(at)} {task_id:<{self._width}}  {state.text:<9}  {self._screen.clean(note)}".rstrip()

    def _details(self, task_id: str, retry: int, at: datetime, error: str) -> None:
        """The lines of an error behind its first, which the state has told."""
        _, _, rest = error.strip().partition("\n")
        for line in rest.strip().splitlines():
            self._say(task_id, retry, at, line)

    def _record(self, record: "LogRecord") -> None:
        if "end" in (record.attributes or ()):  # of ppacer itself: how the attempt ended
            return
        for line in record.message.splitlines() or [""]:
            self._say(record.task_id, record.retry, record.at, line)

    def _say(self, task_id: str, retry: int, at: datetime, line: str) -> None:
        who = f"{task_id}#{retry}" if retry else task_id
        self._lines.append(f"{_clock(at)} {who:<{self._width}} | {self._screen.clean(line)}")

    def _show(self) -> None:
        """Writes the lines gathered in one call at once: the board is redrawn for each time."""
        text, self._lines = "\n".join(self._lines), []
        if not text:
            return
        if self._board is not None:
            self._board.above(text)
        else:
            self._screen.line(text)
            self._screen.flush()


class Board:
    """The tasks as a live table at the bottom of the terminal; lines scroll above it."""

    def __init__(self, rows: dict[str, Row], screen: Screen) -> None:
        from rich.console import Console
        from rich.live import Live

        self._rows, self._screen = rows, screen
        self._console: Console = Console(
            file=screen.stream,
            highlight=False,
            markup=False,
            emoji=False,
            force_terminal=True,
            no_color=not screen.colours,
        )
        self._live: Live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def above(self, text: str) -> None:
        """Writes lines above the board."""
        from rich.text import Text

        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def close(self) -> None:
        """Wipes the board."""
        self._live.stop()

    def _draw(self) -> "Text":
        from rich.text import Text

        from ppacer.clock import SystemClock

        now = SystemClock().now().utc
        rows = list(self._rows.items())
        shown = _most_interesting(rows, max(1, min(ROWS_MAX, self._console.height // 2)))
        width = min(NAME_MAX, max(len(task_id) for task_id, _ in shown) if shown else 0)
        text = Text(no_wrap=True, overflow="ellipsis")
        for task_id, row in shown:
            state = self._screen.state(row.status)
            time = span((row.ended_at or now) - row.began_at) if row.began_at else ""
            again = f"retry {row.retry}" if row.retry else ""
            text.append(f"{state.text:<11}", style=state.style or None)
            note = "; ".join(filter(None, (again, self._screen.clean(row.note))))
            text.append(f" {task_id:<{width}}  {time:>8}  {note}\n")
        text.append(_counts(rows), style="dim")
        return text


def _most_interesting(rows: "list[tuple[str, Row]]", limit: int) -> "list[tuple[str, Row]]":
    """All tasks while they fit; otherwise what runs, fails or waits for a retry before the rest."""
    if len(rows) <= limit:
        return rows
    order = {
        "RUNNING": 0,
        "FAILED": 1,
        "FAILED_PENDING_RETRY": 2,
        "SCHEDULED": 3,
        "UPSTREAM_FAILED": 4,
        "NO_STATUS": 5,
    }
    chosen = sorted(range(len(rows)), key=lambda at: (order.get(rows[at][1].status, 6), at))[:limit]
    return [rows[at] for at in sorted(chosen)]


def _counts(rows: "list[tuple[str, Row]]") -> str:
    done = sum(row.status in DONE for _, row in rows)
    running = sum(row.status == "RUNNING" for _, row in rows)
    failed = sum(row.status in ("FAILED", "UPSTREAM_FAILED") for _, row in rows)
    words = f"{done} of {len(rows)} done, {running} running"
    return f"{words}, {failed} failed" if failed else words


def _end_note(change: Any) -> str:
    """Why an attempt ended, and when the next one begins."""
    if change.status == "SUCCESS":
        return ""
    parts = [first_line(change.error) or ENDS.get(str(change.reason), "")]
    if change.retry_at is not None:
        parts.append(
            "again at once"
            if change.retry_at <= change.at
            else f"again in {span(change.retry_at - change.at)}"
        )
    return "; ".join(filter(None, parts))


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}Z"
