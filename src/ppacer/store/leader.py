"""Who leads: one row that schedulers on a server share, judged by the server's clock alone.

The leader renews its lease. When it is over, another one takes the row and counts the term up. Every write
of a store that has a term reads the row first, so that what a former leader still writes is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from ppacer.errors import Deposed
from ppacer.store import database
from ppacer.store.schema import leader

LEASE_SECONDS = 9.0
RENEW_SECONDS = LEASE_SECONDS / 3  # two renewals may fail, for instance while the server restarts


class Leader(msgspec.Struct, frozen=True):
    """Who has the row, and whether the lease still runs."""

    term: int
    holder: str
    url: str | None
    is_alive: bool


class Seat:
    """The row, as one program sees it; `holder` names the program. Safe from any thread."""

    def __init__(self, db: str, holder: str, url: str | None, lease: float = LEASE_SECONDS) -> None:
        self.url = database.make_url(db)
        self._me = {"Holder": holder, "Url": url, "LeaseSeconds": lease}
        self._engine = database.writer_engine(self.url)

    def close(self) -> None:
        """Closes the connection."""
        self._engine.dispose()

    def leader(self) -> Leader | None:
        """Who leads, or was the last to lead; None in a new database."""
        with self._connect() as connection:
            return leader_in(connection)

    def take(self) -> int | None:
        """The number of the new term, or None while somebody else's lease runs."""
        from sqlalchemy.dialects.postgresql import insert

        now = self._me | {"RenewedAt": sa.func.clock_timestamp()}
        row = insert(leader).values(Id=1, Term=1, **now)
        taken = row.on_conflict_do_update(
            constraint="pk_leader", set_={"Term": leader.c.Term + 1, **now}, where=_is_over()
        )
        with self._connect() as connection:
            return connection.execute(taken.returning(leader.c.Term)).scalar()

    def renew(self, term: int) -> bool:
        """Begins the lease anew; False when the term is over, because somebody else has taken the row."""
        return self._update(term, RenewedAt=sa.func.clock_timestamp())

    def release(self, term: int) -> None:
        """Ends the lease at once, so that another one need not wait for it."""
        self._update(term, LeaseSeconds=0.0, Url=None)

    def _update(self, term: int, **values: Any) -> bool:
        update = sa.update(leader).where(leader.c.Term == term).values(values)
        with self._connect() as connection:
            return connection.execute(update).rowcount == 1

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with database.in_words(self.url), self._engine.begin() as connection:
            yield connection


def leader_of(db: str) -> Leader | None:
    """Who leads on this database, for those who only ask; None when nobody does."""
    seat = Seat(db, "", None)
    try:
        found = seat.leader()
        return found if found is not None and found.is_alive else None
    finally:
        seat.close()


def leader_in(connection: sa.Connection) -> Leader | None:
    """Who leads, or was the last to lead, as a transaction sees it."""
    row = connection.execute(sa.select(leader, (~_is_over()).label("IsAlive"))).first()
    return None if row is None else Leader(row.Term, row.Holder, row.Url, row.IsAlive)


def end_term(connection: sa.Connection) -> None:
    """Nobody leads from the end of this transaction on, until somebody takes the row."""
    connection.execute(sa.update(leader).values(Term=leader.c.Term + 1, LeaseSeconds=0.0, Url=None))


FENCE = "SELECT 1 FROM leader WHERE Term = %s FOR SHARE"
"""Read by every transaction of a leader. Whoever takes the row waits until that transaction has ended."""


def fence(cursor: Any, term: int) -> None:
    """Raises Deposed when this term is over; until the end of the transaction it will not be."""
    cursor.execute(FENCE, [term])
    if cursor.fetchone() is None:
        raise Deposed("another scheduler leads now")


def _is_over() -> sa.ColumnElement[bool]:
    """Whether the lease has run out; also when the server's clock was set back by far."""
    age = sa.extract("epoch", sa.func.clock_timestamp() - leader.c.RenewedAt)
    return sa.or_(age >= leader.c.LeaseSeconds, age < -60.0)
