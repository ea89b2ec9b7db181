"""Programs that are gone when their test is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crash.world import World

Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(source: str, **options: Any) -> World:
            made = World(tmp_path, source, **options)
            stack.callback(made.close)
            return made

        yield make
