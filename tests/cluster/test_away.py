"""A cluster that is away when attempts come, that goes while they run, and that comes back."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.conftest import GRACE, needs
from executor.world import CASES, SUCCESS, Memory, grant
from ppacer.dag import Registry
from ppacer.executor import cluster as cluster_module
from ppacer.executor.cluster import Cluster, ClusterRunner
from ppacer.executor.ray import RayCluster
from ppacer.protocol import End

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    """One that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@pytest.fixture(params=["dask", "ray"])
def nobody(request: pytest.FixtureRequest, port: int) -> Cluster:
    """The address of a cluster that is not there."""
    if request.param == "ray":
        return RayCluster(f"127.0.0.1:{port}")
    needs("distributed")
    from ppacer.executor.dask import DaskCluster

    return DaskCluster(f"tcp://127.0.0.1:{port}")


@contextmanager
def cluster_at(port: int) -> Iterator[None]:
    from distributed import LocalCluster

    options = {"dashboard_address": "127.0.0.1:0", "processes": True, "n_workers": 1, "threads_per_worker": 2}
    with LocalCluster(scheduler_port=port, **options):
        yield


def test_what_waits_for_a_cluster_in_vain_is_refused_for_now(
    nobody: Cluster, registry: Registry, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "WAIT_SECONDS", 0.2)
    runner = ClusterRunner(nobody, registry, CASES, memory)
    outcome, _ = memory.run(runner, "nothing")
    runner.close()
    assert (outcome.end, outcome.is_unfit, outcome.begun) == (End.REFUSED, False, False)
    assert "127.0.0.1" in (outcome.error or "")
    assert "does not answer: [Errno 111] Connection refused" in (outcome.error or "")


def test_attempts_wait_for_a_cluster_and_are_lost_with_it(
    registry: Registry, memory: Memory, port: int
) -> None:
    needs("distributed")
    from ppacer.executor.dask import DaskCluster

    runner = ClusterRunner(DaskCluster(f"tcp://127.0.0.1:{port}"), registry, CASES, memory, grace=GRACE)
    waiting, cancelled = memory.start(runner, grant("nothing")), memory.start(runner, grant("nothing"))
    runner.cancel(cancelled.token, End.CANCELLED)
    assert (memory.end_of(cancelled).end, memory.end_of(cancelled).begun) == (End.CANCELLED, False)
    with cluster_at(port):
        assert memory.end_of(waiting).end is SUCCESS
        running = memory.start(runner, grant("sleeps"))
        memory.wait_for(running, "sleeping")
    outcome = memory.end_of(running)
    assert outcome.end is End.LOST
    assert (outcome.error or "").startswith("lost: ")
    after = memory.start(runner, grant("nothing"))
    with cluster_at(port):
        assert memory.end_of(after).end is SUCCESS
        runner.close()


@contextmanager
def frozen(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler of Dask with one worker, as programs that can be stopped."""
    address, quiet = f"tcp://127.0.0.1:{port}", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    options = {"cwd": folder, "env": environ, **quiet}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
    programs = [subprocess.Popen(command, **options) for command in (dask, worker)]  # type: ignore[call-overload]
    try:
        yield programs[0]
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_a_cluster_that_is_frozen_holds_up_neither_a_cancel_nor_the_end(
    registry: Registry, memory: Memory, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("distributed")
    from ppacer.executor import dask as dask_module

    monkeypatch.setattr(cluster_module, "END_SECONDS", 0.5)
    for name in ("CALLS_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(dask_module, name, 10.0)
    runner = ClusterRunner(
        dask_module.DaskCluster(f"tcp://127.0.0.1:{port}"), registry, CASES, memory, grace=GRACE
    )
    with frozen(tmp_path, port) as scheduler:
        running = [memory.start(runner, grant("sleeps")) for _ in range(2)]
        memory.wait_for(running[0], "sleeping")
        scheduler.send_signal(signal.SIGSTOP)
        for one, end in zip(running, (End.HANDED_BACK, End.CANCELLED), strict=True):
            runner.cancel(one.token, end)
            assert memory.end_of(one).end is end
        closing = threading.Thread(target=runner.close, daemon=True)
        closing.start()
        closing.join(60.0)
        assert not closing.is_alive()
