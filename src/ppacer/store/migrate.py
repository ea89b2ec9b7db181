"""A fresh database is created whole and stamped; an older one is migrated by Alembic, after a backup."""

import logging
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ppacer.errors import StoreError, StoreLockedError
from ppacer.store import copies, database
from ppacer.store.leader import LEASE_SECONDS, end_term, leader_in
from ppacer.store.schema import REVISION, metadata

log = logging.getLogger("ppacer.store")

MIGRATIONS = Path(__file__).with_name("migrations")

MAKING = 0x70706163  # the lock of who makes the tables on a server: several programs may start at once

_stamp = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))

# A real write (on SQLite a page in the log, and a sync) of what is there already.
REWRITE_STAMP = sa.update(_stamp).values(version_num=_stamp.c.version_num)


def prepare(engine: sa.Engine, url: sa.URL) -> None:
    """Makes the tables, or brings them to the newest revision. Raises StoreError for a newer database."""
    path = database.sqlite_path(url)
    with engine.begin() as connection:
        if path is not None:
            database.check(connection, path)
        else:
            _lock(connection)
        revision = revision_of(connection)
        if revision is None:
            _create(connection)
    if revision not in (None, REVISION):
        upgrade(engine, url, revision)


def revision_of(connection: sa.Connection) -> str | None:
    """The revision a database is stamped with; None when it is empty."""
    tables = {*sa.inspect(connection).get_table_names()} - {"tasklogs"}  # on a server they live here, too
    if not tables:
        return None
    if "alembic_version" in tables:
        stamp = connection.execute(sa.select(_stamp.c.version_num)).scalar()
        if stamp is not None:
            return str(stamp)
    whose = "the original ppacer" if "dagruns" in tables else "another program"
    raise StoreError(f"this database belongs to {whose}; choose another file with --db")


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    _stamp.create(connection)
    connection.execute(sa.insert(_stamp).values(version_num=REVISION))


def _lock(connection: sa.Connection) -> None:
    """Until the end of the transaction; however long somebody else takes, who may be upgrading."""
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING)))


def upgrade(engine: sa.Engine, url: sa.URL, revision: str) -> Path | None:
    """Runs the migrations from `revision` to the newest; returns the backup file made before, on SQLite.

    On a server it raises StoreLockedError while a scheduler leads: one of an older version would go on with
    tables that have changed.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    _check_known(revision, scripts)
    path = database.sqlite_path(url)
    saved = None if path is None else path.with_name(f"{path.name}.before-{REVISION}")
    if path is not None and saved is not None:
        copies.copy(path, saved)
        log.warning("migrating the database from %s to %s; a backup is in %s", revision, REVISION, saved)
    with engine.begin() as connection:
        if path is None:  # who was quicker may have upgraded meanwhile, even beyond what is known here
            _lock(connection)
            now = revision_of(connection)
            _check_known(now, scripts)
            if now != REVISION:
                _depose(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, REVISION)
    return saved


def _check_known(revision: str | None, scripts: Any) -> None:
    if revision not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"the database has revision {revision}, made by a newer ppacer; install that or a newer one"
        )


def _depose(connection: sa.Connection) -> None:
    """Whose lease has run out leads no more, should it wake up with tables that have changed."""
    if not sa.inspect(connection).has_table("leader"):
        return
    leader = leader_in(connection)
    if leader is not None and leader.is_alive:
        where = f" at {leader.url}" if leader.url else ""
        raise StoreLockedError(
            f"the database must be upgraded, but scheduler {leader.holder} leads on it{where}; stop it first"
            f" (one that was killed leads for {LEASE_SECONDS:g} s more)"
        )
    end_term(connection)
