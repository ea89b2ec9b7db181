"""Pruning takes the oldest, a bounded number at a time, and never the newest."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from ppacer.errors import StoreUnavailable
from ppacer.tasklog import LogReader, LogWriter, connections
from tasklog.samples import AT, EXEC_TS, SOON, record

RUN = ("etl", EXEC_TS)
LATER = AT + timedelta(days=1)


def used_bytes(path: Path) -> int:
    """Bytes of the pages that hold something."""
    with closing(sqlite3.connect(path)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def fill(writer: LogWriter, count: int, size: int = 0) -> None:
    writer.put([record(f"{number} " + "x" * size, number) for number in range(count)])
    assert writer.flush(SOON)


def kept(reader: LogReader) -> list[int]:
    return [int(row.message.split()[0]) for row in reader.read(*RUN, limit=10_000)]


def test_what_is_older_goes_and_the_rest_stays(writer: LogWriter, reader: LogReader) -> None:
    fill(writer, 100)
    assert writer.prune(before=AT + timedelta(microseconds=40)) == 40
    assert kept(reader) == list(range(40, 100))
    assert writer.prune(before=AT + timedelta(microseconds=40)) == 0


def test_one_call_takes_at_most_one_batch(writer: LogWriter, reader: LogReader) -> None:
    fill(writer, 100)
    counts = [writer.prune(before=LATER, batch=40) for _ in range(4)]
    assert counts == [40, 40, 19, 0]
    assert kept(reader) == [99]


def test_a_batch_of_one_ends_too(writer: LogWriter, reader: LogReader) -> None:
    fill(writer, 4)
    assert [writer.prune(before=LATER, bytes_max=0, batch=1) for _ in range(4)] == [1, 1, 1, 0]
    assert kept(reader) == [3]


def test_the_newest_row_always_stays_so_that_ids_never_repeat(path: Path, reader: LogReader) -> None:
    with LogWriter(path) as writer:
        fill(writer, 10)
        assert writer.prune(before=LATER, bytes_max=0) == 9
        assert writer.prune(before=LATER, bytes_max=0) == 0
    with LogWriter(path) as writer:
        writer.put([record("next")])
        assert writer.wait(10, SOON) == 11
    assert [row.log_id for row in reader.read(*RUN)] == [10, 11]


def test_pruning_an_empty_table_takes_nothing(writer: LogWriter) -> None:
    assert writer.prune(before=LATER, bytes_max=0) == 0


def test_what_exceeds_the_bytes_goes_oldest_first(writer: LogWriter, reader: LogReader, path: Path) -> None:
    fill(writer, 4000, size=1000)
    before = used_bytes(path)
    calls = 0
    while (deleted := writer.prune(bytes_max=before // 2, batch=500)) > 0:
        assert deleted <= 500
        calls += 1
    assert before // 4 < used_bytes(path) <= before // 2
    assert calls >= 4
    left = kept(reader)
    assert left == list(range(left[0], 4000))


def test_one_call_does_not_take_far_too_much(writer: LogWriter, path: Path) -> None:
    fill(writer, 4000, size=1000)
    before = used_bytes(path)
    assert 1500 < writer.prune(bytes_max=before // 2) < 2500
    assert before // 3 < used_bytes(path) < before * 2 // 3


def test_rows_within_the_bytes_stay(writer: LogWriter, path: Path) -> None:
    fill(writer, 1000, size=100)
    assert writer.prune(bytes_max=used_bytes(path) + 1) == 0


def test_free_pages_are_used_again(writer: LogWriter, path: Path) -> None:
    def size() -> int:
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("PRAGMA page_count").fetchone()[0])

    fill(writer, 3000, size=200)
    full = size()
    for _ in range(3):
        writer.prune(before=LATER)
        fill(writer, 3000, size=200)
    assert size() <= full * 1.05


def test_a_file_far_too_large_shrinks_a_little_with_each_call(writer: LogWriter, path: Path) -> None:
    fill(writer, 20_000, size=1000)
    sizes = []
    for _ in range(8):
        writer.prune(before=LATER, batch=20_000)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            sizes.append(connection.execute("PRAGMA page_count").fetchone()[0])
    assert sizes == sorted(sizes, reverse=True)
    assert all(left - right <= 1100 for left, right in pairwise(sizes))
    assert sizes[-1] < sizes[0] / 2 < 5000


def test_a_wrong_clock_of_a_task_costs_only_its_own_rows(writer: LogWriter, reader: LogReader) -> None:
    writer.put(
        [record("0", at=AT + timedelta(days=999)), record("1"), record("2", at=AT - timedelta(days=999))]
    )
    writer.put([record("3", at=LATER), record("4", at=LATER)])
    assert writer.flush(SOON)
    assert writer.prune(before=LATER) == 2
    assert kept(reader) == [0, 3, 4]


def test_pruning_needs_a_running_writer(make_writer: Callable[..., LogWriter]) -> None:
    writer = make_writer()
    with pytest.raises(StoreUnavailable, match="no writer"):
        writer.prune(before=LATER)
    writer.start()
    assert writer.prune(before=LATER) == 0
    writer.close(SOON)
    with pytest.raises(StoreUnavailable, match="no writer"):
        writer.prune(before=LATER)


def test_a_database_that_refuses_is_said_so_and_the_writer_goes_on(
    make_writer: Callable[..., LogWriter], reader: LogReader, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.01)
    writer = make_writer()
    writer.start()
    fill(writer, 10)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            writer.prune(before=LATER)
        writer.put([record("10")])
        connection.execute("COMMIT")
    assert writer.flush(SOON)
    assert kept(reader) == list(range(11))
    assert writer.prune(before=LATER) == 10


def test_a_writer_that_is_busy_is_not_waited_for(writer: LogWriter, reader: LogReader) -> None:
    busy, go_on = threading.Event(), threading.Event()
    fill(writer, 10)

    def dawdle(_rows: object) -> None:
        busy.set()
        go_on.wait(SOON)

    writer.add_listener(dawdle)
    writer.put([record("10")])
    assert busy.wait(SOON)
    with pytest.raises(StoreUnavailable, match=r"could not be pruned within 0\.01 s"):
        writer.prune(before=LATER, timeout=0.01)
    go_on.set()
    assert writer.flush(SOON)
    assert writer.prune(before=AT) == 0
    assert kept(reader) == list(range(11))
