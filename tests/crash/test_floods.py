"""A gigabyte of output, a million log lines: memory and files stay small, both ends are kept."""

import os
from pathlib import Path

import pytest

from crash.conftest import Make
from crash.world import PATIENCE, World
from ppacer.api.wire import LogQuestion
from ppacer.torture.program import until

KILLS = int(os.environ.get("PPACER_CRASH_KILLS", "30"))
LINES = 1_000_000 if KILLS >= 200 else 100_000
"""A million in the long form: it takes a minute."""

DAGS = """
from dataclasses import dataclass

@task
def prints() -> None:
    print("the first line")
    line = b"x" * 999 + b"\\n"
    for _ in range(1_000):
        os.write(1, line * 1_000)
    print("the last line")

@task
def logs(ctx: TaskContext) -> None:
    for number in range(ctx.run.params.lines):
        ctx.logger.info("line %d", number)

@task
def small() -> None:
    pass

with Dag("prints") as d1:
    prints()
@dataclass
class Lines:
    lines: int

with Dag("logs", params=Lines) as d2:
    logs()
with Dag("small") as d3:
    small()
"""

RSS_MAX = 400 * 2**20
LOGS_MAX = 300 * 2**20
SECONDS = 240.0


def peak(pid: int) -> int:
    """The most memory that a process had at a time."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:"))


def flood(world: World, dag_id: str, **params: int) -> list[str]:
    """Runs the dag, with a small one beside it; the messages of its log."""
    world.start()
    run_id = world.trigger(dag_id, **params)
    until(lambda: world.rows("SELECT 1 FROM dagruntasks WHERE Status = 'RUNNING'"), "it runs", PATIENCE)
    assert world.wait(world.trigger("small"), SECONDS).run.status == "SUCCESS"
    assert world.wait(run_id, SECONDS).run.status == "SUCCESS"
    assert peak(world.pid) < RSS_MAX
    with world.client() as client:
        head = client.logs(LogQuestion(run_id, limit=5)).records
        tail = client.logs(LogQuestion(run_id, tail=5)).records
    assert world.stop() == 0
    files = [world.folder / f"logs.db{suffix}" for suffix in ("", "-wal")]
    assert sum(file.stat().st_size for file in files if file.exists()) < LOGS_MAX
    return [record.message for record in (*head, *tail)]


@pytest.mark.slow
def test_a_gigabyte_of_output(world: Make) -> None:
    messages = flood(world(DAGS), "prints")
    assert messages[0] == "the first line"
    assert messages[-1] == "the last line"


@pytest.mark.slow
def test_a_million_log_lines(world: Make) -> None:
    messages = flood(world(DAGS), "logs", lines=LINES)
    assert messages[0] == "line 0"
    assert messages[-1] == f"line {LINES - 1}"
