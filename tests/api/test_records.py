"""Log records on their way to the scheduler."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ppacer.api import records as module
from ppacer.api.records import RecordSender
from ppacer.errors import NotTakenError, SchedulerUnavailable
from ppacer.tasklog import LogRecord

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(message: str, attributes: dict[str, Any] | None = None) -> LogRecord:
    return LogRecord("d", AT, "t", 0, AT, "INFO", message, attributes)


class Scheduler:
    """Takes batches, unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.most = 1_000_000  # records that are taken at once
        self.hated = "nothing"  # a word that is never taken
        self.batches: list[tuple[int, list[str]]] = []
        self.tries: list[int] = []

    def send(self, records: Sequence[LogRecord], number: int) -> None:
        msgspec.json.encode(list(records))
        self.tries.append(number)
        if self.is_away:
            raise SchedulerUnavailable("away")
        if len(records) > self.most or any(record.message == self.hated for record in records):
            raise NotTakenError("413")
        self.batches.append((number, [record.message for record in records]))

    @property
    def messages(self) -> list[str]:
        return [message for _, messages in self.batches for message in messages]


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def sender(scheduler: Scheduler) -> Iterator[RecordSender]:
    sender = RecordSender(scheduler.send)
    yield sender
    scheduler.is_away = False
    sender.close()


def test_a_flush_sends_all_that_was_said_before_in_order(scheduler: Scheduler, sender: RecordSender) -> None:
    for number in range(5_000):
        sender.put([record(str(number))])
    sender.flush()
    assert scheduler.messages == [str(number) for number in range(5_000)]


def test_a_batch_that_is_sent_again_keeps_its_number(scheduler: Scheduler, sender: RecordSender) -> None:
    scheduler.is_away = True
    sender.put([record("a")])
    with pytest.raises(SchedulerUnavailable):
        sender.flush()
    sender.put([record("b")])
    scheduler.is_away = False
    sender.flush()
    assert scheduler.batches == [(1, ["a"]), (2, ["b"])]
    assert set(scheduler.tries) == {1, 2}


def test_nobody_waits_for_a_flush_when_nothing_was_said(scheduler: Scheduler, sender: RecordSender) -> None:
    sender.flush()
    assert scheduler.tries == []


def test_what_does_not_fit_is_dropped_with_a_note(
    scheduler: Scheduler, sender: RecordSender, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "BUFFER_BYTES_MAX", 10 * module.RECORD_BYTES)
    scheduler.is_away = True
    for _ in range(50):
        sender.put([record("x" * module.RECORD_BYTES)])
    scheduler.is_away = False
    sender.flush()
    assert len(scheduler.messages) < 20
    assert "records are missing here" in scheduler.messages[-1]


def test_what_json_has_no_word_for_is_made_plain(scheduler: Scheduler, sender: RecordSender) -> None:
    sender.put([record("half \udc80"), record("huge", {"number": 2**70}), record("whole")])
    sender.flush()
    assert scheduler.messages == ["half \\udc80", "huge", "whole"]


def test_the_thread_sends_by_itself_and_ends(scheduler: Scheduler) -> None:
    before = threading.active_count()
    sender = RecordSender(scheduler.send)
    sender.put([record("a")])
    sender.close()
    assert scheduler.messages == ["a"]
    assert threading.active_count() == before


def test_what_is_too_much_at_once_is_sent_in_parts(scheduler: Scheduler, sender: RecordSender) -> None:
    scheduler.most = 7
    sender.put([record(str(number)) for number in range(100)])
    sender.flush()
    assert scheduler.messages == [str(number) for number in range(100)]
    numbers = [number for number, _ in scheduler.batches]
    assert numbers == sorted(set(numbers))  # or the scheduler would take one for a repetition


def test_a_record_that_is_never_taken_leaves_a_note_and_blocks_nothing(
    scheduler: Scheduler, sender: RecordSender
) -> None:
    scheduler.hated = "5"
    sender.put([record(str(number)) for number in range(10)])
    sender.flush()
    assert scheduler.messages[:-1] == [str(number) for number in range(10) if number != 5]
    assert scheduler.messages[-1].startswith("1 record is missing here")


def test_a_flush_sends_also_what_came_behind_a_batch_that_failed(
    scheduler: Scheduler, sender: RecordSender
) -> None:
    scheduler.is_away = True
    sender.put([record(str(number)) for number in range(10)])
    with pytest.raises(SchedulerUnavailable):
        sender.flush()
    sender.put([record("behind")])
    scheduler.is_away = False
    sender.flush()
    assert scheduler.messages[-1] == "behind"


def test_a_scheduler_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
    hangs, go_on = threading.Event(), threading.Event()

    def send(records: Sequence[LogRecord], number: int) -> None:
        hangs.set()
        go_on.wait(60.0)

    sender = RecordSender(send)
    sender.put([record("a")])
    assert hangs.wait(60.0)
    closing = threading.Thread(target=sender.close, daemon=True)
    closing.start()
    closing.join(30.0)
    is_closed = not closing.is_alive()
    go_on.set()
    assert is_closed
