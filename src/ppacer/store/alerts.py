"""The outbox table, as the thread that delivers alerts sees it."""

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from ppacer.engine.changes import AlertKind
from ppacer.store import database
from ppacer.store.schema import dagruns, outbox


class Alert(msgspec.Struct, frozen=True):
    """One alert that is to be delivered; `tries` is how often that was attempted in vain."""

    id: int
    run_id: int
    dag_id: str
    exec_ts: datetime
    task_id: str
    retry: int
    kind: AlertKind
    error: str | None
    tries: int


class Alerts:
    """Reads the outbox; what becomes of an alert is written by the scheduler, like everything else."""

    def __init__(self, db: str | Any) -> None:
        self.url = database.make_url(db)
        self._engine = database.reader_engine(self.url)

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def due(self, now: datetime, limit: int, after: int = 0) -> list[Alert]:
        """The alerts whose time has come, oldest first, from the first behind the number `after`."""
        o, r = outbox.c, dagruns.c
        query = (
            sa.select(outbox, r.RunId)
            .select_from(outbox.join(dagruns, sa.and_(o.DagId == r.DagId, o.ExecTs == r.ExecTs)))
            .where(o.NextTryAt <= now, o.AlertId > after)
            .order_by(o.AlertId)
            .limit(limit)
        )
        with database.in_words(self.url), self._engine.connect() as connection:
            return [_alert(row) for row in connection.execute(query)]

    def next_try_at(self) -> datetime | None:
        """When the next alert is due; None when the outbox is empty."""
        with database.in_words(self.url), self._engine.connect() as connection:
            at: datetime | None = connection.execute(sa.select(sa.func.min(outbox.c.NextTryAt))).scalar()
            return at


def _alert(row: Any) -> Alert:
    kind = AlertKind(row.Kind)
    key = (row.DagId, row.ExecTs, row.TaskId, row.Retry)
    return Alert(row.AlertId, row.RunId, *key, kind, row.Error, row.Tries)
