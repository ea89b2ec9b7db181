"""Separate programs for the tests, all gone at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote.world import World


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()
