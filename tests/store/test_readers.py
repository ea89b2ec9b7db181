"""Readers beside the writer: no waiting for each other, no half batches, and no writing."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.world import at
from ppacer.dag import Registry
from ppacer.engine import RunRef
from ppacer.errors import StoreError, StoreUnavailable
from ppacer.store import Store, database
from ppacer.store.reads import Reads
from ppacer.store.sync import sync
from store.shelf import created, greeted, new, rows
from store.test_sync import dag


def test_readers_see_whole_batches_while_the_writer_writes(store: Store, db: str) -> None:
    stop = threading.Event()
    seen: set[int] = set()
    errors: list[object] = []

    def read() -> None:
        engine = database.reader_engine(store.url)
        try:
            while not stop.is_set():
                with engine.connect() as connection:
                    runs = connection.exec_driver_sql("SELECT count(*) FROM dagruns").scalar_one()
                    tasks = connection.exec_driver_sql("SELECT count(*) FROM dagruntasks").scalar_one()
                    if tasks != 10 * runs:
                        errors.append((runs, tasks))
                    seen.add(runs)
        except Exception as error:
            errors.append(error)
        finally:
            engine.dispose()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 101):
        ref = RunRef(number, "d", at(number))
        store.apply([*created(ref), *(new(f"t{n}", ref=ref) for n in range(10))])
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert len(rows(db, "dagruntasks")) == 1000


def test_too_many_readers_at_once_are_told_to_wait(store: Store, db: str) -> None:
    engine = database.reader_engine(database.make_url(db))
    engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for _ in range(database.READERS_MAX):
            stack.enter_context(engine.connect())
        with pytest.raises(StoreUnavailable, match="in use"), database.in_words(engine.url):
            engine.connect()
    engine.dispose()


def test_a_reader_that_dawdles_does_not_stop_the_writer(store: Store, db: str) -> None:
    """On SQLite it goes on to see the moment of its beginning; on PostgreSQL what is committed meanwhile."""
    count = sa.text("SELECT count(*) FROM dagruns")
    store.apply(created())
    engine = database.reader_engine(database.make_url(db))
    with engine.connect() as reader:
        assert reader.execute(count).scalar() == 1
        store.apply(created(RunRef(2, "d", at(2))))
        assert reader.execute(count).scalar() == 1
        reader.rollback()
        assert reader.execute(count).scalar() == 2
    engine.dispose()


@pytest.mark.parametrize("statement", ["DELETE FROM dagruns", "DROP TABLE dagruns"])
def test_a_reader_cannot_write(statement: str, store: Store, db: str) -> None:
    store.apply(created())
    engine = database.reader_engine(store.url)
    with (
        pytest.raises(StoreError, match=r"cannot be written|read-only"),
        database.in_words(store.url),
        engine.connect() as connection,
    ):
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert len(rows(db, "dagruns")) == 1


def test_the_writer_commits_durably(file_store: Store) -> None:
    """`synchronous=FULL` (2): NORMAL loses acknowledged commits at a power cut."""
    with file_store.write as connection:
        settings = [
            connection.execute(sa.text(f"PRAGMA {name}")).scalar_one()
            for name in ("synchronous", "journal_mode", "busy_timeout")
        ]
    assert settings == [2, "wal", 5000]


def test_the_write_ahead_log_stays_small(file_store: Store, path: Path) -> None:
    for number in range(1, 301):
        ref = RunRef(number, "d", at(number))
        file_store.apply([*created(ref), *(new(f"t{n}", ref=ref) for n in range(50))])
    log = path.with_name(path.name + "-wal")
    assert log.stat().st_size < 8_000_000
    file_store.close()
    assert not log.exists()


def test_of_the_dags_that_differ_some_are_named_and_all_are_counted(db: str, store: Store) -> None:
    """A thousand executors times ten thousand dags would be an answer of a hundred megabytes."""
    sync(store, Registry([dag(id=f"d{number:02}") for number in range(25)]), at(0))
    store.apply([greeted("one")])
    reads = Reads(db)
    [view] = reads.executors()
    reads.close()
    assert (view.differing, view.differing_count) == ([f"d{number:02}" for number in range(20)], 25)
