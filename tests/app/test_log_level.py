"""One option says from which level on the scheduler and the tasks of every runner are heard."""

from collections.abc import Callable

import pytest

import ppacer
from app.program import Program
from ppacer import Dag, TaskContext, task
from ppacer.errors import ConfigError

SOURCE = """
import logging
import ppacer
from ppacer import Dag, TaskContext, task

@task(runner="thread")
def thread(ctx: TaskContext) -> None: speak(ctx)

@task(runner="process")
def process(ctx: TaskContext) -> None: speak(ctx)

@task(runner="async")
async def coroutine(ctx: TaskContext) -> None: speak(ctx)

def speak(ctx):
    ctx.logger.debug("fine")
    logging.getLogger("mine").debug("fine")
    ctx.logger.info("plain")

with Dag("d") as dag:
    thread(), process(), coroutine()

%s
ppacer.serve(dag)
"""
THREADS = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"


def levels(p: Program) -> dict[str, list[str]]:
    run_id = p.trigger("d")
    assert p.wait(run_id)["run"]["status"] == "SUCCESS"
    said: dict[str, list[str]] = {}
    for record in p.get(f"/api/v1/runs/{run_id}/logs")["records"]:
        said.setdefault(record["task_id"], []).append(record["level"])
    return said


@pytest.mark.parametrize("before", ["", THREADS], ids=["forked", "spawned"])
def test_the_level_of_the_file_reaches_tasks_of_every_runner(
    program: Callable[[str], Program], before: str
) -> None:
    p = program(SOURCE % f"if __name__ == '__main__': {before or 'pass'}\nelse: ppacer.serve = print")
    (p.folder / "ppacer.toml").write_text('log_level = "debug"\n')
    every = ["DEBUG", "DEBUG", "INFO"]
    assert levels(p.start()) == {"thread": every, "process": every, "coroutine": every}


def test_the_environment_counts_more_than_the_file(
    program: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPACER_LOG_LEVEL", "WARNING")
    p = program(SOURCE % "")
    (p.folder / "ppacer.toml").write_text('log_level = "DEBUG"\n')
    assert levels(p.start()) == {}
    assert "ppacer serves" not in p.log


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("logging.basicConfig(level=logging.DEBUG)", ["DEBUG", "DEBUG", "INFO"]),
        ("logging.getLogger('ppacer.task').setLevel(logging.DEBUG)", ["DEBUG", "INFO"]),
        ("logging.getLogger('ppacer.task').setLevel(logging.WARNING)", []),
        ("logging.getLogger('mine').setLevel(logging.DEBUG)", ["DEBUG", "INFO"]),
        ("pass", ["INFO"]),
    ],
)
def test_a_level_that_the_file_sets_itself_counts(
    program: Callable[[str], Program], line: str, said: list[str]
) -> None:
    found = levels(program(SOURCE % line).start())
    assert found == (dict.fromkeys(("thread", "process", "coroutine"), said) if said else {})


def test_a_level_that_is_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def nothing(ctx: TaskContext) -> None: ...

    with Dag("d") as dag:
        nothing()
    monkeypatch.setenv("PPACER_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match="log_level is 'loud'; it must be one of DEBUG"):
        ppacer.run_once(dag)
