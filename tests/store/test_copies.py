"""Copies of a database in use are whole; a backup takes the place of a database whole, or not at all."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from engine.world import at
from ppacer.engine import RunRef
from ppacer.errors import ConfigError, StoreError, StoreLockedError, StoreUnavailable
from ppacer.store import FileLock, Store, copies
from ppacer.store.schema import REVISION
from store.shelf import created, dump, execute, new, rows

NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)
REPLACED = "scheduler.db.replaced-20261126T123000Z"


@pytest.fixture
def db(path: Path) -> str:
    """This is about files."""
    return str(path)


def work(store: Store, first: int, last: int, tasks: int = 20) -> None:
    """Some runs with some tasks."""
    for number in range(first, last + 1):
        ref = RunRef(number, "d", at(number))
        store.apply([*created(ref), *(new(f"t{n}", ref=ref) for n in range(tasks))])


def damage(path: Path) -> None:
    """Overwrites some pages in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 8192)


# -- copies --------------------------------------------------------------------------------------------------


def test_a_copy_of_a_database_in_use_is_whole_and_can_be_used(
    store: Store, path: Path, tmp_path: Path
) -> None:
    for number in range(1, 51):
        ref = RunRef(number, "d", at(number))
        store.apply([*created(ref), *(new(f"t{n}", ref=ref) for n in range(20))])
    copy = tmp_path / "copy.db"
    copies.copy(path, copy)
    assert dump(copy) == dump(path)
    store.apply(created(RunRef(51, "d", at(51))))
    assert sorted(file.name for file in tmp_path.glob("copy*")) == ["copy.db"]
    restored = Store(copy)
    assert restored.newest_run_id() == 50
    restored.apply(created(RunRef(51, "d", at(51))))
    restored.close()


def test_a_copy_while_the_scheduler_writes_has_whole_batches(
    store: Store, path: Path, tmp_path: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            ref = RunRef(number, "d", at(number))
            store.apply([*created(ref), *(new(f"t{n}", ref=ref) for n in range(10))])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(5):
            copy = tmp_path / f"copy{n}.db"
            copies.copy(path, copy)
            assert len(rows(copy, "dagruntasks")) == 10 * len(rows(copy, "dagruns"))
    finally:
        stop.set()
        writer.join()


def test_an_older_copy_stays_until_the_new_one_is_whole(store: Store, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copies.copy(path, copy)
    before = copy.read_bytes()
    with pytest.raises(StoreError, match="cannot be copied"):
        copies.copy(tmp_path / "nowhere.db", copy)
    assert copy.read_bytes() == before
    store.apply(created())
    copies.copy(path, copy)
    assert len(rows(copy, "dagruns")) == 1


def test_a_damaged_database_is_not_a_backup(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    ref = RunRef(1, "d", at(1))
    store.apply([*created(ref), *(new(f"t{n}", ref=ref) for n in range(2000))])
    store.close()
    damage(path)
    with pytest.raises(StoreError):
        copies.copy(path, tmp_path / "copy.db")
    assert list(tmp_path.glob("copy*")) == []


def test_a_copy_in_many_steps_is_of_one_moment_while_others_write(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "STEP_PAGES", 1)
    work(store, 1, 20)
    before, seen = dump(path), list[int]()

    def progress(done: int, total: int) -> None:
        if done < 30:
            work(store, 100 + done, 100 + done, 1)
        seen.append(done)

    copies.copy(path, tmp_path / "copy.db", progress)
    assert dump(tmp_path / "copy.db") == before
    assert seen == sorted(seen)
    assert len(seen) > 30
    assert store.newest_run_id() > 100


def test_a_copy_is_as_private_as_the_database(store: Store, path: Path, tmp_path: Path) -> None:
    path.chmod(0o600)
    copies.copy(path, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_copy_is_on_the_disk_before_it_has_its_name(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            steps.append(name)
            return real(*arguments)

        return step

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    copies.copy(path, tmp_path / "copy.db")
    assert steps == ["fsync", "replace", "fsync"]


# -- restoring -----------------------------------------------------------------------------------------------


@pytest.fixture
def backup(path: Path, tmp_path: Path) -> Path:
    """A backup of the first five runs; the database has got five more since, and is closed."""
    store = Store(path)
    work(store, 1, 5)
    copies.copy(path, tmp_path / "backup.db")
    work(store, 6, 10)
    store.close()
    return tmp_path / "backup.db"


def killed(path: Path, grows: bool = True) -> None:
    """A scheduler was killed: what it wrote last, 20 runs or a change, is in the write-ahead log alone."""
    store = Store(path)
    driver = cast(sqlite3.Connection, store._connection.connection.driver_connection)
    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    driver.execute("PRAGMA wal_autocheckpoint=0").fetchall()
    if grows:
        work(store, 11, 30)
    else:  # without the first page, which would make a damaged file look like a database
        execute(path, "UPDATE dagruns SET Version = 'later'")
    aside = path.parent / "aside"
    aside.mkdir()
    for side in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{side}", aside / f"x{side}")
    store.close()
    for side in ("", "-wal", "-shm"):
        shutil.move(aside / f"x{side}", f"{path}{side}")
    aside.rmdir()
    assert Path(f"{path}-wal").stat().st_size > 0


def restore(path: Path, backup: Path) -> copies.Restored:
    return copies.restore(str(path), backup, NOW)


def test_the_database_is_what_the_backup_was_and_what_was_there_is_kept(path: Path, backup: Path) -> None:
    before = dump(path)
    done = restore(path, backup)
    assert {file.name for file in path.parent.iterdir()} == {
        "scheduler.db", "scheduler.db.lock", "backup.db", REPLACED
    }  # fmt: skip
    assert dump(path) == dump(backup)
    assert done == copies.Restored(str(path), str(path.with_name(REPLACED)), REVISION, path.stat().st_size)
    assert dump(path.with_name(REPLACED)) == before
    store = Store(path)
    assert store.newest_run_id() == 5
    work(store, 6, 6)
    store.close()


def test_where_there_is_nothing_yet_a_backup_is_simply_put(path: Path, backup: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = restore(elsewhere / "scheduler.db", backup)
    assert done.replaced is None
    assert dump(elsewhere / "scheduler.db") == dump(backup)


def test_the_log_of_a_killed_scheduler_does_not_get_into_the_restored_file(path: Path, backup: Path) -> None:
    killed(path)
    restore(path, backup)
    assert dump(path) == dump(backup)
    assert copies_are_sound(path)
    assert len(rows(path.with_name(REPLACED), "dagruns")) == 30


def test_the_log_of_a_database_too_damaged_to_be_read_is_kept_with_it(path: Path, backup: Path) -> None:
    killed(path, grows=False)
    log = Path(f"{path}-wal").read_bytes()
    path.write_bytes(b"no database at all" * 1000)
    Path(f"{path}-wal").write_bytes(log)
    restore(path, backup)
    assert dump(path) == dump(backup)
    assert copies_are_sound(path)
    replaced = path.with_name(REPLACED)
    assert replaced.read_bytes().startswith(b"no database")
    assert Path(f"{replaced}-wal").read_bytes() == log


def test_an_interrupted_transaction_of_the_old_file_does_not_get_into_the_new_one(
    path: Path, backup: Path
) -> None:
    """The same for a rollback journal, which a file has that was never opened by a scheduler."""
    execute(path, "PRAGMA journal_mode=DELETE")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size=1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE dagruntasks SET Version = Version || hex(randomblob(500))")
    journal, half = Path(f"{path}-journal").read_bytes(), path.read_bytes()
    writer.close()
    path.write_bytes(half)
    Path(f"{path}-journal").write_bytes(journal)
    restore(path, backup)
    assert dump(path) == dump(backup)
    assert copies_are_sound(path)
    assert len(rows(path.with_name(REPLACED), "dagruns")) == 10


def copies_are_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def test_a_database_of_a_running_scheduler_is_not_replaced(path: Path, backup: Path) -> None:
    before = path.read_bytes()
    lock = FileLock(path).acquire()
    with pytest.raises(StoreLockedError, match="another scheduler"):
        restore(path, backup)
    lock.release()
    assert path.read_bytes() == before


def test_a_database_that_is_being_read_is_not_replaced(path: Path, backup: Path) -> None:
    store = Store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM dagruns").fetchone()
        work(store, 11, 11)
        with pytest.raises(StoreUnavailable, match="is being read by another program"):
            restore(path, backup)
    store.close()
    assert len(rows(path, "dagruns")) == 11
    assert not path.with_name(REPLACED).exists()
    restore(path, backup)
    assert dump(path) == dump(backup)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.unlink(), "there is no backup"),
        (lambda file: file.write_bytes(b"x" * 9000), "is damaged or no SQLite database"),
        (damage, "damaged|cannot be copied"),
        (lambda file: os.truncate(file, file.stat().st_size // 2 // 4096 * 4096), "damaged|cannot be copied"),
        (lambda file: file.write_bytes(b""), "has no tables of ppacer"),
        (lambda file: execute(file, "DROP TABLE alembic_version"), "belongs to the original ppacer"),
        (lambda file: execute(file, "UPDATE alembic_version SET version_num = '0999'"), "of a newer ppacer"),
    ],
)
def test_what_is_no_sound_backup_is_refused_and_nothing_changes(
    path: Path, backup: Path, spoil: Callable[[Path], Any], words: str
) -> None:
    spoil(backup)
    before = dump(path)
    files = sorted(file.name for file in path.parent.iterdir())
    with pytest.raises(StoreError, match=words):
        restore(path, backup)
    assert dump(path) == before
    assert sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock") == files


def test_the_database_itself_is_no_backup_of_it(path: Path, backup: Path) -> None:
    with pytest.raises(ConfigError, match="is the database itself"):
        restore(path, path)
    link = path.with_name("link.db")
    os.link(path, link)
    with pytest.raises(ConfigError, match="is the database itself"):
        restore(path, link)


def test_other_engines_have_their_own_tools(backup: Path) -> None:
    with pytest.raises(ConfigError, match="pg_restore"):
        copies.restore("postgresql://user@host/name", backup, NOW)


def test_an_older_backup_is_upgraded_by_the_next_start(
    path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "REVISION", f"{int(REVISION) + 1:04}")
    assert restore(path, backup).revision == REVISION


@pytest.mark.parametrize("failing", range(12))
@pytest.mark.parametrize("broken", [False, True])
def test_wherever_it_is_interrupted_the_database_is_the_old_one_or_the_new(
    path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch, failing: int, broken: bool
) -> None:
    """The n-th step in the file system is the last: what a crash there would leave."""
    killed(path, grows=not broken)
    if broken:
        path.write_bytes(b"no database at all" * 1000)
    old = path.read_bytes() if broken else None
    left = failing

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("link", "replace", "unlink", "fsync", "chmod"):
            patch.setattr(os, name, dying(getattr(os, name)))
        try:
            restore(path, backup)
            is_done = True
        except KeyboardInterrupt:
            is_done = False
    if is_done:
        assert left >= 0
    if old is not None and path.read_bytes() == old:
        return
    assert len(rows(path, "dagruns")) in ((5,) if is_done or broken else (5, 30))
    assert copies_are_sound(path)


def test_the_new_file_is_as_private_as_the_old_one(path: Path, backup: Path) -> None:
    path.chmod(0o640)
    backup.chmod(0o600)
    restore(path, backup)
    assert path.stat().st_mode & 0o777 == 0o640
