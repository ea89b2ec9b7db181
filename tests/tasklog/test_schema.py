"""The file is what users explore by hand and later versions can build on; importing costs nothing."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from ppacer.tasklog import LogWriter
from ppacer.tasklog.schema import STATEMENT_ROWS, inserts, tasklogs
from tasklog.samples import SOON, record

COLUMNS = ["DagId", "ExecTs", "TaskId", "Retry", "InsertTs", "Level", "Message", "Attributes", "LogId"]


def test_the_original_columns_come_first_and_by_their_names(writer: LogWriter, path: Path) -> None:
    writer.put([record(attributes={"a": 1})])
    assert writer.flush(SOON)
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute("SELECT * FROM tasklogs")
        assert [column[0] for column in cursor.description] == COLUMNS
        assert cursor.fetchone() == (
            "etl",
            "2024-03-11T12:00:00.000000Z",
            "extract",
            0,
            "2024-03-11T12:00:01.000000Z",
            "INFO",
            "hello",
            '{"a":1}',
            1,
        )
        [(sql,)] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'tasklogs'")
    assert '"' not in sql


def test_a_row_inserted_by_hand_gets_the_next_id(
    writer: LogWriter, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer.put([record()])
    assert writer.flush(SOON)
    columns = ", ".join(COLUMNS[:-1])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"INSERT INTO tasklogs ({columns}) SELECT {columns} FROM tasklogs")
        connection.commit()
    writer.put([record()])
    assert writer.flush(SOON)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT LogId FROM tasklogs").fetchall() == [(1,), (2,), (3,)]
    assert caplog.records == []


def test_a_new_file_is_stamped_and_in_its_modes(writer: LogWriter, path: Path) -> None:
    assert writer.flush(SOON)
    writer.put([record()])
    assert writer.flush(SOON)
    with closing(sqlite3.connect(path)) as connection:
        values = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("user_version", "journal_mode", "auto_vacuum")
        ]
    assert values == [1, "wal", 2]


def test_the_hot_statement_has_the_columns_of_the_table_in_their_order() -> None:
    row = ("etl", "exec", "extract", 0, "at", "INFO", "hello", None)
    statements = list(inserts([row] * (2 * STATEMENT_ROWS + 3), 7))
    assert [len(values) // 9 for _, values in statements] == [STATEMENT_ROWS, STATEMENT_ROWS, 2, 1]
    sql, values = statements[-1]
    assert sql == f"INSERT INTO tasklogs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * 9)})"
    assert values == [*row, 7 + 2 * STATEMENT_ROWS + 2]
    assert statements[2][0].count("(?, ") == 2


def test_the_schema_is_ready_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy does not annotate it
    table = str(CreateTable(tasklogs).compile(dialect=dialect))
    assert "ExecTs TIMESTAMP WITH TIME ZONE NOT NULL" in table
    assert "LogId BIGSERIAL NOT NULL" in table
    [index] = tasklogs.indexes
    assert '"' not in table + str(CreateIndex(index).compile(dialect=dialect))
    assert str(insert(tasklogs).compile(dialect=dialect)).startswith("INSERT INTO tasklogs (DagId, ")


def test_a_record_can_be_made_without_importing_a_database() -> None:
    code = (
        "import sys, ppacer.tasklog as t; t.LogRecord; print({'sqlalchemy', 'sqlite3'} & sys.modules.keys())"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout == b"set()\n"
