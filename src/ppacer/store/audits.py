"""The audit as readers see it: a page of commands, newest first.

Dags and runs have an index, actors, commands and outcomes have none: what is asked of these is looked for
among the newest `LOOKED_MAX` rows (of the dag, of the run), and the answer says from where to look on.
"""

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from ppacer.config import Mask, masked
from ppacer.store.schema import audit
from ppacer.store.views import AuditFound, AuditView

LOOKED_MAX = 10_000


class AuditSearch(NamedTuple):
    """What commands are wanted."""

    dag_id: str | None = None
    run_id: int | None = None
    actor: str | None = None
    command: str | None = None
    refused: bool | None = None
    before: int | None = None


def audit_views(
    connection: sa.Connection, search: AuditSearch, limit: int, mask: Mask, low: int = 0
) -> list[AuditView]:
    """The newest commands that fit, from the number `low` on."""
    a = audit.c
    query = sa.select(audit).order_by(a.AuditId.desc()).limit(limit)
    if search.refused is not None:
        query = query.where(a.Outcome != "done" if search.refused else a.Outcome == "done")
    for column, value in (
        (a.DagId, search.dag_id), (a.RunId, search.run_id), (a.Actor, search.actor),
        (a.Command, search.command),
    ):  # fmt: skip
        if value is not None:
            query = query.where(column == value)
    if search.before is not None:
        query = query.where(a.AuditId < search.before)
    if low:
        query = query.where(a.AuditId >= low)
    return [_view(row, mask) for row in connection.execute(query)]


def find_audit(connection: sa.Connection, search: AuditSearch, limit: int, mask: Mask) -> AuditFound:
    """A page, and the number below which there may be more."""
    low = _low(connection, search)
    rows = audit_views(connection, search, limit + 1, mask, low)
    if len(rows) > limit:
        return AuditFound(rows[:limit], rows[limit - 1].audit_id, None)
    return AuditFound(rows, low or None, LOOKED_MAX if low else None)


def _low(connection: sa.Connection, search: AuditSearch) -> int:
    """From which number on it is looked; 0: from the first one."""
    if search.actor is None and search.command is None and search.refused is None:
        return 0
    a = audit.c
    query = sa.select(a.AuditId).order_by(a.AuditId.desc()).offset(LOOKED_MAX).limit(1)
    for column, value in ((a.DagId, search.dag_id), (a.RunId, search.run_id)):
        query = query if value is None else query.where(column == value)
    if search.before is not None:
        query = query.where(a.AuditId < search.before)
    beyond = connection.execute(query).scalar()
    return 0 if beyond is None else int(beyond) + 1


def _view(row: Any, mask: Mask) -> AuditView:
    return AuditView(
        row.AuditId,
        row.At,
        row.Actor,
        row.Address,
        row.Command,
        row.DagId,
        row.RunId,
        masked(json.loads(row.Details or "{}"), mask),
        row.Outcome,
        None if row.Error is None else mask(row.Error),
    )
