"""Several programs on one database on a server: one leads; whatever becomes of it, every run ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.program import PATIENCE, SRC, until
from postgresql.server import Server, free_port
from ppacer.store import Store

pytestmark = pytest.mark.slow

LEASE = 4.0  # of attempts: those of a program that is gone are granted anew after so long
DAGS = """
import time
from datetime import timedelta
import ppacer
from ppacer import Dag, task

@task(timeout=timedelta(seconds=60))
def step(n: int) -> int:
    time.sleep(0.05)
    with open("ledger.txt", "a") as file:
        file.write(f"{n}\\n")
    return n

@task
def last(values: list[int]) -> int:
    print("all ten")
    return sum(values)

with Dag("work") as work:
    last([step.with_options(id=f"s{n}")(n) for n in range(10)])

if __name__ == "__main__":
    ppacer.serve(work)
"""


class Program:
    """One of several programs on a database, each with a folder of its own."""

    def __init__(self, folder: Path, db: str, lease: float = LEASE, **environ: str) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "dags.py").write_text(DAGS)
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(SRC),
            "PPACER_PORT": str(self.port),
            "PPACER_DB": db,
            "PPACER_LEASE": str(lease),
            "PPACER_SLOTS": "2",
            **environ,
        }
        self.start()

    def start(self) -> None:
        with (self.folder / "log.txt").open("a") as log:
            command = [sys.executable, "dags.py"]
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self._environ, stdout=log, stderr=log
            )
        until(lambda: self.state or self.process.poll() is not None, "the program answers")
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    @property
    def state(self) -> str | None:
        """What it says of itself; None while it does not answer."""
        try:
            return str(self.ask("/healthz")["state"])
        except (OSError, ValueError):
            return None

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer in JSON, also that of a refusal."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def command(self, *words: str) -> str:
        """What a command prints that is given on the same machine."""
        command = [sys.executable, "-m", "ppacer", *words]
        return subprocess.run(command, env=self._environ, check=True, capture_output=True, text=True).stdout

    def leads(self) -> None:
        until(lambda: self.state == "RUNNING", "it leads")

    def stands_by(self, leader: "Program") -> None:
        """It knows who leads, too; in the moment after its own term it does not yet."""

        def look() -> bool:
            health = self.ask("/healthz")
            return health["state"] == "STANDBY" and leader.url in health["detail"]

        until(look, "it stands by")

    def trigger(self, runs: int) -> None:
        for _ in range(runs):
            assert "run_id" in self.ask("/api/v1/dags/work/trigger", {})

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(PATIENCE)


@pytest.fixture
def db(postgresql: Server) -> Iterator[str]:
    url = postgresql.database(lambda url: Store(url).close())
    yield url
    postgresql.drop(url)


@pytest.fixture
def program(db: str, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def make(**options: Any) -> Program:
        made.append(Program(tmp_path / str(len(made)), db, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.end()


def answer(db: str, sql: str) -> list[Any]:
    with psycopg.connect(db) as connection:
        return connection.execute(sql).fetchall()


def all_end(db: str, runs: int) -> None:
    """Every run ends well, and every task of it has one attempt that won."""
    ended = "SELECT count(*) FROM dagruns WHERE Status = 'SUCCESS'"
    until(lambda: answer(db, ended) == [(runs,)], f"{runs} runs have ended")
    winners = "SELECT count(*), count(DISTINCT (ExecTs, TaskId)) FROM dagruntasks WHERE Status = 'SUCCESS'"
    assert answer(db, winners) == [(11 * runs, 11 * runs)]
    assert answer(db, "SELECT DISTINCT Result FROM dagrunresults WHERE TaskId = 'last'") == [("45",)]


def said_on(program: Program, run_id: int) -> list[str]:
    """What the last task of a run has said, as this program shows it."""
    return [row["message"] for row in program.ask(f"/api/v1/runs/{run_id}/logs?task_id=last")["records"]]


def test_a_restart_of_the_server_in_the_middle_of_runs_loses_nothing(
    postgresql: Server, db: str, program: Callable[..., Program]
) -> None:
    one = program(lease=PATIENCE)
    one.leads()
    one.trigger(5)
    for _ in range(2):
        until(lambda: answer(db, "SELECT 1 FROM dagruntasks WHERE Status = 'RUNNING'"), "it works")
        postgresql.restart()
    all_end(db, 5)
    assert one.state == "RUNNING"
    reasons = answer(db, "SELECT Reason FROM dagruntasks WHERE Status <> 'SUCCESS'")
    assert reasons == []  # no attempt was lost: executors wait for their scheduler
    one.end(signal.SIGTERM)
    assert one.process.returncode == 0


def test_the_second_stands_by_and_takes_over_when_the_first_is_killed(
    db: str, program: Callable[[], Program]
) -> None:
    first = program()
    first.leads()
    second = program()
    second.stands_by(first)
    first.trigger(6)
    refused = second.ask("/api/v1/dags/work/trigger", {})
    assert refused["status"] == 503
    assert first.url in refused["detail"]
    assert len(second.ask("/api/v1/runs")["runs"]) == 6  # readers are served
    told = first.command("trigger", "work", "--json", "--db", db)  # the commands find the one that leads
    assert "run_id" in json.loads(told)
    first.end()
    until(lambda: answer(db, "SELECT Term FROM leader") == [(2,)], "another one leads")
    second.leads()
    second.trigger(1)
    all_end(db, 8)
    assert said_on(second, 1) == ["all ten"]  # who takes over has the logs of those before
    assert answer(db, "SELECT Term FROM leader") == [(2,)]
    third = program()
    third.stands_by(second)
    second.end(signal.SIGTERM)  # in order: the next one need not wait for the lease
    assert second.process.returncode == 0
    assert answer(db, "SELECT 1 FROM leader WHERE Term > 2 OR LeaseSeconds = 0") == [(1,)]
    third.leads()


def test_a_leader_that_listens_on_all_addresses_is_found_under_the_name_of_its_machine(
    db: str, program: Callable[..., Program]
) -> None:
    leader = program(PPACER_HOST="0.0.0.0", PPACER_INSECURE="true")
    leader.leads()
    [(url,)] = answer(db, "SELECT Url FROM leader")
    assert url == f"http://{socket.gethostname()}:{leader.port}"
    assert "run_id" in json.loads(leader.command("trigger", "work", "--json", "--db", db))


def test_a_leader_that_was_stopped_cannot_write_when_it_comes_back(
    db: str, program: Callable[[], Program]
) -> None:
    first = program()
    first.leads()
    second = program()
    second.stands_by(first)
    first.trigger(3)
    first.process.send_signal(signal.SIGSTOP)
    second.leads()
    first.process.send_signal(signal.SIGCONT)
    first.stands_by(second)
    assert second.url in first.ask("/api/v1/dags/work/trigger", {})["detail"]
    assert "this one stands by" in first.log
    second.trigger(1)
    all_end(db, 4)
    assert answer(db, "SELECT DISTINCT Term FROM leader") == [(2,)]
    second.end()
    first.leads()  # it leads again, with the executor that it had
    first.trigger(1)
    all_end(db, 5)
