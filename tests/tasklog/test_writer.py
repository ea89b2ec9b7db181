"""What is put is committed: soon, in order, from any thread, and everybody who waits hears of it."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ppacer.errors import ConfigError
from ppacer.tasklog import LogReader, LogRow, LogWriter
from ppacer.tasklog import writer as writer_module
from ppacer.tasklog.mailbox import BATCH_BYTES, BATCH_RECORDS
from tasklog.samples import EXEC_TS, SOON, lines, record, until

MakeWriter = Callable[..., LogWriter]
RUN = ("etl", EXEC_TS)


def messages(rows: Sequence[LogRow]) -> list[str]:
    return [row.message for row in rows]


@pytest.fixture
def endless_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GATHER_SECONDS", 3600.0)


def test_a_row_is_the_record_that_was_put(writer: LogWriter, reader: LogReader) -> None:
    given = record("hé\n", attributes={"rows": 3}, level="ERROR", retry=2)
    writer.put([given])
    assert writer.flush(SOON)
    [row] = reader.read(*RUN)
    assert msgspec.structs.asdict(row) == msgspec.structs.asdict(given) | {"log_id": 1}


@pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 1025, BATCH_RECORDS, BATCH_RECORDS + 1, 7777])
def test_any_number_of_records_is_stored_in_order(writer: LogWriter, reader: LogReader, count: int) -> None:
    writer.put(lines(count))
    assert writer.flush(SOON)
    rows = reader.read(*RUN, limit=10_000)
    assert messages(rows) == [str(number) for number in range(count)]
    assert [row.log_id for row in rows] == list(range(1, count + 1))


def test_nothing_put_is_nothing_to_wait_for(writer: LogWriter, reader: LogReader) -> None:
    writer.put([])
    assert writer.flush(SOON)
    assert reader.count(*RUN) == 0


def test_records_put_before_the_start_are_written(make_writer: MakeWriter, reader: LogReader) -> None:
    writer = make_writer()
    writer.put(lines(3))
    assert not writer.flush(0)
    writer.start()
    assert writer.flush(SOON)
    assert reader.count(*RUN) == 3


@pytest.mark.usefixtures("endless_gathering")
def test_the_first_record_does_not_wait_for_others(writer: LogWriter) -> None:
    writer.put([record()])
    assert writer.wait(0, SOON) == 1


@pytest.mark.usefixtures("endless_gathering")
def test_a_full_batch_does_not_wait_for_others(writer: LogWriter) -> None:
    writer.put([record()])
    assert writer.wait(0, SOON) == 1
    writer.put(lines(BATCH_RECORDS))
    assert writer.wait(1, SOON) == 1 + BATCH_RECORDS


@pytest.mark.usefixtures("endless_gathering")
def test_a_flush_does_not_wait_for_others(writer: LogWriter, reader: LogReader) -> None:
    writer.put([record()])
    assert writer.wait(0, SOON) == 1
    writer.put(lines(2 * BATCH_RECORDS + 1))
    assert writer.flush(SOON)
    assert reader.count(*RUN) == 2 * BATCH_RECORDS + 2


@pytest.mark.usefixtures("endless_gathering")
def test_closing_does_not_wait_for_more_records(writer: LogWriter, reader: LogReader) -> None:
    writer.put([record()])
    assert writer.wait(0, SOON) == 1
    writer.put(lines(2 * BATCH_RECORDS + 1))
    assert writer.close(SOON)
    assert reader.count(*RUN) == 2 * BATCH_RECORDS + 2


def test_a_transaction_is_bounded_in_records_and_bytes(writer: LogWriter) -> None:
    commits: list[Sequence[LogRow]] = []
    writer.add_listener(commits.append)
    writer.put(lines(3 * BATCH_RECORDS))
    writer.put([record("x" * 60_000)] * 200)
    assert writer.flush(SOON)
    assert max(len(rows) for rows in commits) <= BATCH_RECORDS
    assert max(sum(len(row.message) for row in rows) for rows in commits) <= BATCH_BYTES + 60_000


def test_many_threads_lose_nothing_and_keep_the_order_of_each(writer: LogWriter, reader: LogReader) -> None:
    def work(thread: int) -> None:
        for one in lines(500, task_id=f"task_{thread}"):
            writer.put([one])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(SOON)
    assert writer.dropped == 0
    for number in range(16):
        rows = reader.read(*RUN, f"task_{number}", 0)
        assert messages(rows) == [str(n) for n in range(500)]


def test_listeners_see_what_readers_will_see(writer: LogWriter, reader: LogReader) -> None:
    seen: list[LogRow] = []
    writer.add_listener(seen.extend)
    writer.put(lines(100, attributes={"a": object}))
    writer.put(lines(100, task_id="load"))
    assert writer.flush(SOON)
    assert seen == reader.read(*RUN)


def test_a_listener_hears_nothing_after_it_was_removed(writer: LogWriter) -> None:
    one: list[LogRow] = []
    two: list[LogRow] = []
    remove = writer.add_listener(one.extend)
    writer.add_listener(two.extend)
    writer.put(lines(1))
    until(lambda: (len(one), len(two)) == (1, 1))
    remove()
    remove()
    writer.put(lines(1))
    until(lambda: len(two) == 2)
    assert len(one) == 1


def test_a_listener_that_raises_is_removed_and_harms_nobody(
    writer: LogWriter, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []
    heard: list[LogRow] = []

    def broken(rows: Sequence[LogRow]) -> None:
        called.append(len(rows))
        raise BrokenPipeError

    writer.add_listener(broken)
    writer.add_listener(heard.extend)
    for _ in range(2):
        writer.put(lines(1))
        assert writer.flush(SOON)
    assert (called, len(heard)) == ([1], 2)
    assert caplog.text.count("a listener of task logs failed") == 1


def test_waiting_ends_with_the_commit(writer: LogWriter) -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(writer.wait(0, SOON)))
    thread.start()
    writer.put([record()])
    thread.join()
    assert answers == [1]
    assert writer.wait(0, 0) == 1


def test_waiting_ends_with_the_timeout(writer: LogWriter) -> None:
    assert writer.wait(0, 0.01) == 0


def test_waiting_ends_with_the_writer(make_writer: MakeWriter) -> None:
    writer = make_writer()
    writer.start()
    thread = threading.Thread(target=writer.wait, args=(0, 3600))
    thread.start()
    writer.close(SOON)
    thread.join(SOON)
    assert not thread.is_alive()


def test_a_follower_sees_every_row_exactly_once(writer: LogWriter, reader: LogReader) -> None:
    def work() -> None:
        for one in lines(3000):
            writer.put([one])

    thread = threading.Thread(target=work)
    thread.start()
    seen: list[LogRow] = []
    while len(seen) < 3000:
        last = seen[-1].log_id if seen else 0
        assert writer.wait(last, SOON) > last
        seen += reader.read(*RUN, after=last)
    thread.join()
    assert messages(seen) == [str(number) for number in range(3000)]


def test_the_newest_id_is_known_after_a_restart(path: Path) -> None:
    with LogWriter(path) as writer:
        writer.put(lines(3))
        assert writer.flush(SOON)
    with LogWriter(path) as writer:
        assert writer.wait(0, SOON) == 3
        writer.put([record()])
        assert writer.wait(3, SOON) == 4


def test_closing_writes_what_was_put(make_writer: MakeWriter, reader: LogReader) -> None:
    writer = make_writer()
    writer.start()
    writer.put(lines(10_000))
    assert writer.close(SOON)
    assert reader.count(*RUN) == 10_000


def test_what_is_put_after_the_close_is_counted(
    make_writer: MakeWriter, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer()
    writer.start()
    assert writer.close(SOON)
    writer.put(lines(3))
    assert writer.dropped == 3
    assert writer.close(SOON)
    assert reader.count(*RUN) == 0
    assert caplog.records == []


def test_a_writer_that_never_started_can_be_closed(
    make_writer: MakeWriter, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer()
    writer.put(lines(3))
    assert not writer.close(SOON)
    assert writer.dropped == 3
    assert "3 task log records were dropped" in caplog.text
    assert not path.exists()


def test_what_has_no_room_is_dropped_counted_and_reported_per_attempt(
    make_writer: MakeWriter, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(records_max=10)
    writer.put(lines(8))
    writer.put(lines(7, task_id="load"))
    writer.put(lines(4))
    writer.start()
    assert writer.flush(SOON)
    writer.put([record("after")])
    assert writer.flush(SOON)
    assert writer.dropped == 9
    rows = reader.read(*RUN, "extract", 0)
    assert messages(rows)[:8] == [str(number) for number in range(8)]
    assert messages(rows)[9:] == ["after"]
    assert (rows[8].level, rows[8].attributes) == ("WARNING", {"dropped": 4})
    assert [row.attributes for row in reader.read(*RUN, "load", 0, level="WARNING")] == [{"dropped": 5}]
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["9 task log records were dropped: they came faster than they could be written"]


def test_what_is_no_record_is_counted(writer: LogWriter, reader: LogReader) -> None:
    writer.put([record(), None, 7])  # type: ignore[list-item]  # that is what is tested
    writer.put(None)  # type: ignore[arg-type]  # that is what is tested
    assert writer.flush(SOON)
    assert (reader.count(*RUN), writer.dropped) == (1, 3)


def test_two_writers_on_one_file_lose_nothing(
    make_writer: MakeWriter, reader: LogReader, caplog: pytest.LogCaptureFixture
) -> None:
    writers = [make_writer(), make_writer()]
    for number, writer in enumerate(writers):
        writer.start()
        for one in lines(300, task_id=f"task_{number}"):
            writer.put([one])
    for writer in writers:
        assert writer.flush(SOON)
    rows = reader.read(*RUN)
    assert len({row.log_id for row in rows}) == len(rows) == 600
    for number in range(2):
        assert messages(reader.read(*RUN, f"task_{number}")) == [str(n) for n in range(300)]
    assert caplog.records == []


@pytest.mark.parametrize("action", ["remove", "move"])
def test_a_file_taken_away_is_begun_anew_and_ids_go_on(
    writer: LogWriter, reader: LogReader, path: Path, action: str
) -> None:
    writer.put(lines(3))
    assert writer.flush(SOON)
    if action == "remove":
        path.unlink()
    else:
        path.rename(path.with_name("old.db"))
    writer.put([record("next")])
    assert writer.flush(SOON)
    [row] = reader.read(*RUN)
    assert (row.message, row.log_id) == ("next", 4)


@pytest.mark.parametrize("form", [str, lambda path: path, lambda path: f"sqlite:///{path}"])
def test_a_path_or_an_url_names_the_file(path: Path, form: Callable[[Path], Any]) -> None:
    with LogWriter(form(path)) as writer:
        writer.put([record()])
        assert writer.flush(SOON)
    assert LogReader(form(path)).count(*RUN) == 1


@pytest.mark.parametrize(
    "name", ["with space.db", "percent%20.db", "question?mode=ro.db", "hash#.db", "ü.db"]
)
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    with LogWriter(tmp_path / name) as writer:
        writer.put([record()])
        assert writer.flush(SOON)
    assert (tmp_path / name).exists()
    assert LogReader(tmp_path / name).count(*RUN) == 1


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "://"])
def test_what_is_no_file_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError):
        LogWriter(url)


def test_after_a_flush_the_listeners_have_heard_all(writer: LogWriter) -> None:
    heard: list[LogRow] = []
    asked, go_on = threading.Event(), threading.Event()

    def dawdle(rows: Sequence[LogRow]) -> None:
        asked.set()
        assert go_on.wait(SOON)
        heard.extend(rows)

    writer.add_listener(dawdle)
    writer.put([record()])
    assert asked.wait(SOON)
    assert not writer.flush(0.01)
    go_on.set()
    assert writer.flush(SOON)
    assert messages(heard) == ["hello"]
