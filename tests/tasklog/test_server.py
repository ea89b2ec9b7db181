"""Task logs on a server: it may be away, and for a moment two may write."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from postgresql.server import Server
from ppacer.errors import StoreError, StoreUnavailable
from ppacer.store import Store
from ppacer.store.database import make_url
from ppacer.tasklog import LogReader, LogWriter, server
from ppacer.tasklog.server import LogTable
from tasklog.samples import EXEC_TS, SOON, lines, record, until

RUN = ("etl", EXEC_TS)


@pytest.fixture
def url(postgresql: Server) -> Iterator[str]:
    url = postgresql.empty()
    yield url
    postgresql.drop(url)


@pytest.fixture
def logs(url: str) -> Iterator[LogReader]:
    logs = LogReader(url)
    yield logs
    logs.close()


@pytest.fixture
def writes(url: str) -> Iterator[LogWriter]:
    with LogWriter(url) as writer:
        yield writer


def test_before_anything_was_written_there_is_nothing(logs: LogReader) -> None:
    assert (logs.read(*RUN), logs.newest_id(), logs.bytes()) == ([], 0, None)


def test_what_is_said_while_the_server_is_away_is_written_when_it_is_back(
    postgresql: Server, writes: LogWriter, logs: LogReader
) -> None:
    writes.put(lines(3))
    assert writes.flush(SOON)
    with postgresql.away():
        writes.put([record("meanwhile")])
        until(lambda: writes.trouble)
        assert "\n" not in str(writes.trouble)
        with pytest.raises(StoreUnavailable, match="task logs cannot be read"):
            logs.read(*RUN)
    until(lambda: writes.flush(1.0))
    assert [row.message for row in logs.read(*RUN)] == ["0", "1", "2", "meanwhile"]
    assert (writes.trouble, writes.dropped) == (None, 0)


def test_two_writers_never_give_the_same_number(url: str, writes: LogWriter, logs: LogReader) -> None:
    with LogWriter(url) as other:
        for number in range(20):
            writes.put([record(f"a{number}")])
            other.put([record(f"b{number}")])
            assert writes.flush(SOON)
        assert other.flush(SOON)
    rows = logs.read(*RUN)
    assert [row.log_id for row in rows] == list(range(1, 41))
    assert [row.message for row in rows if row.message[0] == "b"] == [f"b{n}" for n in range(20)]


def test_a_program_that_was_stopped_in_a_transaction_holds_nobody_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads no more, perhaps for hours; without a limit it would keep the lock all the time."""
    assert "idle_in_transaction_session_timeout = '5s'" in server.WRITES
    monkeypatch.setattr(server, "WRITES", ("idle_in_transaction_session_timeout = '100ms'",))
    frozen = LogTable(make_url(url))
    numbering = frozen._numbering()
    numbering.__enter__()
    with LogWriter(url) as other:
        other.put(lines(1))
        assert other.flush(SOON)
    frozen.close()


def test_what_is_too_much_goes_though_the_table_stays_as_large(writes: LogWriter, logs: LogReader) -> None:
    for start in range(0, 4000, 500):
        writes.put([record("x" * 1000, number) for number in range(start, start + 500)])
    assert writes.flush(SOON)
    size = logs.bytes()
    assert size is not None
    while writes.prune(bytes_max=size // 4):
        pass
    assert 800 < logs.count(*RUN) < 1600
    assert writes.prune(bytes_max=size) == 0


def test_they_live_beside_the_other_tables(url: str, writes: LogWriter, logs: LogReader) -> None:
    writes.put(lines(1))
    assert writes.flush(SOON)
    Store(url).close()
    assert logs.count(*RUN) == 1


def test_holes_that_deleted_runs_have_left_do_not_count(writes: LogWriter, logs: LogReader) -> None:
    other = EXEC_TS + timedelta(days=1)
    for start in range(0, 4000, 500):
        numbers = range(start, start + 500)
        writes.put([record("x" * 1000, n, exec_ts=other if n % 2 else EXEC_TS) for n in numbers])
    assert writes.flush(SOON)
    size = logs.bytes()
    assert size is not None
    while writes.forget("etl", [other]):
        pass
    kept = logs.count(*RUN)
    while writes.prune(bytes_max=size // 4 * 3):
        pass
    assert logs.count(*RUN) == kept == 2000  # they fit; by their numbers they would be twice as many
    while writes.prune(bytes_max=size // 4):
        pass
    assert 800 < logs.count(*RUN) < 1200


def test_a_table_of_a_newer_ppacer_is_refused(url: str, logs: LogReader, writes: LogWriter) -> None:
    writes.put(lines(1))
    assert writes.flush(SOON)
    with psycopg.connect(url) as connection:
        connection.execute("COMMENT ON TABLE tasklogs IS 'task logs of ppacer, layout 2'")
    with pytest.raises(StoreError, match="newer ppacer"):
        logs.count(*RUN)


def test_a_password_is_never_shown(postgresql: Server) -> None:
    url = f"postgresql://ppacer:s3cret@127.0.0.1:{postgresql.port}/nothing"
    logs = LogReader(url)
    with pytest.raises(StoreUnavailable) as error:
        logs.read(*RUN)
    assert "s3cret" not in str(error.value)
    with LogWriter(url) as writer:
        until(lambda: writer.trouble)
        assert "s3cret" not in str(writer.trouble)
    logs.close()
