"""A whole program keeps its files small: old runs, their logs, and logs beyond their limit."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.program import PATIENCE, until
from ppacer import Dag, Registry, task
from ppacer.app import retention
from ppacer.app.program import Program
from ppacer.config import Settings
from ppacer.errors import StoreUnavailable
from ppacer.notify import LogSender
from ppacer.scheduler import TriggerRun

INSTANT = 1e-9  # days


@task
def speak() -> int:
    print("x" * 500)
    return 7


with Dag("d") as DAG:
    speak()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is running: closing it stops every program."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Callable[..., Program]:
    """Programs that are stopped at the end; their past is looked at when a test says so."""
    monkeypatch.setattr(retention, "FIRST_SECONDS", 3_600.0)

    def make(**options: Any) -> Program:
        settings = Settings(
            db=f"{tmp_path}/scheduler.db",
            logs_db=f"{tmp_path}/logs.db",
            runner="thread",
            echo=False,
            **options,
        )
        program = Program(Registry([DAG]), settings, LogSender(), str, None, http=False)
        return stack.enter_context(program.running())

    return make


def rows(program: Program, sql: str, db: str = "db") -> list[Any]:
    with closing(sqlite3.connect(getattr(program.settings, db))) as connection:
        return [row[0] for row in connection.execute(sql)]


def run(program: Program, count: int) -> None:
    """So many runs, one after the other."""
    for _ in range(count):
        run_id = program.scheduler.submit(TriggerRun("d")).future.result(PATIENCE).run_id
        ended = f"SELECT RunId FROM dagruns WHERE EndedAt IS NOT NULL AND RunId = {run_id}"
        until(partial(rows, program, ended), "the run ends")
    assert program.logs.flush(PATIENCE)


def logged(program: Program) -> int:
    """Of how many runs there are logs."""
    return int(rows(program, "SELECT COUNT(DISTINCT ExecTs) FROM tasklogs", "logs_db")[0])


def test_old_runs_go_with_their_logs_and_the_newest_stay(make: Callable[..., Program]) -> None:
    program = make(retention_days=INSTANT, retention_runs=2)
    run(program, 5)
    program.retention.step()
    assert rows(program, "SELECT RunId FROM dagruns ORDER BY RunId") == [4, 5]
    assert rows(program, "SELECT COUNT(*) FROM dagruntasks") == [2]
    assert logged(program) == 2


@pytest.mark.parametrize("days", [0.0, 1.0])
def test_what_is_not_old_enough_stays(make: Callable[..., Program], days: float) -> None:
    """Zero days are for ever."""
    program = make(retention_days=days, retention_runs=1)
    run(program, 3)
    program.retention.step()
    assert rows(program, "SELECT COUNT(*) FROM dagruns") == [3]
    assert logged(program) == 3


def test_the_past_is_looked_at_once_an_hour_only(make: Callable[..., Program]) -> None:
    program = make(retention_days=INSTANT, retention_runs=1)
    program.retention.step()
    run(program, 3)
    program.retention.step()
    assert rows(program, "SELECT COUNT(*) FROM dagruns") == [3]


def test_logs_beyond_their_limit_go_oldest_first(
    make: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make(logs_max=1)
    run(program, 40)
    monkeypatch.setattr(retention, "MEGABYTE", 40_000)
    program.retention.step()
    kept = rows(program, "SELECT DISTINCT ExecTs FROM tasklogs ORDER BY ExecTs", "logs_db")
    assert 0 < len(kept) < 40
    assert kept == rows(program, "SELECT ExecTs FROM dagruns ORDER BY ExecTs")[-len(kept) :]


def test_no_limit_for_the_logs(make: Callable[..., Program], monkeypatch: pytest.MonkeyPatch) -> None:
    program = make(logs_max=0)
    run(program, 3)
    monkeypatch.setattr(retention, "MEGABYTE", 1)
    program.retention.step()
    assert logged(program) == 3


def test_trouble_is_told_once_and_nothing_is_lost_by_it(
    make: Callable[..., Program], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = make(retention_days=INSTANT, retention_runs=1)
    run(program, 3)

    def refuse(old: object) -> int:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "ppacer.retention"):
        patch.setattr(program.store, "forget", refuse)
        for _ in range(3):
            program.retention.step()
    assert [record.getMessage() for record in caplog.records] == [
        "what is old cannot be deleted now, it is tried again: the disk is full"
    ]
    program.retention.step()
    assert rows(program, "SELECT RunId FROM dagruns") == [3]


def test_it_begins_by_itself_and_ends_with_the_program(
    make: Callable[..., Program], stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(retention, "LOGS_SECONDS", 0.05)
    monkeypatch.setattr(retention, "SWEEP_SECONDS", 0.05)
    program = make(retention_days=INSTANT, retention_runs=1)
    run(program, 5)
    until(lambda: rows(program, "SELECT RunId FROM dagruns") == [5], "the old ones are gone")
    stack.close()
    assert not program.retention._thread.is_alive()
