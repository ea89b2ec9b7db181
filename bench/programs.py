"""Measurements of whole programs from outside: start, idleness, kill -9 and what a new start makes of it."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0


@contextlib.contextmanager
def program(name: str, argument: str, folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of the programs of `workloads`, in a folder of its own; killed at the end."""
    command = [sys.executable, "-m", "bench.workloads", name, argument]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def url_of(folder: str | Path, db: str = "scheduler.db") -> str:
    """Where the program in this folder listens, once it does."""
    lock = Path(folder, f"{db}.lock")
    return str(_until(lambda: json.loads(lock.read_bytes() or b"{}").get("url")))


def _until(look: object) -> object:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, sqlite3.Error):
            value = look()  # type: ignore[operator]  # a function of any value
            if value:
                return value
        time.sleep(0.01)
    raise TimeoutError("the program did not get there")


def first_task(repeats: int) -> list[float]:
    """Seconds from starting `ppacer demo` to the first line of a task; before, one start writes bytecode."""
    return [_first_line() for _ in range(repeats + 1)][1:]


def _first_line() -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "ppacer", "demo", "--port", "0", "--runs", "1"],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if b" | " in line:
                break
        seconds = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        process.communicate()
        return seconds


def idle(dags: int, seconds: float = 20.0) -> tuple[float, float]:
    """CPU in percent of one core, and proportional memory in MB, of a program with hourly dags."""
    with tempfile.TemporaryDirectory() as folder, program("idle", str(dags), folder) as process:
        url_of(folder)
        time.sleep(3.0)  # what follows a start is no idleness
        if time.time() % 60 + seconds > 58:  # nor are the runs that begin with a minute
            time.sleep(65 - time.time() % 60)
        pids = [process.pid, *_descendants(process.pid)]
        before = sum(map(_cpu_seconds, pids))
        time.sleep(seconds)
        used = sum(map(_cpu_seconds, pids)) - before
        return used / seconds * 100, sum(map(_pss, pids)) / 1024


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [d for child in map(int, children) for d in (child, *_descendants(child))]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def kill_and_resume() -> tuple[float, int]:
    """kill -9 in the middle of 1 → 1000 → 1: seconds until the next task, and tasks run twice."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder, "ledger")

        def marks() -> list[str]:
            return ledger.read_text().splitlines() if ledger.exists() else []

        with program("fan_program", "", folder) as process:
            request = urllib.request.Request(f"{url_of(folder)}/api/v1/dags/fan/trigger", method="POST")
            urllib.request.urlopen(request, timeout=PATIENCE).close()
            _until(lambda: len(marks()) >= 400)
            process.kill()
            process.wait()
            done = len(marks())
            began = time.perf_counter()
        with program("fan_program", "", folder):
            _until(lambda: len(marks()) > done)
            seconds = time.perf_counter() - began
            _until(lambda: _status(folder) == "SUCCESS")
        ran = Counter(line.split()[1] for line in marks())
        return seconds, sum(count - 1 for count in ran.values())


def _status(folder: str) -> str:
    with sqlite3.connect(f"{folder}/scheduler.db") as connection:
        return str(connection.execute("SELECT Status FROM dagruns").fetchone()[0])


def installed() -> tuple[int, float]:
    """Packages of a plain install without tools (pip, setuptools), and their size in MB without bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "site")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-compile",
            "--target",
            str(target),
            str(ROOT),
        ]
        subprocess.run(command, check=True, capture_output=True)
        count = len(list(target.glob("*.dist-info")))
        size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
        return count, size / 1e6
