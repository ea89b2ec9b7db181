"""Reports on disk: written when they wait, gone when they are taken, there after a kill."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.world import eventually
from ppacer.executor import spool as module
from ppacer.executor.folder import Folder
from ppacer.executor.spool import Kept, Spool, Taken
from ppacer.protocol import End, Report


def report(number: int, result: str = "1") -> Report:
    return Report(1, f"t{number}", 0, f"token-{number}", End.SUCCESS, result=result)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reports.jsonl"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    with Spool(path) as spool:
        yield spool


def left(path: Path) -> list[str]:
    """What a new life finds."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    with Spool(copy) as spool:
        return [report.token for report in spool.left]


def test_what_waits_is_on_disk_and_found_by_the_next_life(path: Path, spool: Spool) -> None:
    spool.keep(report(1))
    spool.keep(report(2))
    eventually(lambda: left(path) == ["token-1", "token-2"], "both on disk")
    spool.drop([report(1)])
    eventually(lambda: left(path) == ["token-2"], "one taken")
    spool.drop([report(2)])
    eventually(lambda: path.stat().st_size == 0, "an empty file")


def test_what_is_taken_at_once_never_reaches_the_disk(path: Path, spool: Spool, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "write", lambda *_: pytest.fail("written"))
    for number in range(100):
        spool.keep(report(number))
        spool.drop([report(number)])
    assert spool.left == []


def test_a_line_that_was_cut_off_by_the_kill_is_passed_over(path: Path) -> None:
    whole = msgspec.json.encode(Kept(report(1))) + b"\n"
    path.write_bytes(whole + msgspec.json.encode(Kept(report(2)))[:-9])
    with Spool(path) as spool:
        assert [one.token for one in spool.left] == ["token-1"]
        spool.keep(report(3))
    assert left(path) == ["token-1", "token-3"]


def test_damage_costs_its_own_line_alone_and_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = [msgspec.json.encode(Kept(report(number))) + b"\n" for number in range(3)]
    damage = msgspec.json.encode(Kept(report(9))).replace(b"token", b"\xff\xfe\x00") + b"\n"
    path.write_bytes(whole[0] + damage + whole[1] + b"\0" * 100 + b"\n" + whole[2])
    assert left(path) == ["token-0", "token-1", "token-2"]
    assert "2 line(s)" in caplog.text


def test_a_report_that_cannot_be_written_ends_nothing(
    path: Path, spool: Spool, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    odd = report(1, "\udc80")
    spool.keep(odd)
    eventually(lambda: "only in memory: UnicodeEncodeError" in caplog.text, "the error")
    spool.drop([odd])
    spool.keep(report(2))
    eventually(lambda: left(path) == ["token-2"], "the next one on disk")


def test_a_folder_whose_identity_is_damaged_gets_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Folder(tmp_path) as folder:
        first = folder.identity
    with Folder(tmp_path) as folder:
        assert folder.identity == first
    assert caplog.text == ""
    (tmp_path / "executor.json").write_bytes(b'{"identity":"\xff"}')
    with Folder(tmp_path) as folder:
        assert folder.identity != first
    assert "executor.json cannot be read" in caplog.text


def test_a_full_disk_loses_nothing_while_the_program_lives(
    path: Path, spool: Spool, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    real = os.write

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(os, "write", full)
    spool.keep(report(1))
    eventually(lambda: "only in memory: No space left" in caplog.text, "the error")
    assert [one.token for one in spool.left] == ["token-1"]
    assert path.stat().st_size == 0
    monkeypatch.setattr(os, "write", real)
    eventually(lambda: left(path) == ["token-1"], "it on disk after all")
    assert caplog.text.count("No space left") == 1


def test_the_file_is_written_anew_when_most_of_it_was_taken(
    path: Path, spool: Spool, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "COMPACT_BYTES", 10_000)
    reports = [report(number, '"' + "x" * 1_000 + '"') for number in range(20)]
    for one in reports:
        spool.keep(one)
    eventually(lambda: len(left(path)) == 20, "all on disk")
    spool.drop(reports[:15])
    eventually(lambda: path.stat().st_size < 10_000, "a smaller file")
    assert left(path) == [one.token for one in reports[15:]]
    spool.keep(report(99))
    eventually(lambda: "token-99" in left(path), "what comes later in the new file")


def test_lines_say_what_they_are() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Taken(["a"]))) == {"type": "taken", "tokens": ["a"]}
