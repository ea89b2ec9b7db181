"""Brings `dags`, `dagtasks` and `dagversions` in line with the registry: only what changed is written."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ppacer.config import Mask, masked
from ppacer.dag import Dag, config_as_dict
from ppacer.errors import ScheduleError
from ppacer.schedule import CatchUp, first_point
from ppacer.store.schema import dags, dagtasks, dagversions
from ppacer.store.store import IN_MAX, Store
from ppacer.version import VERSION

Values = dict[str, Any]
Known = Mapping[str, Any]  # rows of `dags` by id


def sync(store: Store, registry: Mapping[str, Dag], now: datetime, mask: Mask = str) -> None:
    """One transaction. An unchanged registry leaves every row as it is; a dag that is gone is marked removed.

    A changed schedule begins at `now`; a dag that was disabled gets another chance. `mask` hides secrets in
    the source and the attributes that are kept.
    """
    with store.write as connection:
        known = {row.DagId: row for row in connection.execute(sa.select(dags))}
        changed = [dag for dag in registry.values() if dag.id not in known or _differs(dag, known[dag.id])]
        _sync_dags(connection, changed, known, now, mask)
        _sync_tasks(connection, changed, known, now, mask)
        _sync_versions(connection, changed, known, now)
        gone = [row.DagId for row in known.values() if row.DagId not in registry and row.RemovedAt is None]
        _update(connection, dags, ["DagId"], [{"k_DagId": dag_id, "RemovedAt": now} for dag_id in gone])
    for dag in registry.values():
        store.keep_graph(dag.id, dag.version, dag.graph)


def _insert(connection: sa.Connection, table: sa.Table, rows: list[Values]) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _update(connection: sa.Connection, table: sa.Table, key: Sequence[str], rows: list[Values]) -> None:
    """Updates one row for each of `rows`, which have the same columns and their key under k_ names."""
    if rows:
        values: Values = {name: sa.bindparam(name) for name in rows[0] if not name.startswith("k_")}
        this = [table.c[name] == sa.bindparam(f"k_{name}") for name in key]
        connection.execute(sa.update(table).where(*this).values(values), rows)


def _differs(dag: Dag, row: Any) -> bool:
    same = (row.HashDagMeta, row.HashTasks, row.DagVersion) == (dag.hash_meta, dag.hash_tasks, dag.version)
    return not same or row.RemovedAt is not None or row.DisabledAt is not None


def _dag_row(dag: Dag, now: datetime, mask: Mask) -> Values:
    return {
        "DagId": dag.id,
        "StartTs": dag.start_text,
        "Schedule": dag.schedule_text,
        "CreateTs": now,
        "CreateVersion": VERSION,
        "HashDagMeta": dag.hash_meta,
        "HashTasks": dag.hash_tasks,
        "Attributes": json.dumps(masked(dag.attributes, mask), ensure_ascii=False),
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


def _sync_dags(
    connection: sa.Connection, changed: list[Dag], known: Known, now: datetime, mask: Mask
) -> None:
    _insert(connection, dags, [_dag_row(dag, now, mask) for dag in changed if dag.id not in known])
    rows = [_changed_row(dag, known[dag.id], now, mask) for dag in changed if dag.id in known]
    _update(connection, dags, ["DagId"], rows)


_OF_VERSION = (
    "LatestUpdateTs",
    "LatestUpdateVersion",
    "HashDagMeta",
    "HashTasks",
    "Attributes",
    "DagVersion",
)
_OF_SCHEDULE = ("Schedule", "StartTs", "ScheduleSinceAt", "LastScheduleAt", "NextScheduleAt")


def _changed_row(dag: Dag, row: Any, now: datetime, mask: Mask) -> Values:
    values: Values = {name: getattr(row, name) for name in (*_OF_VERSION, *_OF_SCHEDULE)}
    values |= {"k_DagId": dag.id, "RemovedAt": None, "DisabledAt": None, "DisabledReason": None}
    if row.DagVersion != dag.version:
        fresh = _dag_row(dag, now, mask) | {"LatestUpdateTs": now, "LatestUpdateVersion": VERSION}
        values |= {name: fresh[name] for name in _OF_VERSION}
    if (row.Schedule, row.StartTs) != (dag.schedule_text, dag.start_text) or row.RemovedAt is not None:
        values |= {"Schedule": dag.schedule_text, "StartTs": dag.start_text, "ScheduleSinceAt": now}
        values |= {"LastScheduleAt": None, "NextScheduleAt": _first_point(dag, now, catch_up=False)}
    return values


def _sync_tasks(
    connection: sa.Connection, changed: list[Dag], known: Known, now: datetime, mask: Mask
) -> None:
    """New versions of tasks are new rows; the latest row of a task is current while its dag has the task."""
    fresh: list[Values] = []
    old: list[Values] = []
    for at in range(0, len(changed), IN_MAX):
        part = changed[at : at + IN_MAX]
        part = [dag for dag in part if dag.id not in known or dag.hash_tasks != known[dag.id].HashTasks]
        latest = _latest_tasks(connection, [dag.id for dag in part if dag.id in known])
        for dag in part:
            before = latest.get(dag.id, {})
            rows = _task_rows(dag, now, mask, before)
            fresh += rows.values()
            old += [
                {"k_DagId": dag.id, "k_TaskId": id, "k_Revision": row.Revision, "IsCurrent": 0}
                for id, row in before.items()
                if row.IsCurrent and (id in rows or id not in dag.nodes)
            ]
    _update(connection, dagtasks, ["DagId", "TaskId", "Revision"], old)
    _insert(connection, dagtasks, fresh)


def _latest_tasks(connection: sa.Connection, dag_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The newest row of each task of these dags, without its source."""
    t = dagtasks.c
    columns = [t[name] for name in ("DagId", "TaskId", "Revision", "IsCurrent", *_TASK_VERSION)]
    query = sa.select(*columns).where(t.DagId.in_(dag_ids)).order_by(t.Revision)
    latest: dict[str, dict[str, Any]] = {}
    for row in connection.execute(query) if dag_ids else ():
        latest.setdefault(row.DagId, {})[row.TaskId] = row
    return latest


def _task_rows(dag: Dag, now: datetime, mask: Mask, latest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A row for each task that differs from its latest one."""
    rows = {}
    configs: dict[int, str] = {}  # most tasks of a dag share one TaskConfig object
    for spec in dag.graph.tasks:
        body, config = dag.bodies[spec.id], dag.configs[spec.id]
        text = configs.get(id(config))
        if text is None:
            text = configs[id(config)] = json.dumps(masked(config_as_dict(config), mask), ensure_ascii=False)
        row = {
            "DagId": dag.id,
            "TaskId": spec.id,
            "IsCurrent": 1,
            "InsertTs": now,
            "PosDepth": spec.depth,
            "PosWidth": spec.width,
            "Version": VERSION,
            "TaskTypeName": body.type_name,
            "TaskConfig": text,
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


def _sync_versions(connection: sa.Connection, changed: list[Dag], known: Known, now: datetime) -> None:
    """Keeps the graph of every version that was ever current: runs pin it, and a version may come back."""
    new = [dag for dag in changed if dag.id not in known or dag.version != known[dag.id].DagVersion]
    v = dagversions.c
    for at in range(0, len(new), IN_MAX):
        part = new[at : at + IN_MAX]
        query = sa.select(v.DagId, v.DagVersion).where(v.DagId.in_([dag.id for dag in part]))
        kept = {(row.DagId, row.DagVersion) for row in connection.execute(query)}
        rows = [
            {"DagId": dag.id, "DagVersion": dag.version, "InsertTs": now, "Graph": dag.graph.to_json()}
            for dag in part
            if (dag.id, dag.version) not in kept
        ]
        _insert(connection, dagversions, rows)
