"""Programs that are gone when their test is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.program import Program


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    made: list[Program] = []

    def make(source: str) -> Program:
        made.append(Program(tmp_path, source))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()
