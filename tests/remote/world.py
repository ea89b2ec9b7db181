"""A scheduler and executors as separate programs, each in a directory of its own, on one machine."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

SRC = Path(__file__).parents[2] / "src"
PATIENCE = 120.0
LEASE = 2.0
T = TypeVar("T")

DAGS = '''
import os
import time
from pathlib import Path

from ppacer import Dag, TaskContext, task

FOLDER = Path(os.environ["TEST_FOLDER"])


def say(word: str, ctx: TaskContext) -> None:
    with (FOLDER / "lines").open("a") as file:
        file.write(f"{word} {ctx.run.run_id} {ctx.task_id} {ctx.retry} {os.getpid()}\\n")


@task
def gate(ctx: TaskContext) -> str:
    """Waits until the test opens it."""
    say("begin", ctx)
    while not (FOLDER / "open").exists():
        time.sleep(0.01)
    print("the gate is open", flush=True)
    say("end", ctx)
    return "passed"


@task
def quick(ctx: TaskContext) -> str:
    ctx.logger.info("quick it is")
    say("end", ctx)
    return "done"


@task
def after(word: str) -> str:
    return word.upper()


@task
def loud() -> None:
    for number in range(200):
        print(number, "x" * 500)


@task
def large(size: int) -> str:
    return "x" * size


with Dag("loud") as loud_dag:
    loud()

with Dag("large") as large_dag:
    large(1_000)
    large.with_options(id="too_large")(50_000)

with Dag("gated") as gated:
    after(gate())

with Dag("quick") as quick_dag:
    after(quick())

with Dag("many") as many:
    for number in range(20):
        quick.with_options(id=f"quick_{number}")()
'''


def until(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of `look`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = look()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


class Running:
    """One program with its own directory; what it writes goes to `log.txt` there."""

    def __init__(self, folder: Path, *command: str, **environ: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with (folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ppacer", *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(SRC), "PYTHONUNBUFFERED": "1", **environ},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it and its predecessors in the same directory have said."""
        return (self.folder / "log.txt").read_text()

    def says(self, words: str) -> str:
        """Waits for words in the log."""
        until(lambda: words in self.log, f"{self.folder.name} says {words!r}")
        return self.log

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


class World:
    """The programs of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dags = folder / "dags.py"
        self.dags.write_text(DAGS)
        self.port = 0
        self.programs: list[Running] = []
        self.environ = {"TEST_FOLDER": str(folder)}

    def close(self) -> None:
        """Ends what still runs."""
        for program in self.programs:
            if program.process.poll() is None:
                program.kill()

    # -- programs --------------------------------------------------------------------------------------------

    def scheduler(self, **environ: str) -> Running:
        """Starts the scheduler; after the first time on the same port."""
        options = {"PPACER_PORT": str(self.port), "PPACER_LEASE": str(LEASE), **self.environ, **environ}
        program = Running(self.folder / "scheduler", "scheduler", str(self.dags), **options)
        self.programs.append(program)
        url = until(lambda: self._url(program), "the scheduler serves")
        self.port = int(url.rpartition(":")[2])
        return program

    def _url(self, program: Running) -> str:
        assert program.process.poll() is None, program.log
        try:
            owner = json.loads((program.folder / "scheduler.db.lock").read_text())
        except (OSError, ValueError):
            return ""
        return owner.get("url") or "" if owner.get("pid") == program.process.pid else ""

    @property
    def url(self) -> str:
        """Where the scheduler is."""
        return f"http://127.0.0.1:{self.port}"

    def executor(
        self, name: str, *options: str, url: str | None = None, folder: str | None = None
    ) -> Running:
        """Starts an executor and waits until the scheduler knows it."""
        program = self.launch(name, *options, url=url, folder=folder)
        until(lambda: self._is_up(name, program), f"executor {name} is up")
        return program

    def launch(self, name: str, *options: str, url: str | None = None, folder: str | None = None) -> Running:
        """Starts an executor."""
        command = ["executor", str(self.dags), "--scheduler", url or self.url, "--name", name, *options]
        program = Running(self.folder / (folder or name), *command, **self.environ)
        self.programs.append(program)
        return program

    def _is_up(self, name: str, program: Running) -> bool:
        assert program.process.poll() is None, program.log
        return any(pid == program.process.pid for pid, _ in self.rows(name))

    def rows(self, name: str) -> list[tuple[int, str | None]]:
        """What the table says of an executor: its process, and why it is gone."""
        return self.sql("SELECT Pid, GoneReason FROM executors WHERE Name = ?", name)

    def sql(self, query: str, *values: Any) -> list[Any]:
        """What is in the database."""
        with sqlite3.connect(self.folder / "scheduler" / "scheduler.db") as connection:
            return connection.execute(query, values).fetchall()

    # -- runs ------------------------------------------------------------------------------------------------

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

    def trigger(self, dag_id: str) -> int:
        """Starts a run; its number."""
        return int(self.post(f"/api/v1/dags/{dag_id}/trigger")["run_id"])

    def ended(self, run_id: int) -> Any:
        """The run in detail, once it has ended."""

        def look() -> Any:
            detail = self.get(f"/api/v1/runs/{run_id}?wait=10")
            return detail if detail["run"]["ended_at"] else None

        return until(look, f"run {run_id} ends")

    def codes(self, dag_id: str, *tasks: str) -> dict[str, str]:
        """The hash of the code of these tasks, as the scheduler has it."""
        path = f"/api/v1/dags/{dag_id}/tasks"
        return {task: self.get(f"{path}/{task}/sources")["sources"][0]["body_hash"] for task in tasks}

    def succeeds(self, run_id: int) -> Any:
        """The run in detail, which has to succeed."""
        detail = self.ended(run_id)
        assert detail["run"]["status"] == "SUCCESS", detail
        return detail

    def said(self, run_id: int) -> list[str]:
        """The task log of a run."""
        return [record["message"] for record in self.get(f"/api/v1/runs/{run_id}/logs")["records"]]

    def spoke(self, run_id: int) -> Counter[tuple[str, int]]:
        """How many records each attempt of a run has in the task log."""
        records = self.get(f"/api/v1/runs/{run_id}/logs")["records"]
        return Counter((record["task_id"], record["retry"]) for record in records)

    def open(self) -> None:
        """Lets the tasks `gate` go on."""
        (self.folder / "open").touch()

    @property
    def lines(self) -> list[list[str]]:
        """What tasks have written: word, run, task, retry, pid."""
        path = self.folder / "lines"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self, times: int = 1) -> list[str]:
        """Waits until `gate` has begun so often; the pids."""

        def look() -> list[str]:
            pids = [pid for word, _, _, _, pid in self.lines if word == "begin"]
            return pids if len(pids) >= times else []

        return until(look, f"gate has begun {times} times")
