"""PostgreSQL, for the scheduler's tables and for task logs: which server is meant, and how one connects."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ppacer.errors import ConfigError

NAME = "postgresql"

# A server that is away is noticed within 10 s, also when nobody says so: a pulled cable, a frozen machine.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

WRITES = ("idle_in_transaction_session_timeout = '5s'",)
"""For who writes: a program that was stopped in a transaction must not hold its locks, another may lead."""


def parse(text: str) -> sa.URL:
    """The URL of a database of any kind; `postgres:` means the same as `postgresql:`, as elsewhere.

    Raises ConfigError, which does not repeat the text: it may hold a password.
    """
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        raise ConfigError(
            "this is no database URL; write a file name or postgresql://user@host/name"
        ) from None
    return url.set(drivername=NAME) if url.get_backend_name() == "postgres" else url


def engine(url: sa.URL, program: str, connections: int, *settings: str) -> sa.Engine:
    """At most so many connections; `settings` are those of their sessions, `program` is their name there."""
    try:
        made = sa.create_engine(
            url.set(drivername=f"{NAME}+psycopg"),
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,  # after a restart of the server all old connections are dead
            connect_args={**_CONNECT, "application_name": program},
        )
    except ImportError as error:  # the package, or the library that it needs
        driver = error.name or "psycopg"
        raise ConfigError(
            f"for a database on PostgreSQL the driver {driver} is missing: pip install 'ppacer[postgres]'"
        ) from None

    @sa.event.listens_for(made, "connect")
    def _connect(connection: Any, record: object) -> None:
        connection.execute("; ".join(f"SET {setting}" for setting in ("timezone = 'UTC'", *settings)))
        connection.commit()

    return made
