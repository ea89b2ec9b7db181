"""A scheduler and three executors, each its own program in its own folder, killed and started at random."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crash.machines import Machines, Outcome
from postgresql.server import Server

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("PPACER_MACHINES_SECONDS", "8"))
LONG = SECONDS >= 60
LEASE = 30.0 if LONG else 2.0
RUNS = 200 if LONG else 20
SCHEDULER_KILLS = 5 if LONG else 2
RESTARTS = 2


def judged(outcome: Outcome) -> None:
    print(outcome)  # shown by `pytest -s`, and when it fails
    assert outcome.findings == []
    assert outcome.runs >= RUNS
    assert outcome.attempts >= 10 * outcome.runs
    assert outcome.executor_kills > 0
    assert outcome.scheduler_kills == SCHEDULER_KILLS


def test_nothing_is_lost_when_executors_and_the_scheduler_are_killed(tmp_path: Path) -> None:
    with Machines(tmp_path, lease=LEASE) as machines:
        judged(machines.play(SECONDS, RUNS, SCHEDULER_KILLS))


def test_nothing_is_lost_with_a_standby_and_a_server_that_restarts(
    tmp_path: Path, postgresql: Server
) -> None:
    url = postgresql.empty()

    def ask(sql: str) -> Iterable[Any]:
        with psycopg.connect(url) as connection:
            return connection.execute(sql).fetchall()

    def restart() -> None:
        for _ in range(RESTARTS):
            threading.Event().wait(SECONDS / (RESTARTS + 1))
            postgresql.restart()

    with Machines(tmp_path, lease=LEASE, schedulers=2, db=url, ask=ask) as machines:
        judged(machines.play(SECONDS, RUNS, SCHEDULER_KILLS, also=restart))
    postgresql.drop(url)
