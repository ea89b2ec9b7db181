"""What people see: aligned tables and lines, in colour on a terminal only. Every state has a shape as well.

Tables are drawn here and not by rich, because on a narrow terminal columns must give way in the order of
their importance, and because importing rich takes longer than most commands.
"""

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TextIO

from ppacer.tasklog.plain import CONTROL, ESCAPE, plain

GAP = "  "
FLEXIBLE_MIN = 12  # characters that a flexible column keeps before less important columns are left out

STYLES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36",
}  # fmt: skip

# shape, the same in ASCII, style
STATES: Mapping[str, tuple[str, str, str]] = {
    "SUCCESS": ("✓", "+", "green"),
    "FAILED": ("✗", "x", "red"),
    "RUNNING": ("►", ">", "blue"),
    "SCHEDULED": ("○", "o", "cyan"),
    "CANCELLED": ("⊘", "-", "yellow"),
    "FAILED_PENDING_RETRY": ("↻", "~", "yellow"),
    "UPSTREAM_FAILED": ("↑", "^", "red"),
    "SKIPPED": ("»", "s", "dim"),
    "NO_STATUS": ("·", ".", "dim"),
}
WORDS = {"FAILED_PENDING_RETRY": "RETRY", "UPSTREAM_FAILED": "UPSTREAM", "NO_STATUS": "WAITING"}
"""Shorter words for the table; `--json` has the real ones."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Cell(NamedTuple):
    """A text of a table with its style."""

    text: str
    style: str = ""


Row = Sequence[Cell | str]


class Column(NamedTuple):
    """A column. `keep`: how long it stays on a narrow terminal (9: always). `flexible` ones are cut first."""

    title: str
    keep: int = 9
    right: bool = False
    flexible: bool = False


class Screen:
    """A stream with its abilities. `width` is None where nobody looks: nothing is cut then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_tty = self.stream.isatty()
        self.width = shutil.get_terminal_size().columns if self.is_tty else None
        self.can_redraw = self.is_tty and os.environ.get("TERM") != "dumb"
        self.colours = self.can_redraw and not os.environ.get("NO_COLOR")
        self.shapes = _can_show(self.stream, "✓✗►○⊘↻↑»·…")

    def line(self, text: str = "") -> None:
        """Writes one line."""
        self.stream.write(text + "\n")

    def flush(self) -> None:
        """Shows it now, also to a pipe."""
        self.stream.flush()

    def paint(self, text: str, style: str) -> str:
        """The text in a style, where there are colours."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and self.colours and text else text

    def shape(self, status: str) -> str:
        """The character of a state."""
        shape, plain, _ = STATES.get(status, ("?", "?", ""))
        return shape if self.shapes else plain

    def state(self, status: str) -> Cell:
        """A state as shape and word."""
        style = STATES.get(status, ("", "", ""))[2]
        return Cell(f"{self.shape(status)} {WORDS.get(status, status)}", style)

    def painted(self, cell: Cell) -> str:
        """A cell outside a table."""
        return self.paint(cell.text, cell.style)

    def clean(self, text: str) -> str:
        """Foreign text without what could take over the terminal; its colours stay where there are any."""
        if not self.colours:
            return plain(text)
        kept = ESCAPE.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else "", text)
        cleaned = "".join(part if _COLOUR.fullmatch(part) else CONTROL.sub("", part) for part in _split(kept))
        return f"{cleaned}\x1b[0m" if "\x1b[" in cleaned else cleaned

    def table(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        """Writes the rows under their titles, as wide as the terminal at most; empty columns are left out."""
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        for row in cells:
            row[:] = [Cell(_one_line(cell.text), cell.style) for cell in row]
        shown = [at for at, _ in enumerate(columns) if not cells or any(row[at].text for row in cells)]
        natural = {
            at: max(_len(row[at].text) for row in [[Cell(c.title) for c in columns], *cells]) for at in shown
        }
        widths = _fit(columns, natural, self.width)
        self._row([Cell(column.title, "bold") for column in columns], columns, widths)
        for row in cells:
            self._row(row, columns, widths)

    def _row(self, row: Sequence[Cell], columns: Sequence[Column], widths: Mapping[int, int]) -> None:
        parts, last = [], max(widths)
        for at, width in widths.items():
            text = _cut(row[at].text, width, "…" if self.shapes else "~")
            space = " " * (width - _len(text))
            painted = self.paint(text, row[at].style)
            if columns[at].right:
                parts.append(space + painted)
            else:
                parts.append(painted if at == last else painted + space)
        self.line(GAP.join(parts).rstrip())


def _fit(columns: Sequence[Column], natural: Mapping[int, int], width: int | None) -> dict[int, int]:
    """The widths of the columns that are shown: least important ones go first, flexible ones shrink last."""
    widths = dict(natural)
    if width is None:
        return widths

    def total() -> int:
        return sum(widths.values()) + len(GAP) * (len(widths) - 1)

    def least() -> int:
        return total() - sum(
            max(0, size - FLEXIBLE_MIN) for at, size in widths.items() if columns[at].flexible
        )

    while least() > width and any(columns[at].keep < 9 for at in widths):
        del widths[min(widths, key=lambda at: (columns[at].keep, -at))]
    while total() > width:
        at = max(widths, key=lambda at: (columns[at].flexible, widths[at]))
        if (
            columns[at].flexible and widths[at] <= FLEXIBLE_MIN
        ):  # all flexible ones are small: now any may shrink
            at = max(widths, key=lambda at: widths[at])
        if widths[at] <= 1:
            break
        widths[at] -= 1
    return widths


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _one_line(text: str) -> str:
    return text if text.isprintable() else " ".join(plain(text).split())


def _split(text: str) -> list[str]:
    return re.split(r"(\x1b\[[0-9;]*m)", text)


def _len(text: str) -> int:
    """Columns on a terminal: those of East Asian characters are two, accents that combine take none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _cut(text: str, width: int, mark: str) -> str:
    if _len(text) <= width:
        return text
    while text and _len(text) > width - 1:
        text = text[:-1]
    return text + mark
