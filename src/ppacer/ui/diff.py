"""The difference between two texts, line by line, as people read it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

CONTEXT = 3  # lines around a change
LINES_MAX = 5_000  # beyond, comparing takes longer than anybody waits


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number before and after (0: not there), and same, added, removed, or a gap of lines."""

    kind: str
    old: int
    new: int
    text: str


def numbered(text: str) -> list[Line]:
    """A text by itself."""
    return [Line("same", at, at, line) for at, line in enumerate(text.splitlines()[:LINES_MAX], 1)]


@lru_cache(maxsize=64)
def difference(before: str, after: str) -> tuple[Line, ...]:
    """What was removed and added, with the lines around it; nothing when both are the same."""
    old, new = before.splitlines()[:LINES_MAX], after.splitlines()[:LINES_MAX]
    groups = [*SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT)]
    lines: list[Line] = []
    for group in groups:
        left_out = group[0][1] - (lines[-1].old if lines else 0)
        if left_out or lines:
            lines.append(Line("gap", 0, 0, _words(left_out)))
        for opcode in group:
            lines += _lines(opcode, old, new)
    rest = len(old) - (groups[-1][-1][2] if groups else len(old))
    return (*lines, *([Line("gap", 0, 0, _words(rest))] if rest else []))


def _words(count: int) -> str:
    return f"{count:,} equal line" + "s" * (count != 1)


def _lines(opcode: tuple[str, int, int, int, int], old: Sequence[str], new: Sequence[str]) -> list[Line]:
    tag, begin, end, begin_new, end_new = opcode
    if tag == "equal":
        return [Line("same", at + 1, begin_new + at - begin + 1, old[at]) for at in range(begin, end)]
    removed = [Line("removed", at + 1, 0, old[at]) for at in range(begin, end)]
    return removed + [Line("added", 0, at + 1, new[at]) for at in range(begin_new, end_new)]
