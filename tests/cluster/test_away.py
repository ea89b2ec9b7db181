"""A cluster that is away when attempts come, that goes while they run, and that comes back."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.conftest import GRACE, needs
from executor.world import CASES, SUCCESS, Memory, grant
from ppacer.dag import Registry
from ppacer.executor import cluster as cluster_module
from ppacer.executor.cluster import Cluster, ClusterRunner
from ppacer.executor.ray import RayCluster
from ppacer.protocol import End


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
