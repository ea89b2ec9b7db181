"""`ppacer torture`: the verdict, the folder, and the exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.terminal import call, really
from ppacer.cli import exits
from ppacer.torture import verifier
from ppacer.torture.promises import Evidence, Finding, Kind


def test_a_ppacer_that_keeps_its_promises_is_told_so_and_leaves_nothing(tmp_path: Path) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    ended = really("torture", "--kills", 1, cwd=tmp_path, timeout=120.0, env={"TMPDIR": str(temp)})
    assert ended.code == exits.OK, ended
    assert "The program was killed once, its task processes once." in ended.out
    assert "0 lost, 0 doubled, 0 stuck, 0 wrong" in ended.out
    assert f"in {temp}/ppacer-torture-" in ended.err
    assert "1 kill of the program" in ended.err
    assert list(temp.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["temp"]


def test_a_broken_promise_is_exit_code_1_and_everything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_day(evidence: Evidence) -> Iterator[Finding]:
        yield Finding(Kind.LOST, f"all {len(evidence.rows.runs)} runs")

    monkeypatch.setattr(verifier, "CHECKS", (bad_day,))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = call("torture", "--kills", 5)
    assert ended.code == exits.FAILED
    assert "killed once" in ended.out  # there is no need to go on
    assert "  lost: all" in ended.out
    [folder] = tmp_path.glob("ppacer-torture-*")
    assert f"kept in {folder}" in ended.out
    kept = {path.name for path in folder.iterdir()}  # and a ledger, if a task had begun by then
    assert {"scheduler.db", "answers.jsonl", "program.log"} <= kept


def test_it_ends_after_some_seconds_and_keeps_the_folder_that_was_named(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    found = json.loads(call("torture", "--seconds", 1, "--db", folder, "--json").out)
    assert found["ok"]
    assert found["findings"] == []
    assert found["kills"] >= 1
    assert found["runs"] == found["ended"]
    assert found["folder"] == str(folder)
    assert (folder / "scheduler.db").exists()


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    ended = call("torture", "--db", tmp_path)
    assert ended.code == exits.USAGE
    assert ended.said == f"{tmp_path} is not empty; name a new folder"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
