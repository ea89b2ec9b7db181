"""Brings `dags`, `dagtasks` and `dagversions` in line with the registry: only what changed is written."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ppacer.dag import Dag, config_as_dict
from ppacer.errors import ScheduleError
from ppacer.schedule import CatchUp, first_point
from ppacer.store.schema import dags, dagtasks, dagversions
from ppacer.store.store import Store
from ppacer.version import VERSION

Mask = Callable[[str], str]
_CHANGED = {"LatestUpdateTs", "LatestUpdateVersion", "HashDagMeta", "HashTasks", "Attributes", "DagVersion"}


def sync(store: Store, registry: Mapping[str, Dag], now: datetime, mask: Mask = lambda text: text) -> None:
    """One transaction. An unchanged registry leaves every row as it is; a dag that is gone is marked removed.

    A changed schedule begins at `now`; a dag that was disabled gets another chance. `mask` hides secrets in
    the source that is kept.
    """
    with store.write as connection:
        known = {row.DagId: row for row in connection.execute(sa.select(dags))}
        new = [dag for dag in registry.values() if dag.id not in known]
        changed = [dag for dag in registry.values() if dag.id in known and _differs(dag, known[dag.id])]
        _insert(connection, dags, [_dag_row(dag, now) for dag in new])
        for dag in changed:
            values = _dag_changes(dag, known[dag.id], now)
            connection.execute(sa.update(dags).where(dags.c.DagId == dag.id).values(values))
        _sync_tasks(connection, new, [d for d in changed if d.hash_tasks != known[d.id].HashTasks], now, mask)
        versions = [
            dag for dag in (*new, *changed) if dag.id not in known or dag.version != known[dag.id].DagVersion
        ]
        _sync_versions(connection, versions, now)
        gone = [row.DagId for row in known.values() if row.DagId not in registry and row.RemovedAt is None]
        for dag_id in gone:
            connection.execute(sa.update(dags).where(dags.c.DagId == dag_id).values(RemovedAt=now))
    for dag in registry.values():
        store.keep_graph(dag.id, dag.version, dag.graph)


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _differs(dag: Dag, row: Any) -> bool:
    same = (row.HashDagMeta, row.HashTasks, row.DagVersion) == (dag.hash_meta, dag.hash_tasks, dag.version)
    return not same or row.RemovedAt is not None or row.DisabledAt is not None


def _dag_row(dag: Dag, now: datetime) -> dict[str, Any]:
    return {
        "DagId": dag.id,
        "StartTs": dag.start_text,
        "Schedule": dag.schedule_text,
        "CreateTs": now,
        "CreateVersion": VERSION,
        "HashDagMeta": dag.hash_meta,
        "HashTasks": dag.hash_tasks,
        "Attributes": json.dumps(dag.attributes, ensure_ascii=False),
        "DagVersion": dag.version,
        "ScheduleSinceAt": now,
        "NextScheduleAt": _first_point(dag, now, dag.catch_up),
    }


def _first_point(dag: Dag, now: datetime, catch_up: CatchUp) -> datetime | None:
    """The cursor of a new schedule; one that raises is left to the scheduler, which disables the dag."""
    try:
        return None if dag.schedule is None else first_point(dag.schedule, now, catch_up)
    except ScheduleError:
        return None


def _dag_changes(dag: Dag, row: Any, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"RemovedAt": None, "DisabledAt": None, "DisabledReason": None}
    if row.DagVersion != dag.version:
        fresh = _dag_row(dag, now) | {"LatestUpdateTs": now, "LatestUpdateVersion": VERSION}
        values |= {name: fresh[name] for name in _CHANGED}
    if (row.Schedule, row.StartTs) != (dag.schedule_text, dag.start_text) or row.RemovedAt is not None:
        values |= {"Schedule": dag.schedule_text, "StartTs": dag.start_text, "ScheduleSinceAt": now}
        values |= {"LastScheduleAt": None, "NextScheduleAt": _first_point(dag, now, catch_up=False)}
    return values


def _sync_tasks(
    connection: sa.Connection, new: list[Dag], changed: list[Dag], now: datetime, mask: Mask
) -> None:
    _insert(connection, dagtasks, [row for dag in new for row in _task_rows(dag, now, mask, {}).values()])
    for dag in changed:
        rows = connection.execute(
            sa.select(dagtasks).where(dagtasks.c.DagId == dag.id).order_by(dagtasks.c.Revision)
        )
        latest = {row.TaskId: row for row in rows}
        fresh = _task_rows(dag, now, mask, latest)
        old = [id for id, row in latest.items() if row.IsCurrent and (id in fresh or id not in dag.nodes)]
        for task_id in old:
            this = sa.and_(
                dagtasks.c.DagId == dag.id, dagtasks.c.TaskId == task_id, dagtasks.c.IsCurrent == 1
            )
            connection.execute(sa.update(dagtasks).where(this).values(IsCurrent=0))
        _insert(connection, dagtasks, list(fresh.values()))


def _task_rows(dag: Dag, now: datetime, mask: Mask, latest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A row for each task that differs from its latest one."""
    rows = {}
    configs: dict[int, str] = {}  # most tasks of a dag share one TaskConfig object
    for spec in dag.graph.tasks:
        body, config = dag.bodies[spec.id], dag.configs[spec.id]
        text = configs.get(id(config))
        if text is None:
            text = configs[id(config)] = json.dumps(config_as_dict(config), ensure_ascii=False)
        row = {
            "DagId": dag.id,
            "TaskId": spec.id,
            "IsCurrent": 1,
            "InsertTs": now,
            "PosDepth": spec.depth,
            "PosWidth": spec.width,
            "Version": VERSION,
            "TaskTypeName": body.type_name,
            "TaskConfig": mask(text),
            "TaskBodyHash": body.hash,
            "TaskBodySource": mask(body.source),
            "Parents": json.dumps([dag.graph.tasks[parent].id for parent in spec.parents]),
            "DagVersion": dag.version,
        }
        before = latest.get(spec.id)
        if (
            before is None
            or not before.IsCurrent
            or any(getattr(before, name) != row[name] for name in _TASK_VERSION)
        ):
            rows[spec.id] = row | {"Revision": 0 if before is None else before.Revision + 1}
    return rows


_TASK_VERSION = ("TaskTypeName", "TaskConfig", "TaskBodyHash", "PosDepth", "PosWidth", "Parents")


def _sync_versions(connection: sa.Connection, changed: Iterable[Dag], now: datetime) -> None:
    rows = []
    for dag in changed:
        row = {"DagId": dag.id, "DagVersion": dag.version, "InsertTs": now, "Graph": dag.graph.to_json()}
        rows.append(row)
    if not rows:
        return
    v = dagversions.c
    known = {
        (row.DagId, row.DagVersion)
        for at in range(0, len(rows), 500)
        for row in connection.execute(
            sa.select(v.DagId, v.DagVersion).where(v.DagId.in_([r["DagId"] for r in rows[at : at + 500]]))
        )
    }
    _insert(connection, dagversions, [row for row in rows if (row["DagId"], row["DagVersion"]) not in known])
