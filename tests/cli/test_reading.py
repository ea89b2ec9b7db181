"""The commands that look: the same answers from a running scheduler and from its files afterwards."""

import ctypes
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cli.terminal import DAGS, Server, call, on_tty, plain, really, serving, until
from ppacer.cli import exits


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a scheduler that has ended: run 1 was good, 2 failed, 3 was cancelled."""
    folder = tmp_path_factory.mktemp("past")
    with serving(folder) as server:
        server.ended(server.trigger("good", "-p", "day=7"))
        server.ended(server.trigger("failing"))
        server.trigger("sleeper")
        until(lambda: "good night" in server.ok("logs", 3))
        server.ok("cancel", 3)
        server.ended(3)
        server.ok("pause", "good")
        (folder / "answers.json").write_text(
            json.dumps({args: server.call(*args.split()).out for args in SAME})
        )
    return folder


SAME = [
    "dags --json",
    "dags --json --tag nightly",
    "runs --json",
    "runs --json --status failed --status cancelled",
    "runs --json --dag good",
    "runs --json --limit 1",
    "show 2 --json",
    "show good --json",
    "show 1 flaky --json",
    "logs 1 --json",
    "logs 2 flaky --retry 0 --json",
    "logs 1 --level ERROR --json",
    "logs 1 --tail 2 --json",
    "why 1 --json",
    "why 2 --json",
    "why 3 --json",
    "why 1 flaky --json",
    "why 2 after --json",
    "why good --json",
    "next yearly --count 1 --json",
]


@pytest.mark.parametrize("args", SAME)
def test_the_files_answer_as_the_scheduler_did(
    past: Path, args: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(past)
    ended = call(*args.split())
    assert ended.code == 0
    assert ended.json == json.loads(json.loads(Path("answers.json").read_text())[args])


def test_dags_are_listed_with_their_next_and_latest_run(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(past)
    lines = call("dags").out.splitlines()
    assert lines[0].split() == ["DAG", "NEXT", "LATEST", "RUN", "SCHEDULE", "TAGS"]
    by_dag = {line.split()[0]: line for line in lines[1:-1]}
    assert re.fullmatch(r"failing +by hand +✗ FAILED (just now|\d+ \w ago)", by_dag["failing"])
    assert re.fullmatch(
        r"good +paused +✓ SUCCESS .* Cron: 15 3 \* \* \* \(Europe/Warsaw\)  nightly", by_dag["good"]
    )
    assert lines[-1] == "No scheduler is running, so nothing will start: ppacer serve FILE"


def test_runs_are_listed_newest_first(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(past)
    lines = call("runs").out.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["3", "sleeper", "⊘", "CANCELLED"],
        ["2", "failing", "✗", "FAILED"],
        ["1", "good", "✓", "SUCCESS"],
    ]
    assert lines[3].endswith('manual  {"day":7,"name":"monday"}')


def test_a_run_is_shown_with_its_tasks_and_errors(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(past)
    text = call("show", 2).out
    assert text.splitlines()[0] == "run 2 of failing  ✗ FAILED"
    assert re.search(r"^extract  ✓ SUCCESS", text, re.MULTILINE)
    assert re.search(r"^flaky +✓ SUCCESS +1 of 2", text, re.MULTILINE)
    assert re.search(r"^bad +✗ FAILED .* RuntimeError: cannot load 6$", text, re.MULTILINE)
    assert re.search(r"^after +↑ UPSTREAM$", text, re.MULTILINE)
    assert "bad failed:\n  RuntimeError: cannot load 6\n" in text
    assert f'File "{DAGS}", line' in text


def test_a_task_is_shown_with_its_attempts_and_its_result(
    past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(past)
    text = call("show", 1, "flaky").out
    assert text.startswith("flaky in run 1 of good  ✓ SUCCESS\n  after  extract\n")
    assert re.search(r"^ +0  ↻ RETRY +FAILED ", text, re.MULTILINE)
    assert re.search(r"^ +1  ✓ SUCCESS ", text, re.MULTILINE)
    assert "first attempt:\n  ValueError: not yet\n" in text
    assert text.endswith("returned 6\n")
    assert "CODE" not in text


def test_attempts_that_ran_different_code_say_which(
    past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "scheduler.db"
    shutil.copy(past / "scheduler.db", copy)
    change = "UPDATE dagruntasks SET TaskBodyHash = ?, CpuSeconds = 0.02 WHERE TaskId = 'flaky' AND Retry = 0"
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute(change, ["0123456789abcdef" * 4])
    monkeypatch.chdir(tmp_path)
    text = call("show", 1, "flaky").out
    assert re.search(r"^RETRY .* CPU +CODE +EXECUTOR$", text, re.MULTILINE)
    assert re.search(r"^ +0  ↻ RETRY .* 20 ms  01234567  local$", text, re.MULTILINE)
    assert re.search(r"^ +1  ✓ SUCCESS .*  [0-9a-f]{8}  local$", text, re.MULTILINE)


def test_each_line_of_a_log_names_its_task_and_attempt(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(past)
    lines = [re.sub(r"^[\d-]+ [\d:.]+Z ", "", line) for line in call("logs", 1).out.splitlines()]
    assert sorted(line for line in lines if line.startswith("extract")) == [
        "extract | day 7, monday",
        "extract | to stderr",
        "extract | to stdout",
    ]
    assert "flaky | ERROR ValueError: not yet" in lines


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("show 99", "there is no run 99"),
        ("show nope", "there is no dag 'nope'"),
        ("show 1 nope", "run 1 of good has no task 'nope'"),
        ("show yearly", "there is no run of yearly yet: ppacer trigger yearly"),
        ("logs 99", "there is no run 99"),
        ("logs 1 nope", "run 1 of good has no task 'nope'"),
        ("why 99", "there is no run 99"),
        ("why 1 nope", "run 1 has no task 'nope'"),
        ("why nope", "there is no dag 'nope'"),
        ("why ..", "there is no dag"),
        ("why a/b", "there is no dag"),
        ("runs --dag nope", "there is no dag 'nope'"),
        ("next nope", "there is no dag 'nope'"),
        ("show 999999999999999999999999", "there is no run"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(
    past: Path, server: Server, args: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(past)
    offline = call(*args.split())
    assert offline.code == exits.NOT_FOUND
    assert words in offline.said
    assert offline.out == ""
    if "1" not in args.split() and "yearly" not in args:  # this server has other runs
        online = server.call(*args.split())
        assert (online.code, online.out) == (exits.NOT_FOUND, "")
        assert words in online.said


@pytest.mark.parametrize("command", ["trigger good", "pause good", "unpause good", "cancel 1", "restart 2"])
def test_without_a_scheduler_nothing_can_be_changed(
    past: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(past)
    before = Path("scheduler.db").read_bytes()
    ended = call(*command.split())
    assert ended.code == exits.UNAVAILABLE
    assert ended.said.startswith(
        "no scheduler runs on scheduler.db, so nothing can be changed; start one with"
    )
    assert Path("scheduler.db").read_bytes() == before


def test_following_without_a_scheduler_prints_what_is_there_and_ends(
    past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(past)
    ended = call("logs", 3, "-f")
    assert "good night" in ended.out
    assert (ended.code, ended.err) == (0, "run 3 is CANCELLED, and no scheduler is running: that is all\n")


def test_following_an_open_run_without_a_scheduler_is_no_success(
    past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scheduler.db", "logs.db"):
        (tmp_path / name).write_bytes((past / name).read_bytes())
    with closing(sqlite3.connect("scheduler.db")) as database, database:
        database.execute("UPDATE dagruns SET Status = 'RUNNING', EndedAt = NULL WHERE RunId = 3")
    ended = call("logs", 3, "-f")
    assert "good night" in ended.out
    assert ended.code == exits.UNAVAILABLE
    assert ended.said == "run 3 is RUNNING and goes on with `ppacer serve FILE`: no scheduler runs"


@pytest.fixture
def sealed(past: Path) -> Iterator[Path]:
    """A copy of the folder in which one can only read."""
    with TemporaryDirectory() as name:
        for file in ("scheduler.db", "logs.db"):
            shutil.copy(past / file, name)
        Path(name).chmod(0o555)
        yield Path(name)
        Path(name).chmod(0o755)


def without_privileges() -> None:
    """Before exec: root, too, shall be bound by the permissions of files."""
    libc, drop, (override, search) = ctypes.CDLL(None, use_errno=True), 24, (1, 2)
    for capability in (override, search):
        assert libc.prctl(drop, capability, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("args", ["dags --json", "runs --json", "why 2 --json", "logs 1 --json"])
def test_who_may_only_read_gets_the_same_answers(past: Path, sealed: Path, args: str) -> None:
    ended = really(*args.split(), cwd=sealed, preexec_fn=without_privileges if os.geteuid() == 0 else None)
    assert ended.code == 0, ended.err
    assert ended.out == json.loads((past / "answers.json").read_text())[args]


def test_a_driver_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    ended = call("dags", "--db", "postgresql://user@127.0.0.1/name")
    assert ended.code == exits.USAGE
    assert ended.said == (
        "for a database on PostgreSQL the driver psycopg is missing: pip install 'ppacer[postgres]'"
    )


@pytest.mark.parametrize("command", ["dags", "runs", "show 1", "logs 1", "why 1", "trigger x", "next x"])
def test_where_there_is_neither_scheduler_nor_database_it_says_how_to_start(
    folder: Path, command: str
) -> None:
    ended = call(*command.split())
    assert ended.code == exits.UNAVAILABLE
    assert ended.said.startswith("there is no database scheduler.db; ")
    assert list(folder.iterdir()) == []


def test_a_new_scheduler_teaches_the_next_step(tmp_path: Path) -> None:
    with serving(tmp_path, file=DAGS) as server:
        assert server.ok("runs") == "no runs yet: ppacer trigger escaping\n"
        assert server.ok("runs", "--dag", "good") == "no runs of good yet: ppacer trigger good\n"
        assert server.ok("runs", "--status", "failed") == "no runs with status FAILED\n"
        assert server.ok("dags", "--tag", "x") == "no dags with the tag 'x': ppacer dags lists all\n"


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_fit_the_terminal(past: Path, columns: int) -> None:
    for command in ("dags", "runs", "show 2 bad", "db stats"):
        code, text = on_tty(*command.split(), cwd=past, columns=columns)
        assert code == 0
        table = [
            line for line in plain(text).splitlines() if re.match(r"\s*[A-Z]+  |\s*\d+  |[a-z_]+  ", line)
        ]
        if command != "db stats":
            assert max(map(len, table)) <= columns, (command, text)


def test_a_terminal_gets_colours_unless_no_color_is_set(past: Path) -> None:
    assert "\x1b[31m✗ FAILED" in on_tty("runs", cwd=past)[1]
    assert "\x1b[" not in on_tty("runs", cwd=past, env={"NO_COLOR": "1"})[1]


def test_a_log_cannot_take_over_the_terminal(server: Server) -> None:
    run_id = server.trigger("escaping")
    server.ended(run_id)
    _, text = on_tty("logs", run_id, "--url", server.url, cwd=server.folder)
    assert plain(text).rstrip().endswith("escape | ared bc")
    assert "\x1b]0;" not in text
    assert "\x1b[2J" not in text
    record: Any = server.call("logs", run_id, "--json").json["records"][0]
    assert record["message"] == "a\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jb\x08c"  # stored as it came


# --- which scheduler is asked ---------------------------------------------------------------------------


def test_a_url_names_a_scheduler_by_flag_or_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "escaping" in call("dags", "--url", server.url).out
    assert "escaping" in call("dags", "--url", server.url.removeprefix("http://")).out
    monkeypatch.setenv("PPACER_URL", server.url)
    assert "escaping" in call("dags").out


def test_a_database_named_by_flag_counts_more_than_the_variable(
    server: Server, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPACER_URL", "http://127.0.0.1:1")
    assert len(call("runs", "--db", past / "scheduler.db", "--json").json["runs"]) == 3


def test_a_database_and_a_url_together_are_refused(server: Server) -> None:
    ended = call("runs", "--db", server.db, "--url", server.url)
    assert ended.code == exits.USAGE
    assert ended.said == "--url and --db name two different things; give one of them"


def test_the_database_may_stand_in_the_configuration(past: Path) -> None:
    Path("ppacer.toml").write_text(f'db = "{past}/scheduler.db"\n')
    assert len(call("runs", "--json").json["runs"]) == 3
    Path("ppacer.toml").write_text("db = [")
    ended = call("runs")
    assert ended.code == exits.USAGE
    assert "ppacer.toml cannot be read" in ended.said


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        (
            "http://127.0.0.1:1",
            exits.UNAVAILABLE,
            "no scheduler answers at http://127.0.0.1:1: Connection refused",
        ),
        ("http://no-such-host.invalid", exits.UNAVAILABLE, "the name of the host is not known"),
        ("ftp://x", exits.USAGE, "'ftp://x' is not the address of a scheduler"),
        ("http://", exits.USAGE, "is not the address of a scheduler"),
        ("http://x:port", exits.USAGE, "is not the address of a scheduler"),
    ],
)
def test_an_address_where_nobody_answers_gets_one_sentence(url: str, code: int, words: str) -> None:
    ended = call("runs", "--url", url)
    assert ended.code == code
    assert words in ended.said


def test_a_path_that_is_not_the_api_says_so(server: Server) -> None:
    assert call("runs", "--url", f"{server.url}/elsewhere").code == exits.NOT_FOUND
