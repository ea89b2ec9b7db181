"""A database file for each test, and a store on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ppacer.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scheduler.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()
