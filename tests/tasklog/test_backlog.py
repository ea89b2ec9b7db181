"""Every record that is offered is written or counted as lost, whatever happens in between."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.tasklog.backlog import ATTEMPTS_MAX, Backlog, Batch, reports_of
from ppacer.tasklog.mailbox import BATCH_RECORDS, REPORT_SECONDS, Mailbox
from ppacer.tasklog.records import Entry, entries_of
from tasklog.samples import lines, record

NOW = datetime(2024, 3, 11, 13, tzinfo=UTC)
BIG = 1 << 40


def entries(count: int, **fields: Any) -> list[Entry]:
    return entries_of(lines(count, **fields))[0]


def messages(batch: Batch | None) -> list[str]:
    assert batch is not None
    return [row[6] for row in batch.rows]


def test_the_limit_is_taken_and_one_past_it_is_dropped() -> None:
    backlog = Backlog(3, BIG)
    backlog.offer(entries(3))
    assert (backlog.accepted, backlog.dropped) == (3, 0)
    backlog.offer(entries(1))
    assert (backlog.accepted, backlog.dropped) == (3, 1)


def test_the_newest_of_too_many_are_dropped() -> None:
    backlog = Backlog(3, BIG)
    backlog.offer(entries(5))
    assert messages(backlog.take(10, BIG)) == ["0", "1", "2"]


def test_bytes_are_bounded_too() -> None:
    [entry] = entries(1)
    backlog = Backlog(100, 2 * entry[1])
    backlog.offer([entry] * 3)
    assert (backlog.accepted, backlog.dropped) == (2, 1)
    batch = backlog.take(100, BIG)
    assert batch is not None
    backlog.settle(batch)
    backlog.offer([entry] * 2)
    assert (backlog.accepted, backlog.dropped) == (4, 1)


def test_a_batch_needs_its_room_until_it_is_settled() -> None:
    backlog = Backlog(3, BIG)
    backlog.offer(entries(3))
    batch = backlog.take(3, BIG)
    assert batch is not None
    backlog.offer(entries(1))
    assert backlog.dropped == 1
    backlog.settle(batch)
    backlog.offer(entries(3))
    assert backlog.dropped == 1


def test_a_batch_is_bounded_in_records_and_bytes() -> None:
    backlog = Backlog(100, BIG)
    backlog.offer(entries(9))
    assert messages(backlog.take(4, BIG)) == ["0", "1", "2", "3"]
    assert messages(backlog.take(100, 1)) == ["4"]
    assert messages(backlog.take(100, BIG)) == ["5", "6", "7", "8"]
    assert backlog.take(100, BIG) is None


def test_losses_are_reported_once_the_queue_is_empty() -> None:
    backlog = Backlog(2, BIG)
    backlog.offer(entries(5) + entries(2, task_id="load"))
    first = backlog.take(1, BIG)
    assert first is not None
    assert first.drops == {}
    second = backlog.take(1, BIG)
    assert second is not None
    assert {attempt[2]: drops.count for attempt, drops in second.drops.items()} == {"extract": 3, "load": 2}


def test_a_report_names_attempt_number_and_time() -> None:
    backlog = Backlog(0, BIG)
    backlog.offer(entries(3) + entries(1, task_id="load"))
    batch = backlog.take(1, BIG)
    assert batch is not None
    several, single = reports_of(batch.drops, NOW)
    assert several[:6] == (
        "etl",
        "2024-03-11T12:00:00.000000Z",
        "extract",
        0,
        "2024-03-11T13:00:00.000000Z",
        "WARNING",
    )
    assert several[6].startswith(
        "3 log records were dropped between 2024-03-11T12:00:01.000000Z and 2024-03-11T12:0"
    )
    assert several[7] == '{"dropped":3}'
    assert single[6].startswith("1 log record was dropped at 2024-03-11T12:00:01.000000Z")


def test_losses_of_too_many_attempts_are_still_counted() -> None:
    backlog = Backlog(0, BIG)
    backlog.offer(entries_of([record(retry=retry) for retry in range(ATTEMPTS_MAX + 1)])[0])
    assert len(backlog.drops) == ATTEMPTS_MAX
    assert backlog.dropped == ATTEMPTS_MAX + 1


def test_a_batch_given_up_loses_its_rows_but_not_its_reports() -> None:
    backlog = Backlog(2, BIG)
    backlog.offer(entries(5))
    batch = backlog.take(9, BIG)
    assert batch is not None
    backlog.offer(entries(1))
    backlog.give_up(batch)
    [drops] = backlog.drops.values()
    assert drops.count == backlog.dropped == 6
    assert (drops.first < drops.last, backlog.given_up) == (True, 2)


def test_a_pause_ends_with_the_work_it_waits_for() -> None:
    mailbox = Mailbox(10, BIG)
    assert mailbox.ends_pause(None, gather=True) == 1
    assert mailbox.ends_pause(0.05, gather=True) == BATCH_RECORDS
    assert mailbox.ends_pause(0.05, gather=False) > BATCH_RECORDS
    mailbox.close()
    assert mailbox.ends_pause(0.05, gather=True) == 1
    assert mailbox.ends_pause(0.05, gather=False) > BATCH_RECORDS


def test_while_the_queue_never_empties_losses_are_reported_now_and_then() -> None:
    mailbox = Mailbox(3000, BIG)
    mailbox.put(entries(4000), 0)
    reported = []
    for now in (0.0, REPORT_SECONDS - 0.1, REPORT_SECONDS):
        batch = mailbox.take(now)
        assert batch is not None
        reported.append(sum(drops.count for drops in batch.drops.values()))
        mailbox.settle(batch, 1)
        mailbox.put(entries(3000), 0)
    assert reported[:2] == [0, 0]
    assert reported[2] > 1000


OPERATION = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, 8), st.integers(0, 2)),
    st.tuples(st.just("take"), st.integers(1, 5), st.booleans()),
    st.tuples(st.sampled_from(["settle", "give_up", "refuse", "abandon"]), st.integers(0, 3), st.just(0)),
)


@given(st.lists(OPERATION, max_size=40), st.integers(0, 12))
def test_every_record_is_written_or_counted(operations: list[tuple[str, int, int]], limit: int) -> None:
    backlog, batch = Backlog(limit, BIG), None
    offered = written = reported = 0
    for name, count, extra in operations:
        if name == "offer":
            offered += count
            backlog.offer(entries(count, retry=extra))
        elif name == "refuse":
            offered += count
            backlog.refuse(entries(count))
        elif name == "abandon":
            backlog.abandon()
        elif name == "take" and batch is None:
            batch = backlog.take(count, BIG, report=bool(extra))
        elif name == "settle" and batch is not None:
            written += len(batch.rows)
            reported += sum(drops.count for drops in batch.drops.values())
            backlog.settle(batch)
            batch = None
        elif name == "give_up" and batch is not None:
            backlog.give_up(batch)
            batch = None
        held = backlog.accepted - backlog.settled
        unreported = sum(drops.count for drops in (backlog.drops | (batch.drops if batch else {})).values())
        assert 0 <= held <= limit
        assert offered == written + held + backlog.dropped
        if batch is None:
            assert reported + unreported == backlog.dropped
            assert backlog.pending == held + len(backlog.drops)


@pytest.mark.parametrize("given_up", [True, False])
def test_a_loss_is_unsettled_until_its_report_is_committed(given_up: bool) -> None:
    backlog = Backlog(0, BIG)
    backlog.offer(entries(1))
    assert not backlog.is_settled(0)
    batch = backlog.take(1, BIG)
    assert batch is not None
    assert not backlog.is_settled(0)
    (backlog.give_up if given_up else backlog.settle)(batch)
    assert backlog.is_settled(0) is not given_up
