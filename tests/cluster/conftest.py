"""Real clusters on this machine, one of each kind for all tests of a worker, and runners over them."""

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from executor.conftest import Late
from executor.world import CASES, Memory
from ppacer.dag import Registry
from ppacer.executor.children import Children
from ppacer.executor.cluster import Cluster, ClusterRunner
from ppacer.executor.ray import RayCluster
from ppacer.executor.runner import Outcome, Runner
from ppacer.executor.thread import ThreadRunner
from ppacer.executor.warm import WarmParent
from ppacer.load import load_registry
from ppacer.notify import LogSender
from ppacer.protocol import Grant
from ppacer.tasklog import LogRecord

GRACE = 0.5  # what is stubborn uses it up
PATIENT = 60.0  # for what cleans up, on the slowest machine


def needs(package: str) -> None:
    """Skips where the package is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="session", autouse=True)
def password() -> Iterator[None]:
    """A secret in the environment of the tests, and so of all workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DB_PASSWORD", "sesame-123")
        yield


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[Any]:
    needs("distributed")
    from distributed import LocalCluster

    options = {"dashboard_address": "127.0.0.1:0", "processes": True}
    with LocalCluster(n_workers=2, threads_per_worker=2, **options) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A cluster without a driver in this process, so that each runner can be one."""
    needs("ray")
    from cluster.local_ray import LocalRay

    with LocalRay(cpus=4) as address:
        yield address


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry(CASES)


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.check()


class Relay:
    """A sink that hands on to that of the test: to connect to a cluster takes longer than most tests."""

    def __init__(self) -> None:
        self.memory = Memory()

    def done(self, grant: Grant, outcome: Outcome) -> None:
        self.memory.done(grant, outcome)

    def log(self, records: Sequence[LogRecord]) -> None:
        self.memory.log(records)


Connected = tuple[ClusterRunner, Relay]


def connected(cluster: Cluster, registry: Registry) -> Iterator[Connected]:
    relay = Relay()
    runner = ClusterRunner(cluster, registry, CASES, relay, grace=GRACE)
    yield runner, relay
    runner.close()


@pytest.fixture(scope="session")
def on_dask(dask_cluster: Any, registry: Registry) -> Iterator[Connected]:
    from ppacer.executor.dask import DaskCluster

    yield from connected(DaskCluster(dask_cluster.scheduler_address), registry)


@pytest.fixture(scope="session")
def on_ray(ray_address: str, registry: Registry) -> Iterator[Connected]:
    yield from connected(RayCluster(ray_address), registry)


@pytest.fixture
def dask(on_dask: Connected, memory: Memory, grace: float) -> ClusterRunner:
    return for_test(on_dask, memory, grace)


@pytest.fixture
def ray(on_ray: Connected, memory: Memory, grace: float) -> ClusterRunner:
    return for_test(on_ray, memory, grace)


def for_test(connected: Connected, memory: Memory, grace: float) -> ClusterRunner:
    runner, relay = connected
    relay.memory, runner._grace = memory, grace
    return runner


@pytest.fixture
def grace() -> float:
    return GRACE


@pytest.fixture
def process(memory: Memory, grace: float) -> Iterator[Runner]:
    children = Children(WarmParent.spawn(CASES), memory, grace=grace)
    yield children.process
    children.close()


@pytest.fixture
def thread(registry: Registry, memory: Memory) -> Iterator[Runner]:
    runner = Late(lambda: ThreadRunner(4, registry, memory, LogSender(), grace=GRACE))
    yield runner
    runner.close()


def chosen(*names: str) -> Any:
    """A fixture that is each of these runners in turn."""

    def choose(request: pytest.FixtureRequest, grace: float) -> Runner:  # `grace`: so that a test may set it
        found: Runner = request.getfixturevalue(request.param)
        return found

    return pytest.fixture(params=names)(choose)


runner = chosen("thread", "process", "dask", "ray")
separate = chosen("process", "dask", "ray")  # every attempt in processes of its own
cluster = chosen("dask", "ray")
