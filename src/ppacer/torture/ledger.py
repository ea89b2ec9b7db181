"""What the tasks wrote while they ran, on the disk before they went on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LINE = re.compile(r"(began|went_on|did) (\d+) (\S+) (\d+) ([0-9a-f]{16})")


class Line(NamedTuple):
    """One entry: an attempt `began`, `went_on`, or `did` its work."""

    word: str
    run_id: int
    task_id: str
    retry: int
    token: str


def read(path: Path) -> list[Line]:
    """All whole lines in their order; a kill may have torn one apart, which then counts as not written."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_text("ascii", "replace").splitlines():
        if found := LINE.fullmatch(text):
            yield Line(found[1], int(found[2]), found[3], int(found[4]), found[5])
