"""How much is in a database, how much room it takes, and how much of it retention will delete."""

from datetime import datetime
from pathlib import Path

import msgspec
import sqlalchemy as sa

from ppacer.engine import RunStatus
from ppacer.store import care, database, migrate
from ppacer.store.schema import dagruns, dags, metadata


class TableStats(msgspec.Struct, frozen=True):
    """One table; `bytes` with its indexes, None where the database does not tell."""

    name: str
    rows: int
    bytes: int | None


class Stats(msgspec.Struct, frozen=True):
    """Sizes in bytes, of a file with its write-ahead log; `free_bytes` is None on a server.

    `expired_runs`: how many runs retention will delete at its next look, None when it keeps everything.
    """

    revision: str | None
    dags: int
    runs: dict[str, int]
    attempts: int
    oldest_run_at: datetime | None
    bytes: int | None
    free_bytes: int | None
    expired_runs: int | None
    tables: list[TableStats]


def stats(db: str, before: datetime | None, runs_min: int) -> Stats:
    """Counts and sizes; `before` and `runs_min` as for retention. Reads everything once."""
    r = dagruns.c
    with care.reading(db) as connection:
        by_status = sa.select(r.Status, sa.func.count().label("n")).group_by(r.Status)
        runs = {row.Status: row.n for row in connection.execute(by_status)}
        known = sa.select(sa.func.count()).select_from(dags).where(dags.c.RemovedAt.is_(None))
        tables = _tables(connection)
        return Stats(
            revision=migrate.revision_of(connection),
            dags=connection.scalar(known) or 0,
            runs={status: runs[status] for status in RunStatus if status in runs},
            attempts=next(table.rows for table in tables if table.name == "dagruntasks"),
            oldest_run_at=connection.scalar(sa.select(r.InsertTs).order_by(r.RunId).limit(1)),
            bytes=_size(connection, db),
            free_bytes=_free_bytes(connection),
            expired_runs=None if before is None else _expired(connection, before, runs_min),
            tables=tables,
        )


def _size(connection: sa.Connection, db: str) -> int | None:
    path = database.sqlite_path(database.make_url(db))
    if path is not None:
        return size_of(path)
    return connection.scalar(sa.select(sa.func.pg_database_size(sa.func.current_database())))


def size_of(file: Path | None) -> int | None:
    """Bytes of a SQLite file and of its write-ahead log; None when it is not there."""
    if file is None or not file.exists():
        return None
    log = file.with_name(file.name + "-wal")
    return file.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _tables(connection: sa.Connection) -> list[TableStats]:
    """The largest first."""
    sizes = _sizes(connection)
    rows = {
        str(name): connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for name, table in metadata.tables.items()
    }
    found = [TableStats(name, count, sizes.get(name)) for name, count in rows.items()]
    return sorted(found, key=lambda table: (-(table.bytes or 0), -table.rows, table.name))


def _sizes(connection: sa.Connection) -> dict[str, int]:
    """The bytes of each table with its indexes; empty where SQLite was built without `dbstat`."""
    if connection.dialect.name != database.SQLITE:
        size = sa.func.pg_total_relation_size(sa.func.to_regclass(sa.bindparam("name")))
        return {name: connection.scalar(sa.select(size), {"name": name}) or 0 for name in metadata.tables}
    pages = sa.table("dbstat", sa.column("name"), sa.column("pgsize"), sa.column("aggregate"))
    master = sa.table("sqlite_master", sa.column("name"), sa.column("tbl_name"))
    query = (
        sa.select(master.c.tbl_name, sa.func.sum(pages.c.pgsize).label("size"))
        .join_from(master, pages, master.c.name == pages.c.name)
        .where(pages.c.aggregate == 1)
        .group_by(master.c.tbl_name)
    )
    try:
        return {row.tbl_name: int(row.size) for row in connection.execute(query)}
    except sa.exc.OperationalError:
        return {}


def _free_bytes(connection: sa.Connection) -> int | None:
    """What was freed in the file and will be used again."""
    if connection.dialect.name != database.SQLITE:
        return None
    free, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_size")
    )
    return int(free) * int(size)


def _expired(connection: sa.Connection, before: datetime, runs_min: int) -> int:
    r = dagruns.c
    age = sa.func.row_number().over(partition_by=r.DagId, order_by=r.RunId.desc())
    each = sa.select(r.EndedAt, age.label("Age")).subquery()
    expired = (each.c.EndedAt < before, each.c.Age > runs_min)
    return connection.scalar(sa.select(sa.func.count()).select_from(each).where(*expired)) or 0
