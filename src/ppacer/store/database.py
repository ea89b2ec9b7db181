"""Connections: one that writes, read-only ones for readers, and the driver's errors in our words."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ppacer import postgres
from ppacer.errors import ConfigError, StoreError, StoreUnavailable
from ppacer.store.lock import owner_of

BUSY_TIMEOUT_MS = 5_000
READERS_MAX = 8
WAL_BYTES_MAX = 16 * 1024 * 1024  # what the write-ahead log is cut back to when it had to grow: a long read
_WRITER = {"check_same_thread": False, "cached_statements": 512}  # hot statements come in many sizes
CHECKED_BYTES_MAX = 32 * 1024 * 1024  # a check reads about 100 MB/s, and a start shall not take long
SQLITE, POSTGRESQL = "sqlite", postgres.NAME
_STATEMENT = "statement_timeout = '20s'"
_WRITES = (*postgres.WRITES, "synchronous_commit = on")
_READS = ("default_transaction_read_only = on", "default_transaction_isolation = 'repeatable read'")


def make_url(db: str | Path) -> sa.URL:
    """The URL of a database given as a file name or a URL."""
    text = str(db)
    url = postgres.parse(text) if "://" in text else sa.URL.create(SQLITE, database=text)
    if url.get_backend_name() not in (SQLITE, POSTGRESQL):
        raise ConfigError(f"ppacer works on SQLite and PostgreSQL, not on {url.get_backend_name()}")
    if url.get_backend_name() == SQLITE and url.database in (None, "", ":memory:"):
        raise ConfigError(
            "the scheduler's database must be a file: what is in memory does not survive a restart"
        )
    return url


def sqlite_path(url: sa.URL) -> Path | None:
    """The file of a SQLite database; None for other engines."""
    return Path(url.database).absolute() if url.get_backend_name() == SQLITE and url.database else None


def shown(url: sa.URL) -> str:
    """A URL as people and logs may see it: without a password, wherever it stands."""
    return url.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def writer_engine(url: sa.URL) -> sa.Engine:
    """An engine with the one connection that writes."""
    path = sqlite_path(url)
    if path is None:
        return postgres.engine(url, "ppacer", 1, _STATEMENT, *_WRITES)
    if not path.parent.is_dir():
        raise StoreError(
            f"the folder {path.parent} does not exist; make it, or choose another file with --db"
        )
    if path.exists() and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        # SQLite would open it, leave its helper files as read-only as this one, and refuse the first write.
        raise StoreUnavailable(f"{path} {_FOR_NOW[sqlite3.SQLITE_READONLY]}")
    engine = sa.create_engine(url, poolclass=sa.pool.StaticPool, connect_args=_WRITER)

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL loses acknowledged commits at a power cut
            "temp_store=MEMORY",
            "cache_size=-16000",
            f"journal_size_limit={WAL_BYTES_MAX}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(url: sa.URL) -> sa.Engine:
    """An engine for readers; on SQLite its connections cannot write."""
    path = sqlite_path(url)
    if path is None:
        return postgres.engine(url, "ppacer", READERS_MAX, _STATEMENT, *_READS)

    def connect() -> sqlite3.Connection:
        uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if _lies_still(path) else ''}"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA query_only=1")
        return connection

    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.pool.QueuePool, pool_size=READERS_MAX, max_overflow=0
    )

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")  # all queries of one block see the same moment

    return engine


def _lies_still(path: Path) -> bool:
    """Whether nobody writes to the file, and we cannot make the helper files of a log beside it either.

    Without them SQLite reads such a file only when it is told that nobody will change it.
    """
    is_folded = not path.with_name(f"{path.name}-wal").exists()
    return is_folded and not os.access(path.parent, os.W_OK) and owner_of(path) is None


def check(connection: sa.Connection, path: Path) -> None:
    """Raises StoreError when a SQLite file is damaged; very large ones are left to `ppacer db check`."""
    if path.stat().st_size <= CHECKED_BYTES_MAX:
        verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if verdict != "ok":
            raise damaged(path)


def damaged(where: Any) -> StoreError:
    """The error for a file that cannot be trusted."""
    return StoreError(
        f"{where} is damaged or no SQLite database; restore a backup (`ppacer db backup` makes them)"
    )


def identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to, however it is called; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def in_words(url: sa.URL) -> Iterator[None]:
    """Turns errors of the driver into sentences: StoreUnavailable where waiting may help, else StoreError."""
    try:
        yield
    except _errors() as error:
        raise _translate(error, sqlite_path(url) or shown(url)) from error


def _errors() -> tuple[type[Exception], ...]:
    """What the drivers raise, and a pool without a free connection; hot statements bypass SQLAlchemy."""
    ours = (DBAPIError, sqlite3.Error, PoolTimeout)
    psycopg = sys.modules.get("psycopg")
    return ours if psycopg is None else (*ours, psycopg.Error)


_FOR_NOW = {
    sqlite3.SQLITE_BUSY: "is locked by another program: end its transaction",
    sqlite3.SQLITE_LOCKED: "is locked by another program: end its transaction",
    sqlite3.SQLITE_READONLY: "cannot be written: check the permissions of the file and of its folder",
    sqlite3.SQLITE_FULL: "has no room: the disk is full, free some space",
    sqlite3.SQLITE_IOERR: "cannot be read or written (I/O error): is the disk full, or failing?",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that it is a file, and that its folder can be written",
    sqlite3.SQLITE_PROTOCOL: "is locked by another program: end its transaction",
}


def _translate(error: Exception, where: Any) -> StoreError:
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(
            f"{where}: all {READERS_MAX} connections are in use: ask again, or less at once"
        )
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is None:
        return _translate_server(cause, where)
    kind = code & 0xFF  # the rest of the code is detail
    if kind in _FOR_NOW:
        return StoreUnavailable(f"{where} {_FOR_NOW[kind]}")
    if kind in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return damaged(where)
    return StoreError(f"{where}: {cause}")


_AWAY = {
    "25006": "it is read-only, perhaps a replica",
    "25P03": "a transaction was left idle for too long",
    "57014": "a statement took too long",
}
_MISSING = {
    "42P01": "it has not the tables of this ppacer; a scheduler makes or upgrades them at its start",
}


def _translate_server(error: Exception, where: Any) -> StoreError:
    """By the state that PostgreSQL tells; without one it could not be reached, or the connection was lost."""
    state, psycopg = str(getattr(error, "sqlstate", None)), sys.modules["psycopg"]
    is_away = state in _AWAY or isinstance(error, psycopg.OperationalError)
    said = str(error).strip().partition("\n")[0]  # details come in lines of their own
    words = (_AWAY | _MISSING).get(state, said)
    return (StoreUnavailable if is_away else StoreError)(f"{where}: {words}")
