"""The rows of a SQLite file beside those of the fold."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from ppacer.clock import to_text
from sim.fold import Row, Tables


def differences(path: Path, tables: Tables) -> Iterator[str]:
    """One sentence for each table that is not the same, up to the first row that differs."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        for name, expected in _expected(tables).items():
            columns = list(expected[0]) if expected else ["*"]
            found = [_plain(dict(row)) for row in connection.execute(f"SELECT * FROM {name}")]
            found = [{column: row[column] for column in columns} for row in found] if expected else found
            mine, theirs = sorted(map(_text, expected)), sorted(map(_text, found))
            if mine != theirs:
                pairs = [(a, b) for a, b in zip(mine, theirs, strict=False) if a != b]
                yield f"{name}: {len(mine)} rows in the fold, {len(theirs)} in the file; first {pairs[:1]}"


def _expected(tables: Tables) -> dict[str, list[Row]]:
    return {
        "dags": [*map(_plain, tables.dags.values())],
        "dagruns": [*map(_plain, tables.dagruns.values())],
        "dagruntasks": [_plain(row) for rows in tables.dagruntasks.values() for row in rows.values()],
        "dagrunresults": _of_runs(tables, tables.dagrunresults),
        "dagrunrestarts": _of_runs(tables, tables.dagrunrestarts),
        "schedules": [_plain(row) for rows in tables.schedules.values() for row in rows],
        "outbox": [*map(_plain, tables.outbox.values())],
        "backfills": [*map(_plain, tables.backfills.values())],
        "backfillpoints": [
            {"BackfillId": number, "Position": position, "ExecTs": to_text(point)}
            for number, points in tables.backfillpoints.items()
            for position, point in enumerate(points)
        ],
        "dagversions": [{"DagId": id, "DagVersion": version} for id, version in tables.dagversions],
    }


def _of_runs(tables: Tables, by_run: Mapping[int, Mapping[Any, Row]]) -> list[Row]:
    keys = {
        run_id: {name: run[name] for name in ("DagId", "ExecTs")} for run_id, run in tables.dagruns.items()
    }
    return [_plain(keys[run_id] | row) for run_id, rows in by_run.items() for row in rows.values()]


def _plain(row: Row) -> Row:
    """Instants as the file has them, enums as their text."""
    return {key: _value(value) for key, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_text(value)
    return str(value) if isinstance(value, str) else value


def _text(row: Row) -> str:
    return repr(sorted(row.items()))
