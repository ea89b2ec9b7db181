"""Small parts: frames, timers, words, records of logging."""

import logging
import os
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.world import EXEC_TS, grant
from ppacer.dag.values import RESULT_BYTES_MAX
from ppacer.executor import memory
from ppacer.executor.frames import FRAME_MAX, FROM_CHILD, JOBS, Ended, Frames, Job, Said, frame
from ppacer.executor.logs import spoken
from ppacer.executor.memory import OOM_SECONDS, OomWatch, in_use, oom_kills, peak
from ppacer.executor.runner import Outcome
from ppacer.executor.timers import Timers
from ppacer.executor.words import error_text, exit_text, shorten, with_details
from ppacer.protocol import INPUTS_BYTES_MAX, End


@given(st.lists(st.text(max_size=20), max_size=5), st.integers(1, 50))
def test_frames_come_out_however_they_are_cut(texts: list[str], step: int) -> None:
    sent = [Said(EXEC_TS, "INFO", text, {"n": [1, None]}) for text in texts]
    data = b"".join(map(frame, sent))
    frames: Frames[Any] = Frames(FROM_CHILD)
    got = [m for at in range(0, len(data), step) for m in frames.feed(data[at : at + step])]
    assert got == sent


def test_a_job_survives_its_frame() -> None:
    job = Job(grant("a", results={"x": '"ü"'}, y=1), 12.5, last=True)
    assert Frames(JOBS).feed(frame(job)) == [job]
    ended = Ended(Outcome(End.FAILED, "no", None, 5), leaving=True)
    assert Frames(FROM_CHILD).feed(frame(ended)) == [ended]


def test_the_largest_inputs_fit_into_a_frame() -> None:
    results = {f"{n:0200}": "x" * (INPUTS_BYTES_MAX // 60 - 210) for n in range(60)}
    job = Job(grant("a", results=results, y="x" * RESULT_BYTES_MAX), 12.5, last=True)
    assert len(frame(job)) <= FRAME_MAX


@pytest.mark.parametrize("garbage", [b"\x00" * 8, b"\xff" * 8, (FRAME_MAX + 1).to_bytes(4, "little")])
def test_garbage_is_no_frame(garbage: bytes) -> None:
    with pytest.raises(ValueError):
        Frames(FROM_CHILD).feed(garbage)


def test_timers_run_in_their_order_when_they_are_due() -> None:
    timers, done = Timers(), list[str]()
    timers.add(2.0, lambda: done.append("b"))
    timers.add(1.0, lambda: done.append("a"))
    cancelled = timers.add(1.5, lambda: done.append("never"))
    timers.add(3.0, lambda: done.append("c"))
    cancelled.cancel()
    cancelled.cancel()
    assert timers.wait(0.5) == 0.5
    timers.run(2.0)
    assert done == ["a", "b"]
    assert timers.wait(5.0) == 0.0
    timers.run(3.0)
    assert timers.wait(3.0) is None
    assert len(timers) == 0


def test_cancelled_timers_take_no_memory() -> None:
    timers = Timers()
    keep = timers.add(1.0, lambda: None)
    for number in range(10_000):
        timers.add(600.0 + number, lambda: None).cancel()
    assert len(timers) == 1
    assert len(timers._heap) < 300
    keep.cancel()
    timers.run(10_000.0)
    assert timers.wait(0.0) is None


def test_a_timer_may_cancel_another_and_add_one() -> None:
    timers, done = Timers(), list[int]()
    second = timers.add(2.0, lambda: done.append(2))

    def first() -> None:
        second.cancel()
        timers.add(1.5, lambda: done.append(3))
        done.append(1)

    timers.add(1.0, first)
    timers.run(2.0)
    assert done == [1, 3]
    assert timers.wait(2.0) is None


@pytest.mark.parametrize(
    ("status", "oom", "words"),
    [
        (0, False, "exited with code 0 without a result"),
        (3 << 8, False, "exited with code 3 without a result"),
        (signal.SIGSEGV, False, "was killed by SIGSEGV (segmentation fault)"),
        (signal.SIGKILL, False, "was killed by SIGKILL"),
        (signal.SIGKILL, True, "was killed by SIGKILL, probably out of memory (the count of oom_kill rose)"),
        (signal.SIGRTMIN + 3, False, "was killed by signal 37"),
    ],
)
def test_exits_in_words(status: int, oom: bool, words: str) -> None:
    assert exit_text(int(status), oom) == words


def test_what_a_traceback_ends_with_does_not_stand_before_it_as_well() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        text = with_details("timed out after 1s", error_text(error))
    assert text.startswith("timed out after 1s\n\nTraceback")
    assert text.count("ValueError: boom") == 1
    assert with_details("timed out", "some words\n\nmore words") == "timed out\n\nsome words\n\nmore words"


def test_shortening_keeps_both_ends_and_whole_characters() -> None:
    text = "start" + "ü" * 20_000 + "end"
    short = shorten(text)
    assert len(short.encode()) <= 16 * 1024
    assert short.startswith("startü")
    assert short.endswith("üend")
    assert "�" not in short
    assert shorten("short") == "short"
    assert shorten("a\udc80") == "a\\udc80"


def record(message: Any, *args: Any, **options: Any) -> logging.LogRecord:
    logger = logging.getLogger("test")
    extra = options.pop("extra", None)
    exc_info = options.pop("exc_info", None)
    return logger.makeRecord("test", logging.INFO, "file", 1, message, args, exc_info, extra=extra)


def test_a_record_keeps_message_level_and_extra() -> None:
    at, level, message, attributes = spoken(record("%d rows", 3, extra={"rows": 3, "who": {"a": [1]}}))
    assert (level, message, attributes) == ("INFO", "3 rows", {"rows": 3, "who": {"a": [1]}})
    assert at.tzinfo is not None
    assert spoken(record("plain"))[3] is None


def test_a_traceback_is_part_of_the_message() -> None:
    try:
        raise KeyError("k")
    except KeyError as error:
        message = spoken(record("failed", exc_info=(KeyError, error, error.__traceback__)))[2]
    assert message.startswith("failed\nTraceback")
    assert message.endswith("KeyError: 'k'")


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize(
    "extra",
    [
        {"x": Hostile()},
        {"x": 10**40},
        {"x": "\udc80"},
        {"x": float("nan")},
        {"x": {1: {2: 3}}},
        {"x": b"\xff"},
    ],
)
def test_no_attribute_breaks_a_record(extra: dict[str, Any]) -> None:
    said = Said(*spoken(record("m", extra=extra)))
    assert Frames(FROM_CHILD).feed(frame(said))


def test_no_message_breaks_a_record() -> None:
    assert spoken(record("%d", "x"))[2].startswith("%d with arguments")
    assert spoken(record("bad \udc80"))[2] == "bad \\udc80"
    assert len(spoken(record("x" * 10**6))[2]) <= 64 * 1024
    assert spoken(record(Hostile()))[2]
    assert len(str(spoken(record("m", extra={"x": "y" * 10**6}))[3])) <= 64 * 1024


def test_memory_is_known() -> None:
    assert 10 * 2**20 < peak() < 2**40
    assert 10 * 2**20 < (in_use() or 0) <= peak() + 2**20
    assert oom_kills() is None or oom_kills() >= 0  # type: ignore[operator]  # checked to the left
    assert os.path.exists("/proc/vmstat")


def test_several_deaths_are_explained_by_kills_that_were_counted_before_the_first_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([7, 7, 9, 9, 9])  # at the beginning, then at each death
    monkeypatch.setattr(memory, "oom_kills", lambda: next(counts))
    watch = OomWatch()
    deaths = (10.0, 11.0, 11.5, 11.0 + OOM_SECONDS)
    assert [watch.explains(now) for now in deaths] == [False, True, True, False]


def test_where_nothing_is_counted_nothing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "oom_kills", lambda: None)
    assert not OomWatch().explains(10.0)
