"""The echo of what tasks say: complete while somebody reads, in nobody's way when nobody does."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

import pytest

from app.program import PATIENCE, until
from ppacer.app import echo as module
from ppacer.app.echo import Echo
from ppacer.tasklog import LogRecord

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def record(message: str, retry: int = 0) -> LogRecord:
    return LogRecord("d", AT, "a", retry, AT, "INFO", message, None)


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """What is read, and what is written to; it holds 64 KiB."""
    out, into = os.pipe()
    with open(out) as reader, open(into, "w") as writer:
        yield reader, writer


def test_every_line_has_the_name_of_its_task(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    echo = Echo(writer)
    echo([record("one\ntwo"), record("", retry=2), record("ü \udc80")])
    echo.close(PATIENCE)
    writer.close()
    lines = [line.partition(" ")[2] for line in reader.read().splitlines()]
    assert lines == ["d/a | one", "d/a | two", "d/a#2 | ", "d/a | ü \\udc80"]


def test_a_terminal_that_nobody_reads_blocks_nobody(
    pipe: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 100_000)
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    for size in (1000, 1):  # to the last byte: a first line that still fits would not be waited for
        with suppress(BlockingIOError):
            while True:
                os.write(writer.fileno(), b"\n" * size)
    os.set_blocking(writer.fileno(), True)
    echo = Echo(writer)
    echo([record("0")])
    until(lambda: not echo._waiting, "it is being written")
    for number in range(1, 10_000):
        echo([record(f"{number:0100}")])  # a million characters
    closing = threading.Thread(target=echo.close, args=(0.01,))
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    said: list[str] = []
    while "not shown" not in (line := reader.readline()):
        said += line.split()[3:]
    assert 500 < len(said) < 2_000
    assert [int(number) for number in said] == list(range(len(said)))
    assert f"({10_000 - len(said):,} lines are not shown here" in line


def test_a_terminal_that_is_gone_ends_nothing(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    echo = Echo(writer)
    reader.close()
    for _ in range(3):
        echo([record("x")])
    echo.close(PATIENCE)
    assert echo._thread is not None
    assert not echo._thread.is_alive()


def test_a_level_that_is_not_usual_is_shown_once(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    echo = Echo(writer)
    warning = LogRecord("d", AT, "a", 0, AT, "WARNING", "low\ndisk", None)
    stderr = LogRecord("d", AT, "a", 0, AT, "WARNING", "progress", {"stream": "stderr"})
    echo([record("fine"), warning, stderr])
    echo.close(PATIENCE)
    writer.close()
    words = [line.partition(" | ")[2] for line in reader.read().splitlines()]
    assert words == ["fine", "WARNING low", "disk", "progress"]
