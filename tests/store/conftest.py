"""A database for each test, on each engine, and a store on it."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from postgresql.server import Server
from ppacer.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file, for the tests that are about files."""
    return tmp_path / "scheduler.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes databases with all tables on one engine."""
    if request.param == "sqlite":
        numbers = count()
        yield lambda: str(tmp_path / f"{next(numbers)}.db")
        return
    server: Server = request.getfixturevalue("postgresql")
    made: list[str] = []

    def make() -> str:
        made.append(server.database(lambda url: Store(url).close()))
        return made[-1]

    yield make
    for url in made:
        server.drop(url)


@pytest.fixture
def db(new_db: Callable[[], str]) -> str:
    """A database; a module that is about one engine has a fixture of this name of its own."""
    return new_db()


@pytest.fixture
def store(db: str) -> Iterator[Store]:
    store = Store(db)
    yield store
    store.close()


@pytest.fixture
def file_store(path: Path) -> Iterator[Store]:
    """A store on SQLite, for the tests that look at how SQLite does it."""
    store = Store(path)
    yield store
    store.close()
