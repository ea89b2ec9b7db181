"""A database that refuses for a while: new work is refused and told why, what runs ends, nothing is lost."""

import json
import os
import sqlite3
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from crash.conftest import Make
from crash.world import PATIENCE, World
from ppacer.errors import PpacerError, SchedulerUnavailable
from ppacer.store.database import BUSY_TIMEOUT_MS
from ppacer.torture.program import until

DAGS = """
@task
def waits() -> str:
    mark("began")
    wait_for("go")
    mark("did")
    return "x" * 500_000

@task
def follows(text: str) -> int:
    mark("followed")
    return len(text)

with Dag("slow") as slow:
    follows(waits())

@task
def small() -> str:
    return "y" * 10_000

with Dag("small") as small_dag:
    small()
"""


def refusal(world: World) -> str | None:
    """Triggers a run; the reason why that was refused, if it was."""
    with world.client() as client:
        try:
            client.trigger("small", {})
        except SchedulerUnavailable as error:
            return str(error)
        except PpacerError as error:
            raise AssertionError(f"refused, but not for now: {error}") from error
    return None


def is_accepted(world: World) -> bool:
    return refusal(world) is None


def is_healthy(world: World) -> bool:
    return health(world)[0] == "RUNNING"


def health(world: World) -> tuple[str, str]:
    """What /healthz says: the state, and the reason."""
    try:
        answer = urllib.request.urlopen(f"{world.url}/healthz", timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        found = json.load(answer)
    return found["state"], found["detail"] or ""


def check_outage(world: World, cause: Callable[[], Any], words: str) -> None:
    """A task runs; the database refuses and works again, by `cause`, a context manager."""
    world.start()
    run_id = world.trigger("slow")
    until(lambda: "began" in world.lines(), "the task runs", PATIENCE)
    accepted = world.rows("SELECT COUNT(*) FROM dagruns")[0][0]
    with cause():
        world.touch("go")  # its end cannot be written, nor anything else
        until(lambda: "did" in world.lines(), "what runs finishes", PATIENCE)
        until(lambda: health(world)[0] == "DEGRADED", "DEGRADED", PATIENCE)
        assert words in health(world)[1]
        assert words in (refusal(world) or "")
        assert world.lines() == ["began", "did"]
    until(lambda: is_healthy(world), "recovery by itself", PATIENCE)
    assert world.wait(run_id).run.status == "SUCCESS"
    assert world.lines() == ["began", "did", "followed"]
    until(lambda: is_accepted(world), "new work", PATIENCE)
    assert world.stop() == 0
    assert world.attempts("waits") == world.attempts("follows") == [("SUCCESS", None)]
    assert world.rows("SELECT COUNT(*) FROM dagruns")[0][0] > accepted
    assert world.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(world: Make, small_disk: Path) -> None:
    @contextmanager
    def full() -> Iterator[None]:
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        yield
        ballast.unlink()

    files = {"db": small_disk / "scheduler.db", "logs_db": small_disk / "logs.db"}
    w = world(DAGS, settings=files)
    w.db = files["db"]
    check_outage(w, full, "the disk is full")


@pytest.mark.slow
def test_a_file_that_another_program_writes_for_long(world: Make) -> None:
    w = world(DAGS)

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(w.db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            threading.Event().wait(BUSY_TIMEOUT_MS / 1000 + 0.5)
            other.execute("ROLLBACK")

    check_outage(w, locked, "is locked by another program")


def test_a_file_that_can_not_be_written_any_more(world: Make) -> None:
    w = world(DAGS)

    def protect(flag: str) -> bool:
        files = [str(w.db) + suffix for suffix in ("", "-wal")]
        return subprocess.run(["chattr", flag, *files], capture_output=True, check=False).returncode == 0

    @contextmanager
    def read_only() -> Iterator[None]:
        with ExitStack() as stack:
            if not protect("+i"):
                pytest.skip("only root, on some file systems, can take a file from who has it open")
            stack.callback(protect, "-i")
            yield

    check_outage(w, read_only, "cannot be")
