"""Runners for the tests, each with a sink that at the end has heard of every attempt once."""

from collections.abc import Callable, Iterator

import pytest

from executor.world import CASES, PATIENCE, Memory, fork
from ppacer.dag import Registry
from ppacer.executor.children import Children
from ppacer.executor.loop import AsyncRunner
from ppacer.executor.runner import Runner
from ppacer.executor.thread import ThreadRunner
from ppacer.load import load_registry
from ppacer.notify import LogSender
from ppacer.protocol import End, Grant

SHORT = pytest.mark.parametrize("grace", [0.3])  # for tests of those that use it up


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry(CASES)


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.check()


@pytest.fixture
def grace() -> float:
    """What an attempt that is told to end may take: all the time it needs on the slowest machine."""
    return PATIENCE


@pytest.fixture
def children(registry: Registry, memory: Memory, grace: float) -> Iterator[Children]:
    children = Children(fork(registry), memory, grace=grace)
    yield children
    children.close()


@pytest.fixture
def process(children: Children) -> Runner:
    return children.process


@pytest.fixture
def pool(children: Children) -> Runner:
    return children.pool


@pytest.fixture(params=["process", "pool"])
def child(request: pytest.FixtureRequest, children: Children) -> Runner:
    """Either of the runners with child processes."""
    return children.process if request.param == "process" else children.pool


class Late:
    """A runner made when first used: between set-up and call pytest puts back its own sys.stdout."""

    def __init__(self, make: Callable[[], Runner]) -> None:
        self._make = make
        self._runner: Runner | None = None

    def start(self, grant: Grant) -> None:
        self._runner = self._runner or self._make()
        self._runner.start(grant)

    def cancel(self, token: str, end: End) -> None:
        self._runner = self._runner or self._make()
        self._runner.cancel(token, end)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


@pytest.fixture
def thread(registry: Registry, memory: Memory, grace: float) -> Iterator[Runner]:
    runner = Late(lambda: ThreadRunner(4, registry, memory, LogSender(), grace=grace))
    yield runner
    runner.close()


@pytest.fixture
def loop(registry: Registry, memory: Memory, grace: float) -> Iterator[Runner]:
    runner = Late(lambda: AsyncRunner(registry, memory, LogSender(), grace=grace))
    yield runner
    runner.close()


@pytest.fixture(params=["process", "pool", "thread"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """Each runner that takes every kind of task."""
    found: Runner = request.getfixturevalue(request.param)
    return found
