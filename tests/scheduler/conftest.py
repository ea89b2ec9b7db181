"""Fixtures for the tests of the scheduler."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.harness import World

Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Make]:
    """Makes worlds, and closes their databases afterwards."""
    worlds: list[World] = []

    def make(*dags: Any, **options: Any) -> World:
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        worlds.append(World(folder, *dags, **options))
        return worlds[-1]

    yield make
    for each in worlds:
        each.close()
