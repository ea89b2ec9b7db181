"""The nightly backup: what is kept is good, and nothing good is lost for something bad."""

import gzip
import os
import random
import re
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ppacer
from examples.conftest import Load, MakeContext
from examples.terminal import ROOT, WAIT, Terminal, until
from notify.servers import HttpServer
from ppacer.notify import EmailSender, MockSender, WebhookSender

DAGS = ROOT / "examples" / "backup" / "dags.py"
NIGHT = datetime(2024, 3, 11, 2, 15, tzinfo=UTC)


def make_database(path: Path, rows: int = 500) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE reading (at TEXT PRIMARY KEY, celsius REAL) WITHOUT ROWID")
        db.execute('CREATE TABLE "photo ""raw""" (id INTEGER PRIMARY KEY, data BLOB)')
        db.execute("CREATE VIRTUAL TABLE note USING fts5(text)")
        db.execute("CREATE VIEW warm AS SELECT * FROM reading WHERE celsius > 20")
        db.executemany("INSERT INTO reading VALUES (?, ?)", ((f"{n:09}", n / 7) for n in range(rows)))
        db.executemany(
            'INSERT INTO "photo ""raw""" (data) VALUES (?)', ((os.urandom(2_000),) for _ in range(20))
        )
        db.execute("INSERT INTO note VALUES ('the heating was off')")
        db.execute("CREATE TABLE door (name TEXT UNIQUE)")
        db.execute("INSERT INTO door VALUES ('the back door')")


def restored(backup: Path, folder: Path) -> sqlite3.Connection:
    target = folder / "restored.db"
    target.write_bytes(gzip.decompress(backup.read_bytes()))
    return sqlite3.connect(target)


def backups(folder: Path = Path("backups")) -> dict[str, bytes]:
    """Everything in the folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_database(tmp_path / "home.db")
    return tmp_path / "home.db"


def test_a_database_in_use_is_backed_up(home: Path, tmp_path: Path, load: Load) -> None:
    with written_to(home):
        run = ppacer.run_once(load("backup").backup)
    assert run.run.status == "SUCCESS", [attempt.error for attempt in run.attempts]
    (name,) = backups()
    assert name == f"home-{run.run.exec_ts:%Y%m%dT%H%M%S.%f}Z.db.gz"
    with closing(restored(Path("backups", name), tmp_path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM reading").fetchone()[0] >= 500
        assert db.execute('SELECT count(*) FROM "photo ""raw"""').fetchone() == (20,)
        assert db.execute("SELECT text FROM note WHERE note MATCH 'heating'").fetchone() == (
            "the heating was off",
        )


class written_to:  # noqa: N801 - reads like the context manager it is
    """Somebody else adds rows to a database, without a pause."""

    def __init__(self, path: Path) -> None:
        self._path, self._end = path, threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=30)) as db:
            number = 1_000_000
            while not self._end.is_set():
                db.execute("INSERT INTO reading VALUES (?, 1)", (number := number + 1,))
                self._begun.set()

    def __enter__(self) -> None:
        self._thread.start()
        assert self._begun.wait(WAIT)

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_the_eighth_backup_removes_the_oldest(home: Path, load: Load, context: MakeContext) -> None:
    dags = load("backup")
    make_seven(dags, context)
    Path("backups", "home-notes.txt").write_text("mine")
    Path("backups", "home-2-20200101T000000.000000Z.db.gz").write_text("of another database")
    before = backups()
    run = ppacer.run_once(dags.backup)
    after = backups()
    assert before.keys() - after.keys() == {"home-20240311T021500.000000Z.db.gz"}
    assert after.keys() - before.keys() == {f"home-{run.run.exec_ts:%Y%m%dT%H%M%S.%f}Z.db.gz"}
    assert len(after) == 7 + 2


def make_seven(dags: object, context: MakeContext) -> None:
    for night in range(7):
        back_up(dags, context(NIGHT + timedelta(days=night)))


def back_up(dags: object, ctx: ppacer.TaskContext) -> list[str]:
    """The four tasks one after the other; outside of a dag a task is a plain function."""
    rows = dags.copy(ctx)  # type: ignore[attr-defined]  # a module that was loaded by its path
    dags.compress(ctx)  # type: ignore[attr-defined]  # as above
    kept: list[str] = dags.prune(ctx, dags.verify(ctx, rows))  # type: ignore[attr-defined]  # as above
    return kept


def test_rows_that_come_while_it_is_copied_do_no_harm(
    home: Path, load: Load, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    dags = load("backup")
    count = dags.row_counts

    def count_and_write(db: sqlite3.Connection) -> object:
        found = count(db)
        with closing(sqlite3.connect(home)) as other, other:
            other.execute("INSERT INTO reading VALUES ('just now', 1)")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(dags, "row_counts", count_and_write)
        rows = dags.copy(context(NIGHT))
    dags.compress(context(NIGHT))
    assert dags.verify(context(NIGHT), rows).exists()


@pytest.mark.parametrize("damage", ["a page", "an index", "the header", "everything"])
def test_a_damaged_database_costs_no_old_backup(
    damage: str, home: Path, load: Load, context: MakeContext
) -> None:
    dags = load("backup")
    make_seven(dags, context)
    before = backups()
    spoil(home, damage)
    told = MockSender()
    run = ppacer.run_once(dags.backup, notifier=told)
    assert run.run.status == "FAILED"
    (message,) = told.messages
    assert (message.data.dag_id, message.data.exec_ts) == ("backup", run.run.exec_ts)
    assert "BackupError: " in message.text
    assert "home.db" in message.text
    assert ppacer.run_once(dags.backup, notifier=told).run.status == "FAILED"
    parts = {name for name in backups() if ".part" in name}
    assert {name: data for name, data in backups().items() if name not in parts} == before
    assert len({name[:28] for name in parts}) <= 1, "failed runs fill the disk"
    home.unlink()
    make_database(home)
    assert ppacer.run_once(dags.backup).run.status == "SUCCESS"
    assert len(backups()) == 7, "what the failed run has left behind is gone"


def spoil(path: Path, what: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode=DELETE")
    data = bytearray(path.read_bytes())
    if what == "everything":
        data[:] = random.Random(1).randbytes(len(data))
    elif what == "an index":
        at = data.index(b"the back door")
        data[at : at + 3] = b"any"
    else:
        start = 20 if what == "the header" else len(data) // 2 // 4096 * 4096
        data[start : start + 60] = b"\xff" * 60
    path.write_bytes(data)


def test_a_missing_database_is_named(load: Load) -> None:
    told = MockSender()
    run = ppacer.run_once(load("backup").backup, notifier=told)
    assert run.run.status == "FAILED"
    assert "BackupError: there is no database home.db" in told.messages[0].text


def test_the_command_line_names_the_error_as_the_file_does(terminal: Terminal) -> None:
    failed = terminal.run(f"ppacer run {DAGS}")
    assert failed.returncode == 1
    assert "\n  BackupError: there is no database home.db\n" in failed.stdout
    assert "ppacer_file" not in failed.stdout


def test_a_run_that_is_repeated_gives_the_same_backup(home: Path, load: Load, context: MakeContext) -> None:
    dags, ctx = load("backup"), context(NIGHT)
    assert back_up(dags, ctx) == back_up(dags, ctx) == ["home-20240311T021500.000000Z.db.gz"]
    assert list(backups()) == ["home-20240311T021500.000000Z.db.gz"]


def test_the_step_that_gives_the_name_can_be_repeated(home: Path, load: Load, context: MakeContext) -> None:
    dags, ctx = load("backup"), context(NIGHT)
    rows = dags.copy(ctx)
    dags.compress(ctx)
    first = dags.verify(ctx, rows)
    assert dags.verify(ctx, rows) == first == Path("backups", "home-20240311T021500.000000Z.db.gz")
    with pytest.raises(dags.BackupError, match="rows in the backup"):
        dags.verify(ctx, {**rows, "reading": 501})
    assert first.exists()


def test_who_is_alerted_is_chosen_by_the_environment(
    home: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load("backup").alerts() is None
    monkeypatch.setenv("BACKUP_SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("BACKUP_MAIL_FROM", "backup@example.com")
    monkeypatch.setenv("BACKUP_MAIL_TO", "ops@example.com,night@example.com")
    mail = load("backup").alerts()
    assert isinstance(mail, EmailSender)
    assert mail.recipients == ["ops@example.com", "night@example.com"]
    with HttpServer() as server:
        monkeypatch.setenv("BACKUP_WEBHOOK_URL", f"{server.url}/hook")
        dags = load("backup")
        assert isinstance(dags.alerts(), WebhookSender)
        home.write_bytes(b"not a database, but long enough to be looked at" * 100)
        assert ppacer.run_once(dags.backup).run.status == "FAILED"
        assert "BackupError" in until(lambda: server.requests, "the alert")[0].body.decode()


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_one_good_backup(tmp_path: Path, terminal: Terminal) -> None:
    make_database(tmp_path / "home.db")
    with closing(sqlite3.connect(tmp_path / "home.db")) as db, db:
        db.execute('INSERT INTO "photo ""raw""" (data) VALUES (randomblob(20000000))')
    folder = tmp_path / "backups"
    with terminal.start(f"python {DAGS}") as program:
        program.says("ppacer serves 1 dag(s)")
        terminal.does("ppacer trigger backup")
        until(lambda: list(folder.glob("*.gz.part")), "compression")
        program.process.kill()
        program.process.wait()
    assert [path for path in folder.iterdir() if not path.name.endswith(".part")] == []
    with terminal.start(f"ppacer serve {DAGS}") as program:
        assert re.search(r"home-\S+ is verified", program.says("is verified; there are 1 backups"))
        until(lambda: terminal.does("ppacer runs --json").count('"SUCCESS"') == 1, "the end of the run")
        assert program.stop() == 0
    (path,) = folder.iterdir()
    with closing(restored(path, tmp_path)) as db:
        assert db.execute('SELECT max(length(data)) FROM "photo ""raw"""').fetchone() == (20_000_000,)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
