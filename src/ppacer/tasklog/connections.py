"""Connections to logs.db: which file is meant, how it is opened, and what its errors mean."""

import contextlib
import os
import sqlite3
import stat
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from ppacer import postgres
from ppacer.errors import ConfigError, StoreError
from ppacer.tasklog.schema import VERSION

BUSY_SECONDS = 1.0
"""How long one statement waits for somebody else's lock; the writer comes again, a reader says so."""

WAL_BYTES_MAX = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after it had to grow."""


Place = Path | URL
"""Where task logs are: a file of SQLite, or a database on a PostgreSQL server."""


def place_of(path_or_url: str | Path) -> Place:
    """What is meant by a path or a URL."""
    text = str(path_or_url)
    if "://" not in text:
        return Path(path_or_url)
    url = postgres.parse(text)
    if url.get_backend_name() == postgres.NAME:
        return url
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:") or url.query:
        raise ConfigError(
            "task logs are kept in an SQLite file or on PostgreSQL; write a path or postgresql://user@host/name"
        )
    return Path(str(url.database))


def where(place: Place) -> str:
    """The place as people may see it: without a password."""
    return str(place) if isinstance(place, Path) else f"the table of task logs in {place.database}"


def engine_of(path: Path, *, writer: bool = False) -> Engine:
    """Connections to the file that are opened for each use; only the writer's may change it."""
    engine = create_engine("sqlite://", creator=partial(_connect, path, writer), poolclass=NullPool)
    if writer:
        event.listen(engine, "begin", _begin)
    return engine


def user_version(connection: Connection) -> int:
    """The stamp of the file: 0 when there is none."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def refuse_newer(version: int, path: Any) -> None:
    """Raise StoreError for a file whose layout is not known yet."""
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer ppacer (layout {version}, this one knows {VERSION}); upgrade"
        )


def explain(error: BaseException, path: Place) -> str:
    """What is wrong with the file or the server, in a sentence that says what to do."""
    while isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return f"the disk of {path} is full; make room"
        case sqlite3.SQLITE_READONLY:
            return f"{path} is read-only; make it writable"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is locked by another program; end its transaction"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"{path} is damaged ({error}); move it away, and a new one is begun"
        case sqlite3.SQLITE_CANTOPEN:
            return f"{path} cannot be opened; its directory must exist and be writable"
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(path, URL):  # details come in lines of their own, and the URL may hold a password
        return f"the server of the task logs refuses: {str(error).strip().partition(chr(10))[0]}"
    return f"{path}: {type(error).__name__}: {error}"


def _connect(path: Path, writer: bool) -> sqlite3.Connection:
    if writer:
        _mend_permissions(path)
    mode = "rwc" if writer else "ro&immutable=1" if _lies_still(path) else "ro"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        if writer:
            # Must come before the first page is written; costs 3 % of the inserts.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
    except BaseException:
        connection.close()
        raise
    return connection


def _lies_still(path: Path) -> bool:
    """Whether nobody writes to the file, in a folder where we cannot make the helper files to read a log."""
    is_folded = not path.with_name(f"{path.name}-wal").exists()
    return is_folded and not os.access(path.absolute().parent, os.W_OK)


def _mend_permissions(path: Path) -> None:
    """Make files beside the database writable again, if it is.

    SQLite makes them with its permissions, and after somebody only read a read-only database it leaves an
    unwritable -shm behind: all writing would fail for ever.
    """
    for side in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(OSError):
            if os.access(path, os.W_OK) and not os.access(side, os.W_OK):
                side.chmod(stat.S_IMODE(path.stat().st_mode))


def _begin(connection: Connection) -> None:
    """A transaction of the writer takes the write lock at once: an upgrade later could fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
