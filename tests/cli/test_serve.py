"""`ppacer serve` as a process: its options, its end, and what it refuses."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from cli.terminal import DAGS, PATIENCE, call, really, serving
from ppacer.cli import exits
from ppacer.store import FileLock


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as server:
        server.ended(server.trigger("yearly"))
        assert server.stop(number) == 0
    assert "Traceback" not in server.log.read_text()
    assert (tmp_path / "scheduler.db.lock").read_bytes() == b""


def test_it_echoes_what_tasks_say_unless_told_not_to(tmp_path: Path) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "quiet").mkdir()
    with serving(tmp_path / "loud") as server:
        server.ended(server.trigger("good"))
    assert "good/extract | to stdout" in server.log.read_text()
    with serving(tmp_path / "quiet", "--no-echo") as server:
        server.ended(server.trigger("good"))
    assert "to stdout" not in server.log.read_text()


def test_only_the_named_dag_is_served(tmp_path: Path) -> None:
    shutil.copy(DAGS, tmp_path / "my.py")
    with serving(tmp_path, file=Path("my.py:sleeper")) as server:
        assert [dag["dag_id"] for dag in server.call("dags", "--json").json["dags"]] == ["sleeper"]


def test_the_runner_and_the_slots_can_be_chosen(tmp_path: Path) -> None:
    with serving(tmp_path, "--runner", "thread", "--slots", "1") as server:
        first, second = server.trigger("good"), server.trigger("good")
        server.ended(first)
        assert server.ended(second)["run"]["status"] == "SUCCESS"


def test_task_processes_are_forked_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(
        "import sys\nfrom ppacer import Dag, task\n\n@task\ndef show() -> list[str]:\n"
        "    return sorted({'sqlalchemy', 'uvicorn', 'starlette', 'urllib3', 'rich'} & set(sys.modules))\n\n"
        "with Dag('d') as d:\n    show()\n"
    )
    with serving(tmp_path, file=file) as server:
        server.ended(server.trigger("d"))
        assert server.call("show", "d", "show", "--json").json["result"] == []


def test_a_second_scheduler_on_the_same_file_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        ended = really("serve", DAGS, "--port", "0", cwd=tmp_path)
        assert ended.code == exits.CONFLICT
        assert ended.said.startswith(f"another scheduler (process {server.process.pid}, {server.url}) has ")
        assert call("dags", "--url", server.url).code == 0
        assert call("db", "upgrade", "--db", server.db).code == exits.CONFLICT


def test_a_port_in_use_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = really("serve", DAGS, "--port", port, cwd=tmp_path)
    assert ended.code == exits.USAGE
    assert ended.said.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert not (tmp_path / "scheduler.db").exists()
    with serving(tmp_path):  # and the file is free again
        pass


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--db", "absent/x.db"], "absent does not exist"),
        (["--port", "65536"], "Invalid value for '--port'"),
        (["--slots", "-1"], "Invalid value for '--slots'"),
        (["--runner", "magic"], "Invalid value for '--runner'"),
        (["--drain", "forever"], "Invalid value for '--drain'"),
        (
            ["--host", "no-such-host.invalid", "--port", "0"],
            "other machines can reach no-such-host.invalid, and there is no access token",
        ),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence(tmp_path: Path, args: list[str], words: str) -> None:
    ended = really("serve", DAGS, *args, cwd=tmp_path)
    assert ended.code == exits.USAGE
    assert ended.err.startswith("ppacer: ")
    assert words in ended.err.splitlines()[0]
    assert not (tmp_path / "scheduler.db").exists()


def test_a_wrong_environment_variable_is_named(tmp_path: Path) -> None:
    ended = really("serve", DAGS, cwd=tmp_path, env={"PPACER_SLOTS": "many"})
    assert ended.code == exits.USAGE
    assert "an option in the environment is not possible" in ended.said


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A folder that this user cannot write; against root only the kernel's own folders are safe."""
    if os.geteuid() == 0:
        if not Path("/sys/kernel").is_dir():
            pytest.skip("root may write everywhere here")
        return Path("/sys/kernel")
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    return folder


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path, unwritable: Path) -> None:
    before = sorted(unwritable.iterdir())
    ended = really("serve", DAGS, "--port", "0", "--db", unwritable / "scheduler.db", cwd=tmp_path)
    assert ended.code == exits.USAGE
    assert f"{unwritable}/scheduler.db.lock cannot be written (" in ended.said
    assert sorted(unwritable.iterdir()) == before
    assert list(tmp_path.iterdir()) in ([], [unwritable])


def test_a_backup_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path, unwritable: Path) -> None:
    with serving(tmp_path) as server:
        ended = call("db", "backup", unwritable / "copy.db", "--db", server.db)
    assert ended.code in (exits.USAGE, exits.UNAVAILABLE)
    assert "cannot be" in ended.said


def test_a_killed_scheduler_leaves_no_lock_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.trigger("sleeper")
        server.running(1)
        server.stop(signal.SIGKILL)
    assert call("runs", "--db", server.db, "--json").json["runs"][0]["status"] == "RUNNING"
    assert "no scheduler is running" in call("why", "1", "--db", server.db).out
    for command in (["runs"], ["show", "1"]):
        last = call(*command, "--db", server.db).out.splitlines()[-1]
        assert last == "No scheduler is running, so what is open does not go on: ppacer serve FILE"
    with serving(tmp_path) as again:
        again.running(1)
        assert "1 attempt lost" in again.ok("show", 1)
        again.ok("cancel", 1)
        assert again.ended(1)["run"]["status"] == "CANCELLED"


def test_while_it_starts_commands_say_so(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.stop()
    lock = FileLock(server.db).acquire()
    try:
        ended = call("trigger", "good", "--db", server.db)
        assert ended.code == exits.UNAVAILABLE
        assert ended.said.endswith(f"(process {os.getpid()}) does not answer: it is starting or stopping")
        assert call("runs", "--db", server.db).code == 0
    finally:
        lock.release()


def test_commands_that_look_never_keep_a_scheduler_from_starting(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom ppacer.store import owner_of\nprint('looking', flush=True)\n"
        f"while True: owner_of(pathlib.Path({str(tmp_path / 'scheduler.db')!r}))\n"
    )
    lock = FileLock(tmp_path / "scheduler.db")
    lock.acquire().release()
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        try:
            for _ in range(300):
                lock.acquire().release()
        finally:
            looker.kill()


def test_the_page_and_the_health_are_served(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        with urlopen(f"{server.url}/healthz", timeout=PATIENCE) as answer:
            assert answer.status == 200
        with urlopen(f"{server.url}/dags", timeout=PATIENCE) as answer:
            assert b"good" in answer.read()


@pytest.mark.parametrize("db", ["sqlite:///scheduler.db", "link.db"])
def test_a_second_scheduler_is_refused_by_every_name_of_the_file(tmp_path: Path, db: str) -> None:
    with serving(tmp_path):
        (tmp_path / "link.db").symlink_to("scheduler.db")
        ended = really("serve", DAGS, "--port", "0", "--db", db, cwd=tmp_path)
        assert (ended.code, ended.said.split(" (")[0]) == (exits.CONFLICT, "another scheduler")
        assert really("trigger", "good", "--db", db, cwd=tmp_path).code == exits.OK  # found by that name


def test_damaged_logs_are_told_at_once_and_keep_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "logs.db").write_bytes(b"no database " * 1000)
    with serving(tmp_path) as server:
        server.ended(server.trigger("good"))
        with urlopen(f"{server.url}/healthz") as health:
            assert "logs.db is damaged" in health.read().decode()
        ended = really("logs", "1", "--db", server.db, cwd=tmp_path, timeout=20)
        assert ended.code == exits.UNAVAILABLE
        assert "logs.db is damaged" in ended.said
    assert server.log.read_text().count("task logs cannot be written: ") == 1
    assert really("logs", "1", "--db", server.db, cwd=tmp_path, timeout=20).code == exits.UNAVAILABLE
