"""A whole program whose tasks run on a cluster."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.program import SRC, Program
from executor.world import eventually, is_running
from ppacer.app.clusters import cluster_runners
from ppacer.config import Settings
from ppacer.dag import Registry
from ppacer.errors import ConfigError

SOURCE = """
import os, time
from pathlib import Path
import ppacer
from ppacer import Dag, TaskContext, task

FOLDER = Path(__file__).parent

@task(runner="process")
def here() -> int:
    return os.getppid()

@task
def there(parent: int, ctx: TaskContext) -> bool:
    print("the password is", os.environ["DB_PASSWORD"])
    with (FOLDER / "begun").open("a") as file:
        print(os.getpid(), file=file)
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    return os.getppid() != parent

with Dag("mixed") as dag:
    there(here())

if __name__ == "__main__":
    ppacer.serve(dag, runner=%r, cluster=%r)
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    made: list[Program] = []

    def make(source: str) -> Program:
        made.append(Program(tmp_path, source))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


@pytest.fixture(params=["dask", "ray"])
def address(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A runner, and where its cluster is."""
    found = request.getfixturevalue("dask_cluster" if request.param == "dask" else "ray_address")
    return request.param, found if isinstance(found, str) else found.scheduler_address


def test_a_killed_program_ends_its_tasks_on_the_cluster_and_goes_on_afterwards(
    program: Callable[[str], Program], address: tuple[str, str]
) -> None:
    p = program(SOURCE % address).start()
    run_id = p.trigger("mixed")
    eventually(lambda: p.lines("begun"), "the task on the cluster")
    p.kill()
    pid = int(p.lines("begun")[0])
    eventually(lambda: not is_running(pid), "the end of the task on the cluster")
    p.start()
    eventually(lambda: len(p.lines("begun")) == 2, "the next attempt")
    (p.folder / "go").touch()
    detail = p.wait(run_id)
    assert detail["run"]["status"] == "SUCCESS"
    assert [task["retry"] for task in detail["tasks"]] == [0, 1]
    records: list[dict[str, Any]] = p.get(f"/api/v1/runs/{run_id}/logs")["records"]
    assert "the password is ***" in [record["message"] for record in records]
    assert p.stop() == 0


def test_a_dag_runs_once_on_a_cluster(address: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "dags.py").write_text(SOURCE % address)
    (tmp_path / "go").touch()
    command = [sys.executable, "-m", "ppacer", "run", "dags.py"]
    command += ["--runner", address[0], "--cluster", address[1]]
    environ = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the password is ***" in done.stdout


def test_what_is_missing_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(cluster="tcp://127.0.0.1:8786", runner="dask")
    with pytest.raises(ConfigError, match="needs dags in a file"):
        cluster_runners(Registry(), settings, None)
    monkeypatch.setattr("ppacer.app.clusters.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"the runner dask is not installed: pip install 'ppacer\[dask\]'"):
        cluster_runners(Registry(), settings, Path("dags.py"))
    assert list(cluster_runners(Registry(), Settings(cluster="auto"), None)) == ["ray"]  # for some tasks
    assert cluster_runners(Registry(), Settings(), Path("dags.py")) == {}
