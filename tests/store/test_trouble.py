"""A database that refuses: one clear sentence of the right kind, nothing half done, recovery afterwards."""

import os
import resource
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.world import at
from ppacer.engine import RunRef
from ppacer.engine.changes import Change
from ppacer.errors import StoreError, StoreUnavailable
from ppacer.store import FileLock, StaleWrite, Store, database
from store.shelf import REF, created, dump, execute, new, rows

NOBODY = 65_534


@pytest.fixture
def db(path: Path) -> str:
    """This is about files."""
    return str(path)


def work(number: int, tasks: int = 10, size: int = 50) -> list[Change]:
    """A batch of about so many bytes."""
    ref = RunRef(number, "d", at(number))
    return [*created(ref), *(new("t" * size + str(n), ref=ref) for n in range(tasks))]


def is_sentence(error: pytest.ExceptionInfo[StoreError], *words: str) -> bool:
    text = str(error.value)
    return all(word in text for word in words) and "\n" not in text and "sqlalche.me" not in text


# -- places --------------------------------------------------------------------------------------------------


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of its own, and a process that may not do everything; root is told no by nobody."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        Store(tmp_path / "nowhere" / "scheduler.db")
    assert is_sentence(error, f"the folder {tmp_path}/nowhere does not exist", "--db")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_written(unprivileged: Path) -> None:
    unprivileged.chmod(0o555)
    with pytest.raises(StoreUnavailable) as error:
        Store(unprivileged / "scheduler.db")
    assert is_sentence(error, "cannot be opened", str(unprivileged))
    with pytest.raises(StoreError) as refused:
        FileLock(unprivileged / "scheduler.db").acquire()
    assert is_sentence(refused, "cannot be written", str(unprivileged))
    unprivileged.chmod(0o755)
    Store(unprivileged / "scheduler.db").close()


def test_a_file_that_cannot_be_written(unprivileged: Path) -> None:
    path = unprivileged / "scheduler.db"
    Store(path).close()
    path.chmod(0o444)
    with pytest.raises(StoreUnavailable) as error:
        Store(path)
    assert is_sentence(error, "cannot be written: check the permissions", str(path))
    path.chmod(0o644)
    store = Store(path)
    store.apply(work(1))
    store.close()


def test_a_folder_instead_of_a_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnavailable) as error:
        Store(path)
    assert is_sentence(error, "cannot be opened: check that it is a file")


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("to do:\n" * 1000)
    with pytest.raises(StoreError, match="is damaged or no SQLite database") as error:
        Store(path)
    assert not isinstance(error.value, StoreUnavailable)
    assert path.read_text().startswith("to do:")


# -- damage --------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(path: Path) -> Path:
    store = Store(path)
    for number in range(1, 101):
        store.apply(work(number))
    store.close()
    return path


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off(share: float, filled: Path) -> None:
    os.truncate(filled, int(filled.stat().st_size * share))
    with pytest.raises(StoreError, match="is damaged") as error:
        Store(filled)
    assert not isinstance(error.value, StoreUnavailable)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_a_file_with_a_bad_page_is_found_at_the_start(share: float, filled: Path) -> None:
    with filled.open("r+b") as file:
        file.seek(int(filled.stat().st_size * share) // 4096 * 4096)
        file.write(os.urandom(4096))
    with pytest.raises(StoreError, match=r"is damaged .* restore a backup"):
        Store(filled)


def test_a_very_large_file_is_not_read_whole_at_the_start(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(filled, "CREATE TABLE other (Id INTEGER CHECK (Id > 0))")
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute("INSERT INTO other VALUES (0)")
        connection.commit()
    with pytest.raises(StoreError, match="is damaged"):
        Store(filled)
    monkeypatch.setattr(database, "CHECKED_BYTES_MAX", 1000)
    Store(filled).close()


# -- full ----------------------------------------------------------------------------------------------------


def fill(store: Store) -> int:
    """Writes until the database refuses; returns how many batches it took."""
    for number in range(1, 10_000):
        try:
            store.apply(work(number))
        except StoreUnavailable:
            return number - 1
    raise AssertionError("never full")


def test_a_full_database_refuses_and_recovers(store: Store, path: Path) -> None:
    with store.write as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    store._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")
    store._connection.rollback()
    taken = fill(store)
    before = dump(path)
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as error:
            store.apply(work(9_000))
        assert is_sentence(error, "has no room: the disk is full", str(path))
    assert dump(path) == before
    assert store.newest_run_id() == taken  # reading goes on
    store._connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    store._connection.rollback()
    store.apply(work(taken + 1))
    assert store.newest_run_id() == taken + 1


@pytest.fixture
def small_files() -> Iterator[int]:
    """Files of this process cannot grow beyond this size: the disk is full, as far as it can see."""
    size = 600_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_commit_that_finds_the_disk_full_leaves_nothing_and_recovers(
    store: Store, path: Path, small_files: int
) -> None:
    """Here the COMMIT itself fails, when it writes the log; the transaction must not stay open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (small_files, hard))
    taken = fill(store)
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as error:
            store.apply(work(9_000, tasks=1000))
        assert is_sentence(error, "I/O error")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [row["RunId"] for row in rows(path, "dagruns", "RunId")] == sorted(range(1, taken + 1), key=str)
    store.apply(work(taken + 1))
    store.close()
    again = Store(path)
    assert again.newest_run_id() == taken + 1
    again.close()


# -- commits -------------------------------------------------------------------------------------------------


def test_a_commit_that_fails_leaves_no_transaction_open(store: Store, path: Path) -> None:
    """A violated deferred constraint: SQLite refuses the COMMIT and keeps the transaction."""
    execute(
        path,
        "CREATE TABLE parent (Id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (Id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    )
    driver = store._connection.connection.dbapi_connection
    assert driver is not None
    driver.execute("PRAGMA foreign_keys = 1")
    with pytest.raises(StoreError, match="FOREIGN KEY"), store.write as connection:
        connection.exec_driver_sql("INSERT INTO child VALUES (7)")
    assert not driver.in_transaction
    store.apply(work(1))
    assert rows(path, "child") == []
    assert len(rows(path, "dagruns")) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_caller_rolls_back_and_comes_through(
    error: type[BaseException], store: Store, path: Path
) -> None:
    def interrupted() -> None:
        with store.write as connection:
            connection.exec_driver_sql("DELETE FROM alembic_version")
            raise error

    with pytest.raises(error):
        interrupted()
    assert len(rows(path, "alembic_version")) == 1
    store.apply(work(1))


def test_a_database_locked_by_another_program(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    store = Store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as error:
                store.apply(work(1))
            assert is_sentence(error, f"{path} is locked by another program")
        with pytest.raises(StoreUnavailable, match="is locked"):
            Store(path)
        other.execute("ROLLBACK")
    store.apply(work(1))
    store.close()


def test_a_store_that_does_not_open_lets_go_of_the_file(path: Path) -> None:
    Store(path).close()
    execute(path, "UPDATE alembic_version SET version_num = '0999'")
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        with pytest.raises(StoreError):
            Store(path)
    if files:
        assert len(os.listdir("/proc/self/fd")) == files


def test_a_stale_write_is_an_error_of_its_own(store: Store) -> None:
    store.apply(created())
    with pytest.raises(StaleWrite) as error:
        store.apply([new("a"), new("b", ref=REF), *created(RunRef(2, "d", at(2)))[1:]])
    assert not isinstance(error.value, StoreUnavailable)


def test_the_log_that_grew_during_a_long_read_becomes_small_again(store: Store, path: Path) -> None:
    """A backup, or a forgotten query: meanwhile nothing can be folded into the file."""
    log = Path(f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM dagruns").fetchone()
        number = 0
        while log.stat().st_size <= database.WAL_BYTES_MAX * 1.2:
            number += 1
            store.apply(work(number, tasks=1_000, size=150))
    for more in range(1, 4):
        store.apply(work(number + more))
    assert log.stat().st_size <= database.WAL_BYTES_MAX
