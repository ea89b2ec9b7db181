"""A database that refuses fails no task: records wait within limits, one warning says so, it recovers."""

import contextlib
import logging
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ppacer.tasklog import LogReader, LogWriter, connections
from ppacer.tasklog.outage import RETRY_SECONDS_MAX, RETRY_SECONDS_MIN, Outage
from tasklog.samples import EXEC_TS, SOON, lines, record, until

MakeWriter = Callable[..., LogWriter]
RUN = ("etl", EXEC_TS)

ABOUT_FILES = True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "ppacer.tasklog")


@pytest.fixture
def lock(path: Path) -> sqlite3.Connection:
    """A connection of somebody else, who may take the write lock of the file."""
    with LogWriter(path) as writer:
        writer.put([record("earlier")])
        assert writer.flush(SOON)
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == level]


def refused(caplog: pytest.LogCaptureFixture) -> bool:
    return bool(said(caplog, logging.WARNING))


def assert_one_outage(caplog: pytest.LogCaptureFixture, words: str, dropped: int = 0) -> None:
    [warning] = said(caplog, logging.WARNING)
    assert words in warning
    until(lambda: said(caplog, logging.INFO))
    [recovery] = said(caplog, logging.INFO)
    assert recovery.startswith("task logs are written again after")
    assert recovery.endswith(f"{dropped} were dropped")


def fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def test_a_full_disk(make_writer: MakeWriter, small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "logs.db"
    writer = make_writer(path)
    writer.start()
    writer.put(lines(10))
    assert writer.flush(SOON)
    fill_up(small_disk / "ballast")
    writer.put(lines(2000, task_id="load"))
    until(lambda: refused(caplog))
    writer.put(lines(10))
    assert LogReader(path).count(*RUN, "extract") == 10
    (small_disk / "ballast").unlink()
    assert writer.flush(SOON)
    assert LogReader(path).count(*RUN) == 2020
    assert_one_outage(caplog, "is full")


def test_a_database_at_its_greatest_size(
    make_writer: MakeWriter,
    reader: LogReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect, full = connections._connect, True

    def small(path: Path, writer: bool) -> sqlite3.Connection:
        connection = connect(path, writer)
        connection.execute(f"PRAGMA max_page_count = {10 if full else 1_000_000}")
        return connection

    monkeypatch.setattr(connections, "_connect", small)
    writer = make_writer()
    writer.start()
    writer.put(lines(1000))
    until(lambda: refused(caplog))
    full = False
    assert writer.flush(SOON)
    assert reader.count(*RUN) == 1000
    assert_one_outage(caplog, "is full")


def test_a_read_only_file(
    make_writer: MakeWriter, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / "logs.db"
    with LogWriter(path) as writer:
        writer.put(lines(3))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    writer = make_writer(path)
    writer.start()
    writer.put(lines(3))
    until(lambda: refused(caplog))
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert writer.flush(SOON)
    assert LogReader(path).count(*RUN) == 6
    [warning] = said(caplog, logging.WARNING)
    assert "read-only" in warning or "cannot be opened" in warning


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_without_permission(
    make_writer: MakeWriter, path: Path, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    with LogWriter(path) as writer:
        writer.put(lines(3))
    path.chmod(0o444)
    writer = make_writer()
    writer.start()
    writer.put(lines(3))
    until(lambda: refused(caplog))
    assert reader.count(*RUN) == 3
    path.chmod(0o644)
    assert writer.flush(SOON)
    assert reader.count(*RUN) == 6
    assert_one_outage(caplog, "read-only")


def test_a_locked_file(
    make_writer: MakeWriter, reader: LogReader, lock: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(lock):
        writer = make_writer()
        writer.start()
        writer.put(lines(3))
        assert writer.flush(SOON)
        lock.execute("BEGIN IMMEDIATE")
        writer.put(lines(3))
        until(lambda: refused(caplog))
        assert not writer.flush(0.01)
        assert reader.count(*RUN) == 4
        lock.execute("COMMIT")
        assert writer.flush(SOON)
    assert reader.count(*RUN) == 7
    assert_one_outage(caplog, "is locked")


def test_each_outage_is_told_once(
    make_writer: MakeWriter,
    lock: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect, tries = connections._connect, []

    def counted(path: Path, writer: bool) -> sqlite3.Connection:
        tries.append(path)
        return connect(path, writer)

    monkeypatch.setattr(connections, "_connect", counted)
    writer = make_writer()
    writer.start()
    with closing(lock):
        for number in (1, 2):
            assert writer.flush(SOON)
            lock.execute("BEGIN IMMEDIATE")
            writer.put(lines(20))
            goal = len(tries) + 3
            until(lambda goal=goal: len(tries) >= goal)  # type: ignore[misc]  # bound at once
            lock.execute("COMMIT")
            assert writer.flush(SOON)
            until(lambda number=number: len(said(caplog, logging.INFO)) == number)  # type: ignore[misc]  # too
    assert len(said(caplog, logging.WARNING)) == 2


def test_a_damaged_file_is_kept_and_a_new_one_begun_once_it_is_moved(
    make_writer: MakeWriter, path: Path, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"this is no database at all" * 1000)
    writer = make_writer()
    writer.start()
    writer.put(lines(3))
    until(lambda: refused(caplog))
    path.rename(path.with_name("damaged.db"))
    assert writer.flush(SOON)
    assert reader.count(*RUN) == 3
    assert path.with_name("damaged.db").read_bytes() == b"this is no database at all" * 1000
    assert_one_outage(caplog, "is damaged")


def test_a_folder_that_is_missing_and_comes_later(
    make_writer: MakeWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "logs.db"
    writer = make_writer(path)
    writer.start()
    writer.put(lines(3))
    until(lambda: refused(caplog))
    path.parent.mkdir()
    assert writer.flush(SOON)
    assert LogReader(path).count(*RUN) == 3
    assert_one_outage(caplog, "cannot be opened")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("PRAGMA user_version = 2", "written by a newer ppacer"),
        ("CREATE TABLE tasklogs (DagId TEXT)", "of another program"),
    ],
)
def test_a_file_of_somebody_else_stays_untouched(
    make_writer: MakeWriter, path: Path, caplog: pytest.LogCaptureFixture, sql: str, words: str
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
    writer = make_writer()
    writer.start()
    writer.put(lines(3))
    until(lambda: refused(caplog))
    assert words in said(caplog, logging.WARNING)[0]
    assert not writer.close(0)
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert names == ([("tasklogs",)] if "CREATE" in sql else [])


def test_an_outage_fills_the_queue_then_drops_and_reports(
    make_writer: MakeWriter, reader: LogReader, lock: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(lock):
        lock.execute("BEGIN IMMEDIATE")
        writer = make_writer(records_max=100)
        writer.start()
        writer.put(lines(90))
        until(lambda: refused(caplog))
        writer.put(lines(50))
        assert writer.dropped == 40
        lock.execute("COMMIT")
        assert writer.flush(SOON)
    assert reader.count(*RUN, "extract", 0) == 102
    assert reader.tail(*RUN, "extract", 0, limit=1)[0].attributes == {"dropped": 40}
    assert writer.close(SOON)
    assert_one_outage(caplog, "is locked", dropped=40)


def test_a_batch_that_waited_too_long_is_given_up_and_reported(
    make_writer: MakeWriter, reader: LogReader, lock: sqlite3.Connection
) -> None:
    with closing(lock):
        lock.execute("BEGIN IMMEDIATE")
        writer = make_writer(patience=timedelta(0))
        writer.start()
        writer.put(lines(10))
        until(lambda: writer.dropped == 10)
        assert not writer.flush(0)
        writer.put([record("late")])
        lock.execute("COMMIT")
        until(lambda: reader.read(*RUN, level="WARNING"))
    [report] = reader.read(*RUN, level="WARNING")
    assert report.attributes in ({"dropped": 10}, {"dropped": 11})


def test_closing_in_an_outage_ends_in_time_and_counts(
    make_writer: MakeWriter, lock: sqlite3.Connection, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(lock):
        lock.execute("BEGIN IMMEDIATE")
        writer = make_writer()
        writer.start()
        writer.put(lines(3000))
        until(lambda: refused(caplog))
        assert not writer.close(0.05)
        until(lambda: writer.dropped == 3000)
        until(lambda: not writer._thread.is_alive())
        lock.execute("COMMIT")
    assert "3000 task log records were dropped: the writer had to end" in said(caplog, logging.WARNING)
    assert reader.count(*RUN) == 1


def test_closing_in_an_outage_that_ends_writes_everything(
    make_writer: MakeWriter, lock: sqlite3.Connection, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(lock):
        lock.execute("BEGIN IMMEDIATE")
        writer = make_writer()
        writer.start()
        writer.put(lines(3000))
        until(lambda: refused(caplog))
        lock.execute("COMMIT")
        assert writer.close(SOON)
    assert reader.count(*RUN) == 3001


def test_pauses_double_up_to_a_limit_and_start_again() -> None:
    outage = Outage(60)
    assert not outage
    pauses = [outage.failed(float(now)) for now in range(12)]
    assert outage
    assert pauses[:3] == [RETRY_SECONDS_MIN, 2 * RETRY_SECONDS_MIN, 4 * RETRY_SECONDS_MIN]
    assert pauses[-1] == RETRY_SECONDS_MAX
    assert outage.end(11.0) == 11.0
    assert outage.failed(20.0) == RETRY_SECONDS_MIN


def test_each_batch_has_its_own_time() -> None:
    outage = Outage(60)
    outage.failed(0.0)
    assert not outage.is_hopeless(59.9)
    assert outage.is_hopeless(60.0)
    assert not outage.is_hopeless(119.9)
    assert outage.is_hopeless(120.0)
