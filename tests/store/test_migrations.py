"""One schema, whether made whole or migrated step by step; older databases are saved first."""

import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from ppacer.errors import ConfigError, StoreError
from ppacer.store import Store, database, migrate
from ppacer.store.schema import REVISION, metadata
from ppacer.tasklog.connections import place_of
from store.shelf import SRC, WAIT, created, dump, execute, python, rows

NEXT = '''
"""A step that does not exist yet."""
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade():
    {step}


def downgrade():
    pass
'''


def migrated(url: str, revision: str = "head") -> None:
    """A database made by the migrations alone, up to this one."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def shape(path: Path) -> dict[str, Any]:
    """Everything SQLite knows about the tables of a file."""
    with closing(sqlite3.connect(path)) as connection:
        master = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        tables = [name for kind, name, *_ in master if kind == "table"]
        return {
            "statements": {(kind, name): _plain(sql) for kind, name, _, sql in master},
            **{
                f"{pragma} {table}": sorted(
                    row[1:] for row in connection.execute(f"PRAGMA {pragma}({table})")
                )
                for table in tables
                for pragma in ("index_list", "foreign_key_list")
            },
            **{
                f"columns {table}": connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
                for table in tables
            },
        }


def _plain(sql: str | None) -> str:
    """A statement without the accidents of writing; the order of a table's constraints is one of them."""
    words = re.sub(r"\s+", " ", sql or "").strip()
    head, _, constraints = words.partition(", CONSTRAINT ")
    end = " WITHOUT ROWID" if words.endswith(" WITHOUT ROWID") else ""
    parts = sorted(constraints.removesuffix(end).strip(" )").split(", CONSTRAINT ")) if constraints else []
    return " | ".join([head, *parts]) + end


def test_made_whole_and_migrated_are_the_same(path: Path, tmp_path: Path) -> None:
    Store(path).close()
    migrated(f"sqlite:///{tmp_path / 'other.db'}")
    whole, steps = shape(path), shape(tmp_path / "other.db")
    stamp = ("table", "alembic_version")  # Alembic names its primary key
    whole["statements"].pop(stamp)
    steps["statements"].pop(stamp)
    assert whole == steps
    assert len([kind for kind, _ in whole["statements"] if kind == "table"]) == len(metadata.tables)
    assert rows(path, "alembic_version") == rows(tmp_path / "other.db", "alembic_version")


def test_the_newest_migration_is_the_revision_of_the_schema() -> None:
    scripts = ScriptDirectory(str(migrate.MIGRATIONS))
    assert scripts.get_heads() == [REVISION]
    assert scripts.get_bases() == ["0001"]


def postgresql() -> sa.Dialect:
    return dialect()  # type: ignore[no-untyped-call]  # it has no annotations


def test_the_migrations_make_the_same_tables_on_postgresql() -> None:
    out = StringIO()
    options: dict[str, Any] = {"as_sql": True, "output_buffer": out}
    context = MigrationContext.configure(dialect=postgresql(), opts=options)
    with Operations.context(context):
        for script in reversed(list(ScriptDirectory(str(migrate.MIGRATIONS)).walk_revisions())):
            script.module.upgrade()
    steps = _with_new_columns(
        _plain(statement) for statement in out.getvalue().split(";") if statement.strip()
    )
    whole = set()
    for table in metadata.sorted_tables:
        whole.add(_plain(str(CreateTable(table).compile(dialect=postgresql()))))
        whole |= {_plain(str(CreateIndex(index).compile(dialect=postgresql()))) for index in table.indexes}
    assert steps == whole
    assert any("ExecTs TIMESTAMP WITH TIME ZONE" in statement for statement in steps)
    assert not any('"' in statement for statement in steps)  # names are never quoted


def _with_new_columns(statements: Iterable[str]) -> set[str]:
    """The statements, each ALTER TABLE … ADD COLUMN told in the CREATE TABLE that it changes."""
    found: dict[str, str] = {}
    for statement in statements:
        words = statement.split(" ", 5)
        if words[:2] != ["ALTER", "TABLE"]:
            found[" ".join(words[:3])] = statement
            continue
        assert words[3:5] == ["ADD", "COLUMN"], statement
        create = f"CREATE TABLE {words[2]}"
        columns, *constraints = found[create].split(" | ")
        found[create] = " | ".join([f"{columns}, {words[5]}", *constraints])
    return set(found.values())


def test_times_are_text_of_fixed_width_on_sqlite(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        types = {name: kind for _, name, kind, *_ in connection.execute("PRAGMA table_info(dagruns)")}
    assert types["ExecTs"] == "VARCHAR(27)"


def test_a_fresh_database_needs_no_alembic(path: Path) -> None:
    program = "import sys; sys.path.insert(0, sys.argv[2]); from ppacer.store import Store;"
    program += "[Store(sys.argv[1]).close() for _ in range(2)]; print('alembic' in sys.modules)"
    with python(program, str(path), str(SRC)) as process:
        out, err = process.communicate(timeout=WAIT)
    assert (out, err) == ("False\n", "")


# -- older and newer ones ------------------------------------------------------------------------------------


@pytest.fixture
def migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real migrations, and room for those of a later ppacer."""
    folder = tmp_path / "100 % later" / "migrations"
    shutil.copytree(migrate.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "MIGRATIONS", folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


def add(folder: Path, revision: str, before: str, step: str) -> None:
    (folder / "versions" / f"{revision}.py").write_text(
        NEXT.format(revision=revision, before=before, step=step)
    )


def test_an_older_database_is_saved_and_migrated(
    path: Path, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(path)
    store.apply(created())
    store.close()
    before = dump(path)
    add(migrations, "0901", REVISION, 'op.add_column("dagruns", sa.Column("NoteText", sa.Text))')
    add(migrations, "0902", "0901", """op.execute("UPDATE dagruns SET NoteText = 'migrated'")""")
    monkeypatch.setattr(migrate, "REVISION", "0902")
    store = Store(path)
    assert store.newest_run_id() == 1
    store.close()
    assert rows(path, "dagruns", "RunId", "NoteText") == [{"RunId": 1, "NoteText": "migrated"}]
    assert rows(path, "alembic_version") == [{"version_num": "0902"}]
    saved = path.with_name("scheduler.db.before-0902")
    assert dump(saved) == before
    Store(path).close()  # the second start has nothing to do


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    path: Path, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(path).close()
    before = dump(path)
    add(migrations, "0901", REVISION, 'op.add_column("dagruns", sa.Column("NoteText", sa.Text))')
    add(migrations, "0902", "0901", 'op.execute("UPDATE nowhere SET a = 1")')
    monkeypatch.setattr(migrate, "REVISION", "0902")
    with pytest.raises(StoreError, match="no such table: nowhere"):
        Store(path)
    assert dump(path) == before
    add(migrations, "0902", "0901", 'op.execute("SELECT 1")')
    Store(path).close()
    assert rows(path, "alembic_version") == [{"version_num": "0902"}]


def test_a_newer_database_is_refused_and_not_touched(path: Path) -> None:
    Store(path).close()
    execute(path, "UPDATE alembic_version SET version_num = '0999'")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="the database has revision 0999, made by a newer ppacer"):
        Store(path)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.before-*"))


def test_the_database_of_the_original_is_refused_and_not_touched(path: Path) -> None:
    execute(
        path, "CREATE TABLE dagruns (RunId INTEGER PRIMARY KEY, DagId TEXT)", "CREATE TABLE dags (DagId TEXT)"
    )
    before = dump(path)
    with pytest.raises(StoreError, match="belongs to the original ppacer; choose another file with --db"):
        Store(path)
    assert dump(path) == before


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE photos (Id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)"]
)
def test_the_database_of_another_program_is_refused_and_not_touched(statement: str, path: Path) -> None:
    execute(path, statement)
    before = dump(path)
    with pytest.raises(StoreError, match="belongs to another program"):
        Store(path)
    assert dump(path) == before


def test_an_empty_file_is_a_fresh_database(path: Path) -> None:
    path.touch()
    Store(path).close()
    assert rows(path, "alembic_version") == [{"version_num": REVISION}]


def test_a_start_that_was_killed_while_it_made_the_tables_is_no_trouble(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migrate._stamp, "create", stop)
        with pytest.raises(KeyboardInterrupt):
            Store(path)
    Store(path).close()


def test_migrations_are_part_of_the_package() -> None:
    import ppacer.store

    folder = Path(ppacer.store.__file__).parent / "migrations"
    assert (folder / "env.py").is_file()
    files = sorted(file.name for file in (folder / "versions").glob("*.py"))
    words = ["initial", "many_machines", "backfills", "drain", "code_that_ran"]
    assert files == [f"{number:04}_{word}.py" for number, word in enumerate(words, 1)]


@pytest.mark.parametrize("parse", [database.make_url, place_of])
@pytest.mark.parametrize(
    "text",
    [
        "mysql://u:s3cret@h/db",
        "://u:s3cret@h",
        "postgresql://u:s3cret@h:port/db",
        "sqlite://u:s3cret@h/?x=s3cret",
    ],
)
def test_what_is_no_url_is_not_repeated(text: str, parse: Callable[[str], object]) -> None:
    """It may hold a password, and what is wrong with it may be a single letter."""
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert "s3cret" not in f"{error.value} {error.value.__cause__}"


@pytest.mark.parametrize("parse", [database.make_url, place_of])
def test_postgres_means_postgresql(parse: Callable[[str], object]) -> None:
    assert parse("postgres://u@h/db") == parse("postgresql://u@h/db")


def test_a_url_that_is_none_is_a_sentence() -> None:
    for url, words in (
        ("mysql://localhost/x", "not on mysql"),
        ("://", "no database URL"),
        ("sqlite://", "must be a file"),
        (":memory:", "must be a file"),
    ):
        with pytest.raises(ConfigError, match=words):
            database.make_url(url)
    assert database.sqlite_path(database.make_url("a b?.db")) == Path("a b?.db").absolute()
    assert database.sqlite_path(database.make_url("sqlite:////x/y.db")) == Path("/x/y.db")
    assert database.sqlite_path(database.make_url("postgresql://u@h/n")) is None
