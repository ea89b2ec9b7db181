"""The logs of runs that are deleted go with them, a bounded number of rows at a time."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from ppacer.errors import StoreUnavailable
from ppacer.tasklog import LogReader, LogWriter
from tasklog.samples import EXEC_TS, SOON, record

RUNS = [EXEC_TS + timedelta(hours=n) for n in range(4)]


def fill(writer: LogWriter, rows: int = 10) -> None:
    """So many rows of each run, mixed, of two dags."""
    for n in range(rows):
        writer.put([record(str(n), dag_id=dag, exec_ts=run) for run in RUNS for dag in ("etl", "other")])
    assert writer.flush(SOON)


def left(reader: LogReader, dag_id: str = "etl") -> list[int]:
    return [len(reader.read(dag_id, run, limit=1000)) for run in RUNS]


def test_the_rows_of_these_runs_go_and_no_others(writer: LogWriter, reader: LogReader) -> None:
    fill(writer)
    assert writer.forget("etl", RUNS[1:3]) == 20
    assert left(reader) == [10, 0, 0, 10]
    assert left(reader, "other") == [10, 10, 10, 10]
    assert writer.forget("etl", RUNS[1:3]) == 0
    assert writer.forget("etl", []) == 0


def test_one_call_takes_at_most_one_batch(writer: LogWriter, reader: LogReader) -> None:
    fill(writer)
    assert [writer.forget("etl", RUNS, batch=15) for _ in range(4)] == [15, 15, 10, 0]
    assert left(reader) == [0, 0, 0, 0]


def test_the_newest_row_stays_so_that_ids_never_repeat(writer: LogWriter, reader: LogReader) -> None:
    fill(writer, 1)
    assert writer.forget("other", RUNS) == 3
    assert left(reader, "other") == [0, 0, 0, 1]


def test_it_needs_a_running_writer(make_writer: Callable[..., LogWriter]) -> None:
    with pytest.raises(StoreUnavailable, match="no writer"):
        make_writer().forget("etl", RUNS)
