"""Output without end: bounded memory, head and tail kept, nobody else delayed."""

import os
from pathlib import Path

import pytest

from executor.world import SUCCESS, Memory, fork, grant, messages
from ppacer.dag import Registry
from ppacer.executor.children import Children
from ppacer.executor.output import HEAD_BYTES
from ppacer.executor.runner import Runner


class Counter(Memory):
    """Counts records, and keeps only the first and last of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.lines = self.rss = 0

    def log(self, records: object) -> None:
        assert isinstance(records, list)
        self.bytes += sum(len(r.message) + 1 for r in records)
        self.lines += len(records)
        self.rss = max(self.rss, rss())
        super().log([records[0], records[-1]] if len(records) > 1 else records)


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture
def counter(memory: Memory) -> Counter:
    return Counter()


def test_two_hundred_megabytes_are_cut_in_bounded_memory(registry: Registry, counter: Counter) -> None:
    children = Children(fork(registry), counter)
    counter.run(children.process, "nothing")
    before = rss()
    flood = counter.start(children.process, grant("floods", megabytes=200))
    counter.wait_for(flood, "first")
    for _ in range(20):  # others are served meanwhile
        assert counter.run(children.pool, "nothing")[0].end is SUCCESS
    assert counter.end_of(flood).end is SUCCESS
    children.close()
    counter.check()
    log = counter.log_of(flood)
    assert (log[0].message, log[-1].message) == ("first", "last")
    gap = [r for r in log if "left out" in r.message]
    assert [r.level for r in gap] == ["WARNING"]
    assert 2 * HEAD_BYTES * 0.98 < counter.bytes < 2 * HEAD_BYTES * 1.02
    assert counter.rss - before < 5 * HEAD_BYTES
    left_out = (gap[0].attributes or {})["left_out"]
    assert abs(200 * 1_000_000 - left_out - counter.bytes) < 1000


def test_many_records_are_cut_too(registry: Registry, counter: Counter) -> None:
    children = Children(fork(registry), counter)
    outcome, log = counter.run(children.pool, "logs_much", count=20_000)
    children.close()
    assert outcome.end is SUCCESS
    assert log[-1].message == "record 19999"
    assert counter.lines == 20_000


def test_a_line_of_a_megabyte_comes_in_pieces(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "long_line", bytes=1_000_000)
    assert outcome.end is SUCCESS
    texts = messages(log, "stdout")
    assert texts[-1] == "after"
    assert "".join(texts[:-1]) == "ä" * 500_000
    assert 16 <= len(texts) <= 20
