"""Pages, tails and counts tell what was committed, in order, at a cost that an index bounds."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ppacer.errors import ConfigError, StoreError, StoreUnavailable
from ppacer.tasklog import LEVELS, LogReader, LogRow, LogWriter
from ppacer.tasklog.reader import LIMIT_MAX, TEXT_MAX
from tasklog.samples import EXEC_TS, SOON, lines, record

RUN = ("etl", EXEC_TS)


@pytest.fixture
def filled(writer: LogWriter, reader: LogReader) -> LogReader:
    """Three lines each of three attempts, one of another task, another run and another dag."""
    for retry in range(3):
        writer.put(lines(3, retry=retry))
    writer.put(lines(3, task_id="load"))
    writer.put(lines(3, exec_ts=EXEC_TS + timedelta(microseconds=1)))
    writer.put(lines(3, dag_id="etl2"))
    assert writer.flush(SOON)
    return reader


@pytest.mark.slow
def test_a_long_attempt_is_read_page_by_page_in_order(writer: LogWriter, reader: LogReader) -> None:
    total, seen = 200_000, 0
    records = lines(total)
    for start in range(0, total, 500):
        writer.put(records[start : start + 500])
        writer.put(lines(50, task_id="load"))
        if start % 50_000 == 0:
            assert writer.flush(SOON)
    assert writer.flush(60)
    assert writer.dropped == 0
    after = 0
    while rows := reader.read(*RUN, "extract", 0, after=after, limit=5000):
        assert [row.message for row in rows] == [str(seen + n) for n in range(len(rows))]
        assert all(row.task_id == "extract" for row in rows)
        assert [row.log_id for row in rows] == sorted(row.log_id for row in rows)
        seen += len(rows)
        after = rows[-1].log_id
    assert seen == reader.count(*RUN, "extract", 0) == total
    assert reader.count(*RUN) == total + total // 10


@pytest.mark.parametrize(
    ("narrowed", "count"),
    [((), 12), (("extract",), 9), (("extract", 1), 3), (("extract", 9), 0), (("x",), 0)],
)
def test_run_task_and_attempt_narrow(filled: LogReader, narrowed: tuple[Any, ...], count: int) -> None:
    rows = filled.read(*RUN, *narrowed)
    assert len(rows) == filled.count(*RUN, *narrowed) == count
    assert rows == filled.tail(*RUN, *narrowed)
    assert {(row.dag_id, row.exec_ts) for row in rows} <= {RUN}
    assert {(row.task_id, row.retry)[: len(narrowed)] for row in rows} <= {narrowed}


def test_a_page_begins_after_an_id_and_has_a_limit(filled: LogReader) -> None:
    everything = filled.read(*RUN)
    assert filled.read(*RUN, after=4, limit=3) == everything[4:7]
    assert filled.read(*RUN, after=everything[-1].log_id) == []


def test_the_tail_is_the_end_in_order(filled: LogReader) -> None:
    everything = filled.read(*RUN)
    assert filled.tail(*RUN, limit=4) == everything[-4:]
    assert filled.tail(*RUN, "extract", 0, limit=2) == everything[1:3]


def test_pages_backwards_meet_without_gap_or_double(filled: LogReader) -> None:
    everything, seen = filled.read(*RUN), list[LogRow]()
    while rows := filled.tail(*RUN, before=seen[0].log_id if seen else None, limit=5):
        seen = [*rows, *seen]
    assert seen == everything
    assert filled.tail(*RUN, before=everything[0].log_id) == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_means_it_and_graver_ones(writer: LogWriter, reader: LogReader, level: str) -> None:
    writer.put([record(one, level=one) for one in reversed(LEVELS)])
    assert writer.flush(SOON)
    expected = set(LEVELS[LEVELS.index(level) :])
    assert {row.message for row in reader.read(*RUN, level=level)} == expected
    assert {row.message for row in reader.tail(*RUN, level=level)} == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("50%", {"got 50% of it"}),
        ("0%", {"got 50% of it", "100%"}),
        ("_", {"a_b"}),
        ("/", {"a/b"}),
        ("\\", {"C:\\x", r"nul \x00 in it", r"\udcff alone"}),
        ("GOT", {"got 50% of it"}),
        ("żółw", {"a żółw"}),
        ("\0", {r"nul \x00 in it"}),
        ("in it", {r"nul \x00 in it"}),
        ("\udcff", {r"\udcff alone"}),
        ("it'; DROP", set()),
        ("", {"got 50% of it", "100%", "a_b", "a/b", "C:\\x", "a żółw", r"nul \x00 in it", r"\udcff alone"}),
    ],
)
def test_a_text_is_found_as_it_is(writer: LogWriter, reader: LogReader, text: str, found: set[str]) -> None:
    messages = ["got 50% of it", "100%", "a_b", "a/b", "C:\\x", "a żółw", "nul \0 in it", "\udcff alone"]
    writer.put([record(message) for message in messages])
    assert writer.flush(SOON)
    assert {row.message for row in reader.read(*RUN, text=text)} == found


def test_the_longest_text_can_be_searched_for(writer: LogWriter, reader: LogReader) -> None:
    writer.put([record("%" * TEXT_MAX)])
    assert writer.flush(SOON)
    assert len(reader.read(*RUN, text="%" * TEXT_MAX)) == 1
    with pytest.raises(ConfigError, match="1001 characters"):
        reader.read(*RUN, text="%" * (TEXT_MAX + 1))


@pytest.mark.parametrize("limit", [0, -1, LIMIT_MAX + 1])
def test_a_page_without_bounds_is_refused(filled: LogReader, limit: int) -> None:
    with pytest.raises(ConfigError, match="1 to 10000 rows"):
        filled.read(*RUN, limit=limit)
    with pytest.raises(ConfigError):
        filled.tail(*RUN, limit=limit)
    assert len(filled.read(*RUN, limit=LIMIT_MAX)) == 12


def test_an_unknown_level_is_refused_by_name(filled: LogReader) -> None:
    with pytest.raises(ConfigError, match="no log level 'LOUD'; choose one of DEBUG, INFO"):
        filled.read(*RUN, level="LOUD")


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.read(*RUN, after=5),
        lambda r: r.read(*RUN, "extract"),
        lambda r: r.read(*RUN, "extract", 1, after=5, level="WARNING", text="x"),
        lambda r: r.tail(*RUN),
        lambda r: r.tail(*RUN, before=5),
        lambda r: r.tail(*RUN, "extract", 1),
        lambda r: r.count(*RUN),
        lambda r: r.count(*RUN, "extract", 1),
    ],
)
def test_every_question_is_answered_from_the_index_without_sorting(
    filled: LogReader, path: Path, ask: Callable[[LogReader], object]
) -> None:
    asked: list[tuple[str, Any]] = []

    def listen(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    event.listen(filled._engine, "before_cursor_execute", listen)
    ask(filled)
    [(statement, parameters)] = [one for one in asked if "PRAGMA" not in one[0]]
    with closing(sqlite3.connect(path)) as connection:
        plan = " ".join(
            str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        )
    assert "INDEX tasklogs_run (DagId=? AND ExecTs=?" in plan
    assert "TEMP B-TREE" not in plan


def test_without_a_file_there_are_no_rows_and_none_is_made(reader: LogReader, path: Path) -> None:
    assert reader.read(*RUN) == reader.tail(*RUN) == []
    assert reader.count(*RUN) == reader.newest_id() == 0
    assert not path.exists()


def test_an_empty_file_has_no_rows(reader: LogReader, path: Path) -> None:
    path.touch()
    assert reader.read(*RUN) == []
    assert (reader.count(*RUN), reader.newest_id()) == (0, 0)


def test_the_newest_id_is_the_last_row_of_all(filled: LogReader) -> None:
    assert filled.newest_id() == 18


def test_a_file_that_is_no_database_is_said_to_be_damaged(reader: LogReader, path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match=r"task logs cannot be read: .*logs\.db is damaged"):
        reader.read(*RUN)


def test_a_file_of_a_newer_ppacer_is_refused(reader: LogReader, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="newer ppacer"):
        reader.count(*RUN)


def test_a_reader_cannot_write(filled: LogReader) -> None:
    with filled._engine.connect() as connection, pytest.raises(Exception, match=r"readonly|read-only"):
        connection.exec_driver_sql("DELETE FROM tasklogs")


def test_a_long_read_does_not_stop_the_writer(filled: LogReader, writer: LogWriter, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM tasklogs").fetchone()
        writer.put(lines(3000))
        assert writer.flush(SOON)
        assert connection.execute("SELECT count(*) FROM tasklogs").fetchone() == before
    assert filled.count(*RUN) == 3012
