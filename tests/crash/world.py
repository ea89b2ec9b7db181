"""A real `ppacer serve` in a folder, with a file of dags that a test writes."""

import os
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ppacer.api.client import HttpClient
from ppacer.executor import posix
from ppacer.store.views import RunDetail
from ppacer.torture.program import COMMAND, Program, until

PATIENCE = 120.0
SETTINGS: Mapping[str, object] = {"lease": 2.0, "grace": 0.5, "slots": 4, "echo": "false"}

HEAD = """
import os, signal, subprocess, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from ppacer import Dag, TaskContext, task
from ppacer.schedule import Fixed

HERE = Path(__file__).parent

def mark(text, name="ledger"):
    file = os.open(HERE / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

def wait_for(name):
    while not (HERE / name).exists():
        time.sleep(0.02)
"""


class World(Program):
    """The program, with what tests ask of it."""

    def __init__(
        self,
        folder: Path,
        source: str,
        settings: Mapping[str, object] = {},
        command: Sequence[str] = COMMAND,
    ) -> None:
        file = folder / "dags.py"
        file.write_text(HEAD + textwrap.dedent(source))
        super().__init__(folder, file, settings={**SETTINGS, **settings}, command=command)

    @contextmanager
    def client(self) -> Iterator[HttpClient]:
        """A client of the present life."""
        assert self.url is not None
        client = HttpClient(self.url)
        try:
            yield client
        finally:
            client.close()

    def trigger(self, dag_id: str, **params: Any) -> int:
        """The number of a new run."""
        with self.client() as client:
            run_id = client.trigger(dag_id, params).run_id
            assert run_id is not None
            return run_id

    def wait(self, run_id: int, seconds: float = PATIENCE) -> RunDetail:
        """The run, when it has ended."""

        def ended() -> RunDetail | None:
            with self.client() as client:
                detail = client.run(run_id, wait=5.0)
                return detail if detail.run.ended_at is not None else None

        return until(ended, f"run {run_id} ends", seconds)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What is in the database."""
        with closing(sqlite3.connect(self.db)) as connection:
            return connection.execute(sql).fetchall()

    def attempts(self, task_id: str) -> list[tuple[Any, ...]]:
        """Status and reason of each attempt of a task, over all runs."""
        sql = "SELECT Status, Reason FROM dagruntasks WHERE TaskId = '{}' ORDER BY ExecTs, Retry"
        return self.rows(sql.format(task_id))

    def lines(self, name: str = "ledger") -> list[str]:
        """The lines of a file that tasks write."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def touch(self, name: str) -> None:
        """Makes a file that tasks wait for."""
        (self.folder / name).touch()

    def pid_of(self, name: str) -> int:
        """The process whose number a task has written as a line `name pid`; the newest one."""
        found = until(lambda: [x for x in self.lines() if x.startswith(f"{name} ")], name, PATIENCE)
        return int(found[-1].split()[1])

    @property
    def log(self) -> str:
        """What it has written to its terminal, over all lives."""
        return (self.folder / "program.log").read_text()


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    return posix.is_running(pid)


def is_root() -> bool:
    """Whether permissions of files mean nothing here."""
    return os.geteuid() == 0
