"""Connections: one that writes, read-only ones for readers, and the driver's errors in our words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ppacer.errors import StoreError, StoreUnavailable

BUSY_TIMEOUT_MS = 5_000
READERS_MAX = 8
SQLITE = "sqlite"


def make_url(db: str | Path) -> sa.URL:
    """The URL of a database given as a file name or a URL."""
    text = str(db)
    return sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)


def sqlite_path(url: sa.URL) -> Path | None:
    """The file of a SQLite database; None for other engines."""
    return Path(url.database).absolute() if url.get_backend_name() == SQLITE and url.database else None


def writer_engine(url: sa.URL) -> sa.Engine:
    """An engine with the one connection that writes."""
    path = sqlite_path(url)
    if path is None:
        return sa.create_engine(url, pool_size=1, max_overflow=0)
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist; make it, or choose another file with --db")
    engine = sa.create_engine(url, poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL loses acknowledged commits at a power cut (RELIABILITY.md)
            "temp_store=MEMORY",
            "cache_size=-16000",
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
        return sa.create_engine(url, pool_size=READERS_MAX, max_overflow=0)

    def connect() -> sqlite3.Connection:
        uri = f"{path.as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)
        connection.execute("PRAGMA query_only=1")
        return connection

    return sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.pool.QueuePool, pool_size=READERS_MAX, max_overflow=0
    )


@contextmanager
def in_words(url: sa.URL) -> Iterator[None]:
    """Turns errors of the driver into a sentence: StoreUnavailable where waiting may help, else StoreError."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise _translate(error, sqlite_path(url) or url.render_as_string(hide_password=True)) from error


def _translate(error: Exception, where: Any) -> StoreError:
    text = str(getattr(error, "orig", None) or error)
    for sign, sentence in (
        ("database is locked", f"{where} is locked by another program"),
        ("readonly", f"{where} cannot be written: check the permissions of the file and of its folder"),
        ("read-only", f"{where} cannot be written: it is on a read-only file system"),
        ("disk is full", f"the disk with {where} is full: free some space"),
        ("disk I/O error", f"the disk with {where} has an I/O error: is it full, or failing?"),
        ("unable to open", f"{where} cannot be opened: check that its folder exists and can be written"),
    ):
        if sign in text:
            return StoreUnavailable(sentence)
    if "not a database" in text or "malformed" in text:
        return StoreError(f"{where} is damaged or no SQLite database; restore a backup (ppacer db backup makes them)")
    if getattr(error, "connection_invalidated", False):
        return StoreUnavailable(f"{where} does not answer: {text}")
    return StoreError(f"{where}: {text}")
