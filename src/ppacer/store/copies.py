"""Copies of a SQLite database: made while a scheduler writes to it, checked, and put back in its place.

Every new file gets its name only when it is whole and on the disk, so a crash leaves the old one or the new.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec

from ppacer.errors import ConfigError, StoreError, StoreUnavailable
from ppacer.store import database
from ppacer.store.lock import FileLock
from ppacer.store.schema import REVISION

STEP_PAGES = 2_048  # copied between two calls of `progress`

Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """No progress is shown."""


class Restored(msgspec.Struct, frozen=True):
    """What a restore did: `file` is the database now, `replaced` what was there before, None when nothing."""

    file: str
    replaced: str | None
    revision: str
    bytes: int


def copy(source: Path, target: Path, progress: Progress = silent) -> None:
    """Copies a database as it is at one moment, and checks the copy. It replaces a file of this name."""
    with _whole(source, target, progress) as part:
        os.replace(part, target)


def copy_new(source: Path, target: Path, progress: Progress = silent) -> None:
    """The same, but a file that has this name is never replaced. Raises ConfigError."""
    if target.exists():
        raise ConfigError(f"{target} exists already; name a new file")
    with _whole(source, target, progress) as part:
        os.link(part, target)  # fails when somebody made the file meanwhile


def restore(db: str, source: Path, now: datetime, progress: Progress = silent) -> Restored:
    """Puts a backup in the place of a database, which is kept beside it under a name with the time.

    Raises StoreLockedError when a scheduler has the database, StoreError when the backup is none of this
    ppacer or an older one, or is damaged. Until the last step everything is as it was.
    """
    target = database.sqlite_path(database.make_url(db))
    if target is None:
        raise ConfigError("ppacer restores SQLite files only; for a database on a server use pg_restore")
    lock = FileLock(target).acquire()
    try:
        revision = _revision(source, target)
        with _whole(source, target, progress) as part:
            replaced = _put_aside(target, part, now) if target.exists() else None
            os.replace(part, target)
    finally:
        lock.release()
    kept = None if replaced is None else str(replaced)
    return Restored(str(target), kept, revision, target.stat().st_size)


@contextlib.contextmanager
def _whole(source: Path, target: Path, progress: Progress) -> Iterator[Path]:
    """A checked copy under a name of its own, in the folder of `target`, which its user gives its name."""
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        _copy(source, part, progress)
        shutil.copymode(source, part)
        _sync(part)
        yield part
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{source} cannot be copied to {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, part: Path, progress: Progress) -> None:
    uri = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as reading,
        closing(sqlite3.connect(part)) as copy,
    ):
        # An open transaction keeps the moment: else the copy would begin anew with every commit of others.
        reading.execute("BEGIN")
        reading.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        reading.backup(copy, pages=STEP_PAGES, progress=lambda _, left, total: progress(total - left, total))
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        verdict = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise database.damaged(source)


def _sync(path: Path) -> None:
    """Has the disk keep a file, or the names in a folder."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _revision(source: Path, target: Path) -> str:
    """The revision of a backup. Raises StoreError for what a scheduler could not open in its place."""
    from ppacer.store.migrate import revision_of

    if not source.is_file():
        raise StoreError(f"there is no backup {source}")
    if target.exists() and source.samefile(target):
        raise ConfigError(f"{source} is the database itself; name a backup of it")
    url = database.make_url(source)
    engine = database.reader_engine(url)
    try:
        with database.in_words(url), engine.connect() as connection:
            revision = revision_of(connection)
    finally:
        engine.dispose()
    if revision is None or revision > REVISION:
        whose = (
            "has no tables of ppacer" if revision is None else f"has revision {revision}, of a newer ppacer"
        )
        raise StoreError(f"{source} cannot be restored: it {whose}")
    return revision


SIDES = ("-wal", "-shm", "-journal")


def _put_aside(target: Path, part: Path, now: datetime) -> Path:
    """Gives the old database a second name and takes its helper files away; the new one takes its first name.

    A write-ahead log that stays would be played into the new file and ruin it.
    """
    replaced = target.with_name(f"{target.name}.replaced-{now:%Y%m%dT%H%M%S}Z")
    _owned_like(part, target)
    is_alone = _fold(target)
    if not is_alone:  # what is in the log is part of it
        for side in SIDES:
            with contextlib.suppress(FileNotFoundError):
                _second_name(_beside(target, side), _beside(replaced, side))
    _second_name(target, replaced)
    _sync(target.parent)
    for side in SIDES:
        _beside(target, side).unlink(missing_ok=True)
    return replaced


def _beside(path: Path, side: str) -> Path:
    return path.with_name(path.name + side)


def _second_name(file: Path, name: Path) -> None:
    try:
        os.link(file, name)
    except PermissionError:  # a file system without links
        shutil.copy2(file, name)
        _sync(name)


def _owned_like(part: Path, model: Path) -> None:
    """The new file belongs to the owner of the old one, also when root restores it."""
    status = model.stat()
    part.chmod(status.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.chown(part, status.st_uid, status.st_gid)


def _fold(path: Path) -> bool:
    """Brings the write-ahead log into the file; False when that is too damaged for it.

    Raises StoreUnavailable while somebody reads: then the log could not be taken away.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=1.0)) as connection:
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        with database.in_words(database.make_url(path)):
            raise
    if is_busy:
        raise StoreUnavailable(f"{path} is being read by another program: end that first")
    return True
