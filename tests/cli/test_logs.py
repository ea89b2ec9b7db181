"""`ppacer logs -f`: what comes, as it comes, until the run has ended."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.terminal import PATIENCE, Server, serving, started
from ppacer.cli import exits

SLOW = """
import time
from pathlib import Path
from ppacer import Dag, task

@task
def talk() -> None:
    print("first", flush=True)
    while not Path("go on").exists():
        time.sleep(0.02)
    print("second", flush=True)

with Dag("talker") as talker:
    talk()
"""


@pytest.fixture
def talker(tmp_path: Path) -> Path:
    """A file of a dag that waits for a file between two lines."""
    file = tmp_path / "talker.py"
    file.write_text(SLOW)
    return file


@pytest.mark.parametrize("as_json", [False, True])
def test_lines_come_as_they_are_said_and_the_end_of_the_run_ends_it(
    tmp_path: Path, talker: Path, as_json: bool
) -> None:
    with serving(tmp_path, file=talker) as server:
        run_id = server.trigger("talker")
        with started("logs", "talker", "-f", *(["--json"] if as_json else []), cwd=tmp_path) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert process.poll() is None
            Path("go on").touch()
            rest, err = process.communicate(timeout=PATIENCE)
    lines = [first, *rest.splitlines()]
    said = [json.loads(line)["message"] if as_json else line.partition(" | ")[2].strip() for line in lines]
    assert said == ["first", "second"]
    assert err == f"run {run_id} of talker has ended: SUCCESS\n"
    assert process.returncode == 0


def test_a_follower_waits_for_a_scheduler_that_is_started_again(tmp_path: Path, talker: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, file=talker))
        server.trigger("talker")
        process = stack.enter_context(started("logs", "talker", "-f", cwd=tmp_path))
        assert process.stdout is not None
        first = process.stdout.readline()
        server.stop(signal.SIGKILL)
        Path("go on").touch()
        stack.enter_context(serving(tmp_path, "--port", server.url.rpartition(":")[2], file=talker))
        rest, err = process.communicate(timeout=PATIENCE)
    assert "first" in first
    assert "second" in rest
    assert "; waiting for it …" in err
    assert "has ended: SUCCESS" in err


def test_the_tail_comes_first_and_then_what_follows(tmp_path: Path, talker: Path) -> None:
    with serving(tmp_path, file=talker) as server:
        server.trigger("talker")
        Path("go on").touch()
        server.ended(1)
        ended = server.call("logs", 1, "--tail", "1", "-f")
    assert [line.partition(" | ")[2] for line in ended.out.splitlines()] == ["second"]


def test_ctrl_c_ends_a_follower(server: Server) -> None:
    run_id = server.trigger("sleeper")
    with started("logs", run_id, "-f", "--url", server.url, cwd=server.folder) as process:
        assert process.stdout is not None
        assert "good night" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits.INTERRUPTED
    assert "Traceback" not in err
    server.ok("cancel", run_id)
    server.ended(run_id)


def test_a_run_that_has_said_nothing_says_so(server: Server) -> None:
    run_id = server.trigger("sleeper")
    server.running(run_id)
    ended = server.call("logs", run_id, "--level", "CRITICAL")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"run {run_id} of sleeper (RUNNING) has no such log records\n"
    assert server.call("logs", run_id, "--level", "CRITICAL", "--json").json == {"records": []}
    server.ok("cancel", run_id)
    server.ended(run_id)
