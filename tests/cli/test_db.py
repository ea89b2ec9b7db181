"""`ppacer db …`."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import Server, call, ok, serving
from ppacer.cli import exits
from ppacer.store.schema import REVISION


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the databases of a scheduler that has ended."""
    folder = tmp_path_factory.mktemp("made")
    with serving(folder) as server:
        server.ended(server.trigger("good"))
        server.ended(server.trigger("failing"))
    return folder


@pytest.fixture
def databases(made: Path, folder: Path) -> Path:
    """A copy of them in the folder of the test."""
    for name in ("scheduler.db", "logs.db"):
        (folder / name).write_bytes((made / name).read_bytes())
    return folder


def execute(sql: str) -> None:
    """Changes the database by hand."""
    with closing(sqlite3.connect("scheduler.db")) as connection, connection:
        connection.execute(sql)


def test_a_sound_database_passes(databases: Path) -> None:
    assert ok("db", "check") == "scheduler.db: ok\nlogs.db: ok\n"
    assert call("db", "check", "--json").json == {"ok": True, "files": {"scheduler.db": [], "logs.db": []}}


def test_logs_that_are_not_there_yet_are_no_fault(databases: Path) -> None:
    Path("logs.db").unlink()
    assert ok("db", "check") == "scheduler.db: ok\nlogs.db: not there yet\n"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM dagversions", "run 1 is of a version whose graph is missing"),
        ("DELETE FROM dagruns WHERE RunId = 1", "there are attempts of good at "),
        (
            "UPDATE dagruntasks SET Status = 'SCHEDULED', EndedAt = NULL WHERE DagId = 'good'",
            "run 1 has ended, but attempts of it have not",
        ),
        (
            "UPDATE dagruntasks SET Status = 'FAILED' WHERE DagId = 'good' AND TaskId = 'extract'",
            "run 1 has succeeded, but a task of it has failed",
        ),
        (
            "UPDATE alembic_version SET version_num = '0000'",
            f"it has revision 0000 and this ppacer needs {REVISION}",
        ),
        ("UPDATE alembic_version SET version_num = '9999'", "it has revision 9999, made by a newer ppacer"),
    ],
)
def test_what_contradicts_itself_is_found(databases: Path, sql: str, words: str) -> None:
    execute(sql)
    ended = call("db", "check")
    assert ended.code == exits.FAILED
    assert f"scheduler.db: {words}" in ended.out
    assert call("db", "check", "--json").json["ok"] is False


def test_a_damaged_file_is_found(databases: Path) -> None:
    data = bytearray(Path("scheduler.db").read_bytes())
    data[8192:12288] = b"\xff" * 4096
    Path("scheduler.db").write_bytes(data)
    Path("logs.db").write_bytes(b"this is no database at all" * 1000)
    ended = call("db", "check")
    assert ended.code == exits.FAILED
    assert "scheduler.db: " in ended.out
    assert "damaged" in ended.out
    assert "logs.db is damaged or no SQLite database" in ended.out


@pytest.mark.parametrize("command", ["check", "stats", "upgrade", "backup x.db"])
def test_a_database_that_is_not_there_is_not_made(folder: Path, command: str) -> None:
    ended = call("db", *command.split())
    assert ended.code == exits.USAGE
    assert ended.said == f"there is no database {folder}/scheduler.db; name it with --db"
    assert list(folder.iterdir()) == []


def test_a_database_at_the_newest_revision_needs_no_upgrade(databases: Path) -> None:
    assert ok("db", "upgrade") == f"scheduler.db has the newest revision, {REVISION}, already\n"
    assert call("db", "upgrade", "--json").json == {"before": REVISION, "after": REVISION, "backup": None}


def test_a_newer_database_is_refused_and_not_changed(databases: Path) -> None:
    execute("UPDATE alembic_version SET version_num = '9999'")
    before = Path("scheduler.db").read_bytes()
    ended = call("db", "upgrade")
    assert ended.code == exits.USAGE
    assert "9999" in ended.said
    assert Path("scheduler.db").read_bytes() == before


def test_a_backup_is_a_whole_copy_made_while_the_scheduler_works(server: Server, folder: Path) -> None:
    run_id = server.trigger("good")
    server.ended(run_id)
    assert "is copied to copy.db (" in ok("db", "backup", "copy.db", "--db", server.db)
    assert call("show", run_id, "--db", "copy.db", "--json").json["run"]["status"] == "SUCCESS"
    assert ok("db", "check", "--db", "copy.db").startswith("copy.db: ok\n")
    answer: Any = call("db", "backup", folder, "--db", server.db, "--json").json
    assert answer["file"] == str(folder / "scheduler.db")
    assert answer["bytes"] == (folder / "scheduler.db").stat().st_size
    assert {path.suffix for path in folder.iterdir()} == {".db"}


def test_a_backup_never_overwrites(databases: Path) -> None:
    Path("copy.db").write_text("precious")
    ended = call("db", "backup", "copy.db")
    assert ended.code == exits.USAGE
    assert ended.said == "copy.db exists already; name a new file"
    assert Path("copy.db").read_text() == "precious"


def test_a_backup_into_a_folder_that_is_not_there_is_told_in_a_sentence(databases: Path) -> None:
    ended = call("db", "backup", "absent/copy.db")
    assert ended.code in (exits.USAGE, exits.UNAVAILABLE)
    assert "copy.db" in ended.said


def test_a_backup_is_put_back_and_what_was_there_is_kept(databases: Path) -> None:
    ok("db", "backup", "copy.db")
    execute("DELETE FROM dagruns WHERE RunId = 1")
    answer: Any = call("db", "restore", "copy.db", "--json").json
    assert (answer["file"], answer["revision"]) == (f"{databases}/scheduler.db", REVISION)
    assert answer["bytes"] == Path("scheduler.db").stat().st_size
    assert "1 SUCCESS" in ok("db", "stats")
    assert call("db", "check", "--db", answer["replaced"]).code == exits.FAILED
    Path("scheduler.db").unlink()
    said = ok("db", "restore", "copy.db")
    assert said.startswith("scheduler.db is what copy.db was (")
    assert said.endswith(" KB)\n")


def test_nothing_is_restored_under_a_running_scheduler(server: Server, databases: Path) -> None:
    ok("db", "backup", "copy.db", "--db", server.db)
    ended = call("db", "restore", "copy.db", "--db", server.db)
    assert ended.code == exits.CONFLICT
    assert ended.said.startswith("another scheduler (process ")


def test_the_logs_can_be_copied_too(databases: Path) -> None:
    assert "is copied to copy.db" in ok("db", "backup", "copy.db", "--db", "logs.db")
    ended = call("db", "restore", "copy.db", "--db", "logs.db")
    assert ended.code == exits.USAGE


def test_the_stats_count(databases: Path) -> None:
    lines = ok("db", "stats").splitlines()
    assert lines[0].startswith("database  scheduler.db, ")
    assert lines[0].endswith(f" KB, revision {REVISION}")
    assert lines[1].startswith("logs      logs.db, ")
    assert lines[2] == "dags      9"
    assert lines[3].startswith("runs      2 (1 SUCCESS, 1 FAILED), the oldest of ")
    assert lines[4] == "attempts  8"
    rule = "0 runs are to go: ended 90 days ago, not among the newest 100 of their dag"
    assert lines[5] == f"retention {rule}"
    tables = {words[0]: words[1:] for words in map(str.split, lines[7:])}
    assert tables["dagruns"][0] == "2"
    assert tables["dagruntasks"][0] == "8"
    answer: Any = call("db", "stats", "--json").json
    assert (answer["dags"], answer["runs"], answer["attempts"]) == (9, {"SUCCESS": 1, "FAILED": 1}, 8)
    assert answer["logs_bytes"] == Path("logs.db").stat().st_size


def test_the_stats_name_the_room_of_each_table_and_what_is_free(databases: Path) -> None:
    size = Path("scheduler.db").stat().st_size
    answer: Any = call("db", "stats", "--json").json
    used = sum(table["bytes"] for table in answer["tables"] if table["bytes"] is not None)
    assert 0 < used <= size
    assert answer["free_bytes"] == 0
    execute("DELETE FROM dagtasks")
    answer = call("db", "stats", "--json").json
    assert answer["free_bytes"] > 0
    assert " free), revision " in ok("db", "stats")


@pytest.mark.parametrize(
    ("days", "runs", "expired"), [("0", "1", None), ("1", "1", 0), ("1e-9", "1", 1), ("1e-9", "2", 0)]
)
def test_the_stats_say_what_retention_will_delete(
    databases: Path, monkeypatch: pytest.MonkeyPatch, days: str, runs: str, expired: int | None
) -> None:
    execute("UPDATE dagruns SET DagId = 'same'")
    monkeypatch.setenv("PPACER_RETENTION_DAYS", days)
    monkeypatch.setenv("PPACER_RETENTION_RUNS", runs)
    answer: Any = call("db", "stats", "--json").json
    assert answer["expired_runs"] == expired
    if expired is None:
        assert "retention everything is kept for ever\n" in ok("db", "stats")
