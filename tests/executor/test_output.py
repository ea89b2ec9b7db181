"""Bytes become records: whole lines, nothing lost below the limits, bounded above."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executor.world import EXEC_TS, grant, messages
from ppacer.executor.output import LINE_BYTES, Output
from ppacer.tasklog import LogRecord


class Log:
    """An output whose records are kept."""

    def __init__(self, **limits: int) -> None:
        self.records: list[LogRecord] = []
        self.output = Output(grant("a"), self.records.extend, **limits)

    def feed(self, *pieces: bytes, stream: Any = "stdout") -> "Log":
        for piece in pieces:
            self.output.feed(stream, piece, EXEC_TS)
        return self

    def finish(self) -> list[LogRecord]:
        for batch in self.output.finish(EXEC_TS):
            self.records.extend(batch)
        return self.records


def test_lines_are_records_as_soon_as_they_are_whole() -> None:
    log = Log().feed(b"one\ntw")
    assert messages(log.records) == ["one"]
    log.feed(b"o\n")
    assert messages(log.records) == ["one", "two"]
    assert messages(log.finish()) == ["one", "two"]


def test_stdout_is_info_and_stderr_is_warning() -> None:
    log = Log().feed(b"a\n").feed(b"b\n", stream="stderr")
    assert [(r.level, r.attributes) for r in log.records] == [
        ("INFO", {"stream": "stdout"}),
        ("WARNING", {"stream": "stderr"}),
    ]


def test_streams_do_not_mix() -> None:
    log = Log().feed(b"to ").feed(b"fro ", stream="stderr").feed(b"out\n").feed(b"err\n", stream="stderr")
    assert messages(log.finish()) == ["to out", "fro err"]


def test_a_last_line_without_newline_comes_at_the_end() -> None:
    log = Log().feed(b"a\nb")
    assert messages(log.records) == ["a"]
    assert messages(log.finish()) == ["a", "b"]


def test_windows_line_ends_and_empty_lines() -> None:
    assert messages(Log().feed(b"a\r\n\r\n\nb\r\n").finish()) == ["a", "", "", "b"]


def test_what_is_no_utf8_is_replaced() -> None:
    assert messages(Log().feed(b"\xff\xc3\n").finish()) == ["��"]


def test_a_long_line_is_cut_into_pieces_between_characters() -> None:
    line = "ä" * LINE_BYTES  # twice the limit, in bytes; and odd, so that every cut would hit a character
    for pieces in ([f"x{line}\n".encode()], [bytes([b]) for b in f"x{line}\n".encode()]):
        records = Log().feed(*pieces).finish()
        assert "".join(messages(records)) == "x" + line
        assert len(records) == 3
        assert max(len(m.encode()) for m in messages(records)) <= LINE_BYTES


def test_a_line_of_exactly_the_limit_is_one_record() -> None:
    assert len(Log().feed(b"x" * LINE_BYTES + b"\n").finish()) == 1
    assert len(Log().feed(b"x" * (LINE_BYTES + 1) + b"\n").finish()) == 2


@given(st.text(alphabet="aä😀\n\r", max_size=60), st.randoms(use_true_random=False))
def test_it_does_not_matter_where_reads_cut(text: str, chance: random.Random) -> None:
    data = text.encode()
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(0, 8)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    whole, cut = Log().feed(data), Log().feed(*pieces)
    assert messages(cut.finish()) == messages(whole.finish())


def numbered(count: int) -> list[bytes]:
    return [b"%09d\n" % number for number in range(count)]


def test_head_and_tail_are_kept_and_the_gap_is_counted() -> None:
    log = Log(bytes_max=1000, lines_max=10**6).feed(*numbered(10_000))
    assert messages(log.records) == [f"{n:09d}" for n in range(100)]
    assert log.output.is_long
    log.finish()
    gap = [r for r in log.records if "left out" in r.message]
    assert [r.level for r in gap] == ["WARNING"]
    tail = messages(log.records)[101:]
    assert tail == [f"{n:09d}" for n in range(10_000 - len(tail), 10_000)]
    assert 10 <= len(tail) <= 100
    assert gap[0].attributes == {"left_out": (10_000 - 100 - len(tail)) * 10}


def test_nothing_is_left_out_within_the_limits() -> None:
    log = Log(bytes_max=10_000, lines_max=10**6).feed(*numbered(1000))
    log.feed(*numbered(500))
    records = log.finish()
    assert len(records) == 1500
    assert not [r for r in records if "left out" in r.message]


def test_lines_are_limited_too() -> None:
    log = Log(bytes_max=10**9, lines_max=50).feed(*[b"\n"] * 1000)
    assert len(log.records) == 50
    records = log.finish()
    assert len(records) <= 101
    assert any("left out" in r.message for r in records)


def test_records_and_lines_share_the_limits_and_keep_their_order() -> None:
    log = Log(bytes_max=1000, lines_max=10**6)
    for number in range(1000):
        log.feed(b"%d\n" % number)
        log.output.say(EXEC_TS + timedelta(seconds=number), "INFO", f"record {number}", {"a": 1})
    texts = [m for m in messages(log.finish()) if "left out" not in m]
    assert texts[:4] == ["0", "record 0", "1", "record 1"]
    assert texts[-2:] == ["999", "record 999"]
    assert len(texts) < 300


def test_memory_of_the_tail_is_bounded_however_small_the_pieces() -> None:
    log = Log(bytes_max=100_000, lines_max=10**6).feed(b"x" * 100_000 + b"\n")
    for _ in range(50_000):
        log.feed(b"o\n").feed(b"e\n", stream="stderr")  # no two pieces can be joined
    tail = log.output._tail
    assert tail is not None
    assert len(tail._items) < 1000


def test_the_end_comes_in_batches() -> None:
    log = Log(bytes_max=10**6, lines_max=5_000).feed(*numbered(20_000))
    batches: list[Sequence[LogRecord]] = list(log.output.finish(EXEC_TS))
    assert max(map(len, batches)) <= 1000
