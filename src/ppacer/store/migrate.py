"""A fresh database is created whole and stamped; an older one is migrated by Alembic, after a backup."""

import logging
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from ppacer.errors import StoreError
from ppacer.store import database
from ppacer.store.schema import REVISION, metadata

log = logging.getLogger("ppacer.store")

_stamp = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))


def prepare(engine: sa.Engine, url: sa.URL) -> None:
    """Makes the tables, or brings them to the newest revision. Raises StoreError for a newer database."""
    with engine.begin() as connection:
        revision = _revision(connection)
        if revision is None:
            _create(connection)
    if revision not in (None, REVISION):
        upgrade(engine, url, revision)


def revision_of(connection: sa.Connection) -> str | None:
    """The revision a database is stamped with; None when it is empty."""
    return _revision(connection)


def _revision(connection: sa.Connection) -> str | None:
    tables = sa.inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if "dagruns" in tables:
            raise StoreError(
                "this database has tables of another program (the original ppacer?) and no version stamp; "
                "choose another file with --db"
            )
        return None
    row = connection.execute(sa.select(_stamp.c.version_num)).first()
    return None if row is None else str(row[0])


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    _stamp.create(connection)
    connection.execute(sa.insert(_stamp).values(version_num=REVISION))


def upgrade(engine: sa.Engine, url: sa.URL, revision: str) -> Path | None:
    """Runs the migrations from `revision` to the newest; returns the backup file made before, on SQLite."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision not in known:
        raise StoreError(f"the database has revision {revision}, made by a newer ppacer; install that or a newer one")
    path = database.sqlite_path(url)
    saved = None if path is None else path.with_name(f"{path.name}.before-{REVISION}")
    if path is not None and saved is not None:
        backup(path, saved)
        log.warning("migrating the database from %s to %s; a backup is in %s", revision, REVISION, saved)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, REVISION)
    return saved


def backup(source: Path, target: Path) -> None:
    """Copies a SQLite database consistently, also while a scheduler writes to it, and checks the copy."""
    with sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True) as reading, sqlite3.connect(target) as copy:
        reading.backup(copy)
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    reading.close()
    copy.close()
    if verdict != "ok":
        raise StoreError(f"the copy {target} is damaged: {verdict}")
