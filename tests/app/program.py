"""A program of a user in a process of its own: started, asked over HTTP, killed, started again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

SRC = Path(__file__).parents[2] / "src"
PATIENCE = 120.0
T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of `look`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = look()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


class Program:
    """`python dags.py` in a folder; the file ends with `ppacer.serve(...)`."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.file = folder / "dags.py"
        self.file.write_text(source)
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Program":
        """Starts it and waits until it serves."""
        environ = {**os.environ, "PYTHONPATH": str(SRC), "PPACER_PORT": "0", "PYTHONUNBUFFERED": "1"}
        log = (self.folder / "log.txt").open("a")
        command = [sys.executable, str(self.file)]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environ, stdout=log, stderr=log, text=True
        )
        log.close()
        until(lambda: self.url or self.process.poll() is not None, "the program serves")  # type: ignore[union-attr]  # just made
        return self

    @property
    def url(self) -> str | None:
        """Where it listens."""
        try:
            owner = json.loads((self.folder / "scheduler.db.lock").read_text())
        except (OSError, ValueError):
            return None
        mine = self.process is not None and owner.get("pid") == self.process.pid
        return owner.get("url") if mine else None

    @property
    def log(self) -> str:
        """What it has written to its terminal, over all starts."""
        return (self.folder / "log.txt").read_text()

    def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON answer to a POST."""
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def trigger(self, dag_id: str, **params: Any) -> int:
        """Starts a run; returns its number."""
        return int(self.post(f"/api/v1/dags/{dag_id}/trigger", {"params": params})["run_id"])

    def wait(self, run_id: int) -> dict[str, Any]:
        """The run in detail, once it has ended."""

        def ended() -> Any:
            detail = self.get(f"/api/v1/runs/{run_id}?wait=10")
            return detail if detail["run"]["ended_at"] else None

        return until(ended, f"run {run_id} ends")

    def signal(self, number: int) -> None:
        """Sends a signal to the program alone."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What is in the database."""
        with sqlite3.connect(self.folder / "scheduler.db") as connection:
            return connection.execute(sql).fetchall()

    def lines(self, name: str) -> list[str]:
        """The lines of a file that tasks write."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []
