"""Looking after a database from outside the scheduler: is it sound, upgrade it, copy it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import sqlalchemy as sa

from ppacer.engine import RUN_FINAL, RunStatus, TaskStatus
from ppacer.errors import ConfigError, StoreError
from ppacer.store import copies, database, migrate
from ppacer.store.copies import Progress
from ppacer.store.lock import FileLock
from ppacer.store.schema import ATTEMPT_WAITING, REVISION, dagruns, dagruntasks, dagversions

SHOWN_MAX = 20


class Upgrade(msgspec.Struct, frozen=True):
    """What an upgrade did; `backup` is the copy made before, None when there was nothing to do."""

    before: str | None
    after: str
    backup: str | None


def problems(db: str) -> list[str]:
    """What is wrong with a database, in sentences; empty when it is sound."""
    with reading(db) as connection:
        found = _damage(connection)
        if found:
            return found
        revision = migrate.revision_of(connection)
        if revision != REVISION:
            return [_other_revision(revision)]
        return list(_contradictions(connection))


def damage(db: str) -> list[str]:
    """What is wrong with a database as a file, whatever is in it."""
    with reading(db) as connection:
        return _damage(connection)


def upgrade(db: str) -> Upgrade:
    """Brings a database to the newest revision; refuses while a scheduler has it."""
    url, path = database.make_url(db), existing(db)
    lock = None if path is None else FileLock(path).acquire()
    engine = database.writer_engine(url)
    try:
        with database.in_words(url):
            with engine.connect() as connection:
                before = migrate.revision_of(connection)
            saved = migrate.upgrade(engine, url, before) if before not in (None, REVISION) else None
            migrate.prepare(engine, url)
    finally:
        engine.dispose()
        if lock is not None:
            lock.release()
    return Upgrade(before, REVISION, None if saved is None else str(saved))


def copy(db: str, target: Path, progress: Progress) -> int:
    """Copies a SQLite database to a new file, also while a scheduler writes to it; returns the bytes.

    The copy is checked, and gets its name only when it is whole. Raises ConfigError when the file exists.
    """
    source = existing(db)
    if source is None:
        raise ConfigError("ppacer copies SQLite files only; for a database on a server use pg_dump")
    copies.copy_new(source, target, progress)
    return target.stat().st_size


@contextmanager
def reading(db: str) -> Iterator[sa.Connection]:
    """A connection that only reads, to a database that must be there."""
    url = database.make_url(db)
    existing(db)
    engine = database.reader_engine(url)
    try:
        with database.in_words(url), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def existing(db: str) -> Path | None:
    """The file of a SQLite database, None for other engines. Raises StoreError when it is not there."""
    path = database.sqlite_path(database.make_url(db))
    if path is not None and not path.is_file():
        raise StoreError(f"there is no database {path}; name it with --db")
    return path


def _damage(connection: sa.Connection) -> list[str]:
    if connection.dialect.name != database.SQLITE:
        return []
    rows = connection.exec_driver_sql(f"PRAGMA integrity_check({SHOWN_MAX})").scalars().all()
    return [] if rows == ["ok"] else [f"damaged: {row}" for row in rows]


def _other_revision(revision: str | None) -> str:
    if revision is None:
        return "it has no tables of ppacer; a scheduler makes them at its start"
    if revision < REVISION:
        return f"it has revision {revision} and this ppacer needs {REVISION}: ppacer db upgrade"
    return f"it has revision {revision}, made by a newer ppacer than this one"


def _contradictions(connection: sa.Connection) -> Iterator[str]:
    """Facts that cannot be true together; constraints cannot see them, because they span tables."""
    r, t, v = dagruns.c, dagruntasks.c, dagversions.c
    same_run = (t.DagId == r.DagId) & (t.ExecTs == r.ExecTs)
    pinned = sa.exists().where(v.DagId == r.DagId, v.DagVersion == r.DagVersion)
    unfinished = sa.exists().where(same_run, t.Status.in_(ATTEMPT_WAITING))
    failed = sa.exists().where(
        same_run, t.Status.in_((TaskStatus.FAILED, TaskStatus.UPSTREAM_FAILED)), t.Restart == r.Restarts
    )
    for words, query in (
        ("is of a version whose graph is missing", sa.select(r.RunId).where(~pinned)),
        (
            "has ended, but attempts of it have not",
            sa.select(r.RunId).where(r.Status.in_(RUN_FINAL), unfinished),
        ),
        (
            "has succeeded, but a task of it has failed",
            sa.select(r.RunId).where(r.Status == RunStatus.SUCCESS, failed),
        ),
    ):
        for run_id in connection.execute(query.order_by(r.RunId).limit(SHOWN_MAX)).scalars():
            yield f"run {run_id} {words}"
    strays = sa.select(t.DagId, t.ExecTs).where(~sa.exists().where(same_run)).distinct().limit(SHOWN_MAX)
    for row in connection.execute(strays):
        yield f"there are attempts of {row.DagId} at {row.ExecTs:%Y-%m-%d %H:%M:%S}, but no such run"
