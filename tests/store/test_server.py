"""A database on a server: the same tables, and a server that goes away and comes back."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.world import at
from postgresql.server import Server
from ppacer.engine import RunRef
from ppacer.errors import ConfigError, StoreError, StoreLockedError, StoreUnavailable
from ppacer.store import Store, care, copies, database, migrate
from ppacer.store.leader import Seat
from ppacer.store.reads import Reads
from ppacer.store.schema import REVISION
from ppacer.store.stats import stats
from store.shelf import REF, WAIT, created, execute, granted, new, python, query, rows
from store.test_migrations import NEXT, migrated

SHAPE = """
    SELECT table_name, ordinal_position, column_name, data_type, character_maximum_length, is_nullable,
           column_default
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1, 2
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"


@pytest.fixture
def db(postgresql: Server) -> Iterator[str]:
    url = postgresql.database(lambda url: Store(url).close())
    yield url
    postgresql.drop(url)


@pytest.fixture
def empty(postgresql: Server) -> Iterator[str]:
    url = postgresql.empty()
    yield url
    postgresql.drop(url)


def shape(url: str) -> dict[str, Any]:
    """Everything PostgreSQL knows about the tables."""
    with psycopg.connect(url) as connection:
        answers = [connection.execute(sql).fetchall() for sql in (SHAPE, CONSTRAINTS, INDEXES)]
    stamp = "alembic_version"  # Alembic names its primary key
    return {str(number): [row for row in answer if row[0] != stamp] for number, answer in enumerate(answers)}


def test_made_whole_and_migrated_are_the_same(db: str, empty: str) -> None:
    migrated(empty)
    assert shape(db) == shape(empty)
    assert len(shape(db)["0"]) > 100
    assert rows(db, "alembic_version") == rows(empty, "alembic_version") == [{"version_num": REVISION}]


def test_an_older_database_is_migrated(db: str, empty: str) -> None:
    migrated(empty, "0001")
    assert care.problems(empty) == [
        f"it has revision 0001 and this ppacer needs {REVISION}: ppacer db upgrade"
    ]
    assert care.upgrade(empty) == care.Upgrade("0001", REVISION, None)
    assert shape(db) == shape(empty)
    assert care.problems(empty) == []


@pytest.mark.parametrize("upgrade", [care.upgrade, Store], ids=["by hand", "by a start"])
def test_a_database_under_a_leader_is_not_upgraded(empty: str, upgrade: Callable[[str], object]) -> None:
    migrated(empty, "0002")
    seat = Seat(empty, "old", "http://old.example:9321")
    term = seat.take()
    assert term is not None
    with pytest.raises(StoreLockedError, match=r"old leads on it at http://old\.example:9321; stop it first"):
        upgrade(empty)
    assert rows(empty, "alembic_version") == [{"version_num": "0002"}]
    seat.release(term)
    seat.close()
    assert care.upgrade(empty) == care.Upgrade("0002", REVISION, None)


def test_who_led_before_an_upgrade_does_not_lead_after_it(empty: str) -> None:
    migrated(empty, "0002")
    seat = Seat(empty, "frozen", None, lease=0.0)
    term = seat.take()
    assert term is not None
    Store(empty).close()
    assert not seat.renew(term)
    assert seat.take() == term + 2
    seat.close()


def test_programs_that_start_at_once_make_the_tables_once(empty: str) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            Store(empty).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert rows(empty, "alembic_version") == [{"version_num": REVISION}]


SLOWLY = """
import sys
from pathlib import Path
from ppacer.store import Store, migrate
migrate.MIGRATIONS, migrate.REVISION = Path(sys.argv[1]), "0901"
Store(sys.argv[2]).close()
"""


def test_programs_that_start_at_once_on_an_older_database_upgrade_it_once(db: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    step = """op.execute("SELECT pg_sleep(1)"); op.execute("ALTER TABLE dags ADD COLUMN NoteText text")"""
    (folder / "versions" / "0901.py").write_text(NEXT.format(revision="0901", before=REVISION, step=step))
    programs = [python(SLOWLY, str(folder), db) for _ in range(2)]
    with programs[0] as one, programs[1] as other:
        errors = [program.communicate(timeout=WAIT)[1] for program in (one, other)]
    assert errors == ["", ""]
    assert rows(db, "alembic_version") == [{"version_num": "0901"}]


def test_names_need_no_quotes_and_times_are_times(db: str) -> None:
    execute(db, "INSERT INTO audit (AuditId, At, Actor, Command, Outcome) VALUES (1, now(), 'x', 'y', 'z')")
    assert query(db, "SELECT AuditId FROM audit WHERE At <= now()") == [{"AuditId": 1}]
    with psycopg.connect(db) as connection:
        assert connection.execute("SELECT DagId FROM dags").fetchall() == []


def test_numbers_are_given_by_the_server_where_nobody_gives_them(db: str) -> None:
    with psycopg.connect(db) as connection:
        defaults = connection.execute(
            "SELECT column_default FROM information_schema.columns WHERE column_name = 'alertid'"
        ).fetchall()
    assert defaults == [("nextval('outbox_alertid_seq'::regclass)",)]


# -- away and back -------------------------------------------------------------------------------------------


def test_a_restart_of_the_server_loses_nothing_and_the_store_goes_on(postgresql: Server, db: str) -> None:
    store, reads = Store(db), Reads(db)
    store.apply([*created(), new("a")])
    with postgresql.away():
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as error:
                store.apply([granted("a", "k")])
            assert "\n" not in str(error.value)
            with pytest.raises(StoreUnavailable):
                reads.runs()
            with pytest.raises(StoreUnavailable):
                store.probe()
    store.probe()
    store.apply([granted("a", "k")])
    assert [(row["TaskId"], row["Status"]) for row in rows(db, "dagruntasks")] == [("a", "RUNNING")]
    assert [run.run_id for run in reads.runs()] == [1]
    store.close()
    reads.close()


def test_a_connection_that_was_ended_costs_one_batch(postgresql: Server, db: str) -> None:
    store = Store(db)
    store.apply(created())
    name = db.rpartition("/")[2]
    postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    with pytest.raises(StoreUnavailable):
        store.apply([new("a")])
    store.apply([new("a")])
    postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    with pytest.raises(StoreUnavailable):
        store.newest_run_id()
    assert store.newest_run_id() == 1
    store.close()


def test_a_connection_that_is_lost_in_a_transaction(postgresql: Server, db: str) -> None:
    store = Store(db)
    name = db.rpartition("/")[2]
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    def work() -> None:
        with store.write as connection:
            connection.exec_driver_sql("DELETE FROM alembic_version")
            postgresql.execute(end)
            connection.exec_driver_sql("DELETE FROM dagruns")

    with pytest.raises(StoreUnavailable):
        work()
    assert len(rows(db, "alembic_version")) == 1
    store.apply(created())
    store.close()


def test_a_statement_that_must_wait_too_long_is_given_up(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_STATEMENT", "statement_timeout = '100ms'")
    store = Store(db)
    store.apply(created())
    with psycopg.connect(db) as other:
        other.execute("LOCK TABLE dagruntasks")
        with pytest.raises(StoreUnavailable, match="a statement took too long"):
            store.apply([new("a")])
    store.apply([new("a")])
    store.close()


def test_a_writer_that_stops_in_a_transaction_loses_its_locks(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WRITES", ("idle_in_transaction_session_timeout = '1s'",))
    store = Store(db)

    def work() -> None:
        with store.write as connection:
            connection.exec_driver_sql("LOCK TABLE dagruns")
            with psycopg.connect(db) as other:
                other.execute("LOCK TABLE dagruns")  # as soon as it is free
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StoreUnavailable):
        work()
    store.apply(created(RunRef(1, "d", at(1))))
    store.close()


def test_a_password_is_never_shown(postgresql: Server) -> None:
    for url in (
        f"postgresql://ppacer:s3cret@127.0.0.1:{postgresql.port}/nothing",
        f"postgresql://ppacer@127.0.0.1:{postgresql.port}/nothing?password=s3cret",
    ):
        with pytest.raises(StoreUnavailable, match="nothing") as error:
            Store(url)
        assert "s3cret" not in str(error.value)
        with pytest.raises(StoreUnavailable) as refused:
            Reads(url).runs()
        assert "s3cret" not in str(refused.value)


# -- care ----------------------------------------------------------------------------------------------------


def test_a_check_finds_contradictions(db: str) -> None:
    store = Store(db)
    store.apply([*created(), new("a")])
    store.close()
    assert care.problems(db) == ["run 1 is of a version whose graph is missing"]
    execute(db, "DELETE FROM dagruns")
    assert any("no such run" in problem for problem in care.problems(db))


def test_a_database_without_tables(empty: str) -> None:
    assert care.problems(empty) == ["it has no tables of ppacer; a scheduler makes them at its start"]


def test_reading_a_database_without_tables_is_a_sentence(empty: str) -> None:
    reads = Reads(empty)
    with pytest.raises(StoreError, match="it has not the tables of this ppacer"):
        reads.dags()
    reads.close()


def test_sizes(db: str) -> None:
    store = Store(db)
    store.apply([*created(REF), new("a")])
    store.close()
    found = stats(db, at(10**6), 0)
    assert (found.runs, found.attempts, found.bytes is not None) == ({"RUNNING": 1}, 1, True)
    sizes = {table.name: table.bytes or 0 for table in found.tables}
    assert sizes["dagruntasks"] > 0


def test_a_copy_is_left_to_the_programs_of_the_server(db: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pg_dump"):
        care.copy(db, tmp_path / "copy", copies.silent)
    with pytest.raises(ConfigError, match="pg_restore"):
        copies.restore(db, tmp_path / "copy", at(0))


def test_a_database_of_another_program_is_refused(empty: str) -> None:
    execute(empty, "CREATE TABLE customers (Id INTEGER)")
    with pytest.raises(StoreError, match="belongs to another program"):
        Store(empty)
