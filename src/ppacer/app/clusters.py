"""The runners of clusters: which one there is, and what must be installed for it."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ppacer.config import Settings
from ppacer.dag import Registry
from ppacer.errors import ConfigError
from ppacer.executor.cluster import Cluster, ClusterRunner
from ppacer.executor.executor import Executor
from ppacer.executor.runner import Runner

PACKAGES = {"dask": "distributed", "ray": "ray"}


def cluster_runners(
    registry: Registry, settings: Settings, file: Path | None
) -> dict[str, Callable[[Executor], Runner]]:
    """How to make the runner of the cluster that is set; nothing when none is.

    `file`: where the dags are, for this program and for the workers. What is missing keeps a program from
    starting only where it is the usual runner: then ConfigError is raised at once.
    """
    name = settings.cluster_runner
    if name is None:
        return {}
    if settings.runner == name:
        _check(name, file)

    def make(executor: Executor) -> Runner:
        where, cluster = _check(name, file), _cluster(name, settings.cluster)
        return ClusterRunner(cluster, registry, where, executor, grace=settings.grace, level=settings.level)

    return {name: make}


def _check(name: str, file: Path | None) -> Path:
    """Where the workers find the dags. Raises ConfigError for what the runner lacks."""
    if find_spec(PACKAGES[name]) is None:
        raise ConfigError(f"the runner {name} is not installed: pip install 'ppacer[{name}]'")
    if file is None:
        raise ConfigError(f"the runner {name} needs dags in a file, which its workers can import")
    return file.absolute()


def _cluster(name: str, address: str) -> Cluster:
    """The adapter, whose import is slow."""
    if name == "dask":
        from ppacer.executor.dask import DaskCluster

        return DaskCluster(address)
    from ppacer.executor.ray import RayCluster

    return RayCluster(address)
