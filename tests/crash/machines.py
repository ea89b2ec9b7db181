"""A scheduler and its executors, each a program of its own in its own folder, as on several machines.

They are killed and started at random while runs go on; afterwards rows, ledger and answers must agree.
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from ppacer.api.client import HttpClient
from ppacer.clock import SystemClock, from_text, to_text
from ppacer.errors import PpacerError, SchedulerUnavailable
from ppacer.torture import ledger, rows
from ppacer.torture.commander import Book
from ppacer.torture.program import mono, until
from ppacer.torture.promises import CHECKS, Evidence, Finding, nothing_is_stuck

DAG = "torture"
SOURCE = Path(__file__).with_name("machine_dags.py")
EXECUTOR_PAUSE = (1.0, 5.0)  # seconds between kills of executors
AWAY_MAX = 2.0  # seconds until a killed executor is started again
LOST = """
    SELECT t.Executor, t.StartedAt, n.StartedAt FROM dagruntasks t JOIN dagruntasks n
    ON n.DagId = t.DagId AND n.ExecTs = t.ExecTs AND n.TaskId = t.TaskId AND n.Retry = t.Retry + 1
    WHERE t.Reason = 'LOST' AND n.StartedAt IS NOT NULL
"""
Ask = Callable[[str], Iterable[Any]]


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Machine:
    """One program in its own folder, started again and again by the same command."""

    def __init__(self, folder: Path, command: list[str], environ: Mapping[str, str]) -> None:
        self.folder, self._command, self._environ = folder, command, environ
        self.kills: list[datetime] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        folder.mkdir()

    def start(self) -> None:
        """Begins a new life, unless the present one goes on."""
        with self._lock, (self.folder / "program.log").open("ab") as log:
            if self.is_running:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ppacer", *self._command],
                cwd=self.folder,
                env={**os.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """kill -9; returns when it is gone."""
        if self._process is not None and self.is_running:
            self.kills.append(SystemClock().now().utc)
            self._process.send_signal(number)
            self._process.wait(60.0)

    @property
    def log(self) -> str:
        """What it has written to its terminal, over all lives."""
        return (self.folder / "program.log").read_text()


@dataclass
class Outcome:
    """What was done and what was found."""

    runs: int = 0
    attempts: int = 0
    lost: int = 0
    executor_kills: int = 0
    scheduler_kills: int = 0
    costs: list[float] = field(default_factory=list)
    """For each attempt that was lost: the seconds from the kill of its executor to the next attempt."""
    findings: list[Finding] = field(default_factory=list)


class Machines:
    """A plan in a folder. Use as a context manager: leaving ends every program."""

    def __init__(
        self,
        folder: Path,
        *,
        lease: float,
        executors: int = 3,
        schedulers: int = 1,
        db: str | None = None,
        ask: Ask | None = None,
        seed: int = 0,
    ) -> None:
        self._folder, self._random, self._ask = folder, Random(seed), ask
        self._file = folder / "dags.py"
        shutil.copyfile(SOURCE, self._file)
        self._db = db or str(folder / "scheduler.db")
        environ = {"PPACER_DB": self._db, "PPACER_LEASE": str(lease), "PPACER_GRACE": "0.5"}
        environ["MACHINES_LEDGER"] = str(folder / "ledger")
        ports = [free_port() for _ in range(schedulers)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.schedulers = [
            Machine(
                folder / f"s{n}", ["scheduler", str(self._file), "--port", str(port), "--no-echo"], environ
            )
            for n, port in enumerate(ports)
        ]
        self.executors = [
            Machine(folder / f"e{n}", self._executor(f"e{n}"), environ) for n in range(executors)
        ]
        self.book = Book(folder / "answers.jsonl")
        self.outcome = Outcome()
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def _executor(self, name: str) -> list[str]:
        urls = ",".join(self.urls)
        return ["executor", str(self._file), "--scheduler", urls, "--slots", "4", "--name", name]

    def __enter__(self) -> "Machines":
        for machine in (*self.schedulers, *self.executors):
            machine.start()
        self.until_served(60.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for machine in (*self.executors, *self.schedulers):
            machine.kill()

    def until_served(self, seconds: float) -> float:
        """Waits until some scheduler answers to commands; how long that took."""
        began = mono()
        until(lambda: self._do(lambda client: client.dags(limit=1) or True), "a scheduler answers", seconds)
        return mono() - began

    def _do(self, action: Callable[[HttpClient], Any]) -> Any:
        """What the first scheduler that can says; None when none does."""
        for url in self.urls:
            client = HttpClient(url)
            try:
                return action(client)
            except SchedulerUnavailable:
                continue
            finally:
                client.close()
        return None

    # -- what goes on ----------------------------------------------------------------------------------------

    def trigger(self, runs: int, seconds: float) -> None:
        """Asks for so many runs, spread over the time, whatever is answered."""
        for _ in range(runs):
            done = None
            while done is None and not self._is_over.is_set():
                try:
                    done = self._do(lambda client: client.trigger(DAG, {}))
                except PpacerError:
                    done = None
                if done is None:
                    self.book.unclear["trigger", 0] += 1
                    self._is_over.wait(0.2)
            if done is not None:
                self.book.acknowledge("trigger", done)
            self._is_over.wait(seconds / runs * 0.8)

    def hurt_executors(self, seconds: float) -> None:
        """Kills one after the other, and starts each again a little later."""
        end = mono() + seconds
        while mono() < end and not self._is_over.is_set():
            self._is_over.wait(self._random.uniform(*EXECUTOR_PAUSE))
            victim = self._random.choice(self.executors)
            victim.kill()
            self.outcome.executor_kills += 1
            self._is_over.wait(self._random.uniform(0.0, AWAY_MAX))
            victim.start()

    def hurt_schedulers(self, seconds: float, kills: int) -> None:
        """Kills the schedulers in turn, so often in all."""
        for number in range(kills):
            self._is_over.wait(seconds / (kills + 1))
            victim = self.schedulers[number % len(self.schedulers)]
            victim.kill()
            self.outcome.scheduler_kills += 1
            victim.start()

    def supervise(self) -> None:
        """Starts schedulers that have ended by themselves, as a service manager does: the server was away."""
        while not self._is_over.wait(0.5):
            for machine in self.schedulers:
                if not machine.is_running:
                    machine.start()

    def play(
        self, seconds: float, runs: int, scheduler_kills: int, also: Callable[[], None] = lambda: None
    ) -> Outcome:
        """All of it at once; then everything must end by itself."""
        self._begin(self.trigger, runs, seconds)
        self._begin(self.hurt_executors, seconds)
        self._begin(self.hurt_schedulers, seconds, scheduler_kills)
        supervisor = threading.Thread(target=self.supervise, daemon=True)
        supervisor.start()
        also()  # in this thread: what it starts may be bound to it
        for thread in self._threads:
            thread.join()
        self._wait_for_the_end()
        self._is_over.set()
        supervisor.join()
        return self._finish()

    def _begin(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _wait_for_the_end(self) -> None:
        """Returns when all runs have ended, or have had time enough."""

        def is_done() -> bool:
            return self._do(lambda client: not client.runs(status=["SCHEDULED", "RUNNING"])) is True

        with suppress(PpacerError):  # the rows say which have not
            until(is_done, "all runs end", 180.0)

    def _finish(self) -> Outcome:
        """Stops everything, and looks."""
        for machine in (*self.executors, *self.schedulers):
            machine.kill(signal.SIGTERM)
        found = rows.read(Path(self._db)) if self._ask is None else rows.rows_of(_plain(self._ask))
        evidence = Evidence(found, ledger.read(self._folder / "ledger"), self.book)
        self.outcome.findings += [one for check in CHECKS for one in check(evidence)]
        self.outcome.findings += nothing_is_stuck(found)
        self.outcome.runs, self.outcome.attempts = len(found.runs), len(found.attempts)
        self.outcome.lost = sum(attempt.reason == "LOST" for attempt in found.attempts)
        self.outcome.costs = sorted(self._costs())
        return self.outcome

    def _costs(self) -> Iterator[float]:
        """For each lost attempt how long after the kill of its executor the next one began."""
        kills = {machine.folder.name: machine.kills for machine in self.executors}
        for executor, began, again in _plain(self._ask or self._ask_file)(LOST):
            since = [kill for kill in kills[executor] if kill >= from_text(began)]
            if since:
                yield (from_text(again) - since[0]).total_seconds()

    def _ask_file(self, sql: str) -> Iterable[Any]:
        with closing(sqlite3.connect(self._db)) as connection:
            return connection.execute(sql).fetchall()


def _plain(ask: Ask) -> Ask:
    """Answers of PostgreSQL as those of SQLite: times as text; its own checks are not ours."""

    def plain(sql: str) -> Iterable[Any]:
        if sql == rows.CHECK:
            return [("ok",)]
        return [
            tuple(to_text(value) if isinstance(value, datetime) else value for value in row)
            for row in ask(sql)
        ]

    return plain
