"""Lists of dags: by id, by what their ids and tags contain, by their state. Every list is one page long."""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from ppacer.choices import DagState
from ppacer.engine import RunStatus
from ppacer.store.schema import dagruns, dags
from ppacer.store.views import PAGE_MAX, NextView


def dag_rows(
    connection: sa.Connection,
    *,
    after: str,
    limit: int,
    tag: str | None,
    removed: bool,
    text: str | None,
    state: DagState | None,
    planned: bool = False,
) -> Sequence[Any]:
    """A page of dags in the order of their ids, from the first one behind `after`."""
    d = dags.c
    query = sa.select(dags).where(d.DagId > after).order_by(d.DagId)
    if not removed:
        query = query.where(d.RemovedAt.is_(None))
    if state is not None:
        query = query.where(_is(state))
    if planned:
        query = query.where(d.Schedule.is_not(None))
    if tag is not None:
        query = query.where(d.Attributes.contains(_json(tag), autoescape=True))
    if tag is None and not text:
        return connection.execute(query.limit(limit)).all()
    # Tags are JSON in a text, so their words are judged here.
    found = connection.execute(query.execution_options(yield_per=PAGE_MAX))
    return list(islice((row for row in found if _fits(row, tag, text)), limit))


def _fits(row: Any, tag: str | None, text: str | None) -> bool:
    tags = json.loads(row.Attributes)["Tags"]
    if tag is not None and tag not in tags:
        return False
    wanted = (text or "").casefold()
    return wanted in row.DagId.casefold() or any(wanted in one.casefold() for one in tags)


def _is(state: DagState) -> sa.ColumnElement[bool]:
    d, r = dags.c, dagruns.c
    match state:
        case DagState.PAUSED:
            return d.PausedAt.is_not(None)
        case DagState.DISABLED:
            return d.DisabledReason.is_not(None)
        case DagState.RUNNING:
            unfinished = (RunStatus.RUNNING, RunStatus.SCHEDULED)
            return d.DagId.in_(sa.select(r.DagId).where(r.Status.in_(unfinished)))
        case DagState.FAILED:
            newest = sa.select(r.Status).where(r.DagId == d.DagId).order_by(r.RunId.desc()).limit(1)
            return newest.scalar_subquery() == RunStatus.FAILED


def next_points(connection: sa.Connection, until: datetime, limit: int) -> list[NextView]:
    """The dags whose next point is not after `until`, soonest first; a paused or disabled one has none."""
    d = dags.c
    query = (
        sa.select(d.DagId, d.Schedule, d.NextScheduleAt)
        .where(
            d.NextScheduleAt <= until, d.PausedAt.is_(None), d.DisabledReason.is_(None), d.RemovedAt.is_(None)
        )
        .order_by(d.NextScheduleAt, d.DagId)
        .limit(limit)
    )
    return [NextView(*row) for row in connection.execute(query)]


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
