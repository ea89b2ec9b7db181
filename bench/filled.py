"""A database as a busy house has it: 200 dags, 100,000 runs and 1,000,000 attempts, up to now.

    python -m bench.filled big.db [RUNS]             makes it, in about a minute
    ppacer serve bench/filled_dags.py --db big.db    serves it: for pictures, and to try pages on

The runs stand where their schedules have put them, seen from now.
"""

import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from bench.filled_dags import DAGS
from bench.old_rows import CHUNK, VERSION, insert, make
from ppacer.clock import from_text, to_text
from ppacer.config.settings import logs_beside
from ppacer.dag import Dag
from ppacer.schedule import Schedule, next_point
from ppacer.tasklog import LogRecord, LogWriter

RUNS = 100_000
AUDITED = 20_000
LINES = 200_000  # of the one log that there is
ACTORS = ("alice", "bob", "ci", "local")
EXECUTORS = ("batch-1", "batch-2", "gpu-1", "local", "night")


class Past(NamedTuple):
    """A run that has been."""

    number: int
    dag: Dag
    at: datetime
    status: str
    trigger: str
    slow: float  # how many seconds each task took
    restarts: int = 0


def past(runs: int, now: datetime) -> Iterator[Past]:
    """The runs, oldest first: what the schedules say, every 40th by hand."""
    chance = random.Random(5)
    hour = now.replace(minute=0, second=0, microsecond=0)
    points = sorted(_points_until(hour, now, runs), key=lambda point: point[:2])[-runs:]
    for number, (at, _, dag) in enumerate(points, 1):
        status = "RUNNING" if number > runs - 6 else chance.choices(*_ODDS)[0]
        by_hand = number % 40 == 0
        restarts = 1 if number % 90 == 7 and status == "SUCCESS" else 0
        late = timedelta(microseconds=chance.randrange(1_000_000) if by_hand else 0)
        yield Past(number, dag, at + late, status, "manual" if by_hand else "schedule",
                   chance.lognormvariate(1.5, 0.8), restarts)  # fmt: skip


_ODDS = (("SUCCESS", "FAILED", "CANCELLED"), (960, 33, 7))


def _points_until(hour: datetime, now: datetime, runs: int) -> Iterator[tuple[datetime, str, Dag]]:
    """More points than are wanted, of which the newest are taken."""
    planned = [(dag, dag.schedule) for dag in DAGS if dag.schedule is not None]
    begin = hour - timedelta(days=1)
    per_day = sum(sum(1 for _ in _between(schedule, begin, hour)) for _, schedule in planned)
    begin -= timedelta(days=runs // (per_day * 3 // 5))  # weekends have fewer
    for dag, schedule in planned:
        yield from ((at, dag.id, dag) for at in _between(schedule, begin, now))


def _between(schedule: Schedule, at: datetime, end: datetime) -> Iterator[datetime]:
    while (point := next_point(schedule, at, at)) is not None and point <= end:
        yield point
        at = point


def fill(db: Path, runs: int, now: datetime) -> None:
    """Makes the database. Durable only at the end: who kills it begins anew."""
    make(db, DAGS)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        every = past(runs, now)
        while chunk := list(islice(every, CHUNK)):
            connection.execute("BEGIN IMMEDIATE")
            insert(connection, "dagruns", (_run(run) for run in chunk))
            insert(connection, "dagruntasks", chain.from_iterable(map(_attempts, chunk)))
            insert(connection, "dagrunresults", (_result(run) for run in chunk))
            insert(connection, "schedules", (_point(run) for run in chunk if run.trigger == "schedule"))
            connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        insert(connection, "executors", _executors(now))
        insert(connection, "audit", _audit(now, runs))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = connection.execute("SELECT DagId, ExecTs FROM dagruns WHERE RunId = ?", (runs // 2,)).fetchone()
    _talk(logs_beside(str(db)), row)


def _talk(logs_db: str, run: tuple[str, str]) -> None:
    """One attempt that has said a lot: the task `join` of the run in the middle."""
    with LogWriter(logs_db) as writer:
        for first in range(0, LINES, CHUNK):
            writer.put([_said(run, number) for number in range(first, first + CHUNK)])
            assert writer.flush(60.0)


def _said(run: tuple[str, str], number: int) -> LogRecord:
    dag_id, exec_ts = run
    level = "INFO" if number % 50 else "WARNING"
    text = f"row {number} of {LINES} was read: country=PL, price={number % 977}"
    return LogRecord(dag_id, from_text(exec_ts), "join", 0, from_text(exec_ts), level, text)


def _run(run: Past) -> dict[str, Any]:
    at, is_open = to_text(run.at), run.status == "RUNNING"
    end = None if is_open else to_text(run.at + timedelta(seconds=7 * run.slow))
    params = json.dumps({"country": "PL", "rows": run.number % 1_000}) if run.trigger == "manual" else None
    return {"RunId": run.number, "DagId": run.dag.id, "ExecTs": at, "InsertTs": at, "Params": params,
            "StatusUpdateTs": end or at, "Status": run.status, "Version": VERSION,
            "DagVersion": run.dag.version, "TriggeredBy": run.trigger, "Restarts": run.restarts,
            "StartedAt": at, "EndedAt": end}  # fmt: skip


def _attempts(run: Past) -> Iterator[dict[str, Any]]:
    """One of each task; where one failed, two more, and those behind it never began."""
    tasks = run.dag.graph.tasks
    fails_at = run.number % len(tasks)
    at = run.at
    for place, spec in enumerate(tasks):
        if run.status == "SUCCESS" or place < fails_at:
            at = run.at + timedelta(seconds=run.slow * min(place, 6))
            yield _attempt(run, spec.id, 0, "SUCCESS", at)
        elif run.status == "FAILED" and place == fails_at:
            for retry in range(3):
                status = "FAILED" if retry == 2 else "FAILED_PENDING_RETRY"
                yield _attempt(run, spec.id, retry, status, at + timedelta(seconds=70 * retry))
        elif run.status == "RUNNING":
            if place == fails_at:
                yield _attempt(run, spec.id, 0, "RUNNING", at)
        else:
            status = "UPSTREAM_FAILED" if run.status == "FAILED" else "CANCELLED"
            yield _attempt(run, spec.id, 0, status, at)


ERROR = "ValueError: column 'price' has 3 empty values"


def _attempt(run: Past, task_id: str, retry: int, status: str, at: datetime) -> dict[str, Any]:
    begun = status not in ("UPSTREAM_FAILED", "CANCELLED")
    failed, text = status.startswith("FAILED"), to_text(at)
    end = to_text(at + timedelta(seconds=run.slow))
    executor = EXECUTORS[run.number % 3] if begun else None
    return {"DagId": run.dag.id, "ExecTs": to_text(run.at), "TaskId": task_id, "Retry": retry,
            "InsertTs": text, "Status": status, "StatusUpdateTs": text, "Version": VERSION,
            "Restart": run.restarts, "Reason": "FAILED" if failed else None,
            "Error": ERROR if failed else None, "Executor": executor,
            "Token": f"{run.number:016x}" if begun else None, "StartedAt": text if begun else None,
            "EndedAt": None if status == "RUNNING" else end, "LeaseEndAt": end if begun else None,
            "ResultBytes": 2 if status == "SUCCESS" else None,
            "PeakMemory": 12_000_000 + run.number % 50 * 1_000_000 if begun else None,
            "TaskBodyHash": run.dag.bodies[task_id].hash if begun else None,
            "CpuSeconds": run.slow / 2 if begun else None}  # fmt: skip


def _result(run: Past) -> dict[str, Any]:
    return {"DagId": run.dag.id, "ExecTs": to_text(run.at), "TaskId": "extract", "Retry": 0, "Result": "42"}


def _point(run: Past) -> dict[str, Any]:
    at = to_text(run.at)
    return {"DagId": run.dag.id, "InsertTs": at, "Event": "REGULAR", "ScheduleTs": at, "NextScheduleTs": None}


def _executors(now: datetime) -> Iterator[dict[str, Any]]:
    """Two that work, one that drains, one that is gone; `local` is whoever serves the file."""
    versions = {dag.id: dag.version for dag in DAGS}
    for number, name in enumerate(EXECUTORS):
        if name != "local":
            loaded = dict(list(versions.items())[: -7 * (number == 1) or None])
            yield {"Name": name, "StartedAt": to_text(now - timedelta(days=3)), "Host": f"{name}.example.net",
                   "Pid": 4_000 + number, "Version": VERSION, "Protocol": 2, "Slots": 8 * (number + 1),
                   "Labels": json.dumps(["gpu", "big"] if name == "gpu-1" else []),
                   "Runners": json.dumps(["process", "thread"]), "DagVersions": json.dumps(loaded),
                   "HeartbeatAt": to_text(now - timedelta(seconds=9)), "Identity": f"{number:040x}",
                   "DrainingAt": to_text(now - timedelta(minutes=4)) if number == 1 else None,
                   "GoneAt": to_text(now - timedelta(hours=2)) if name == "night" else None,
                   "GoneReason": "not heard of for 30 s" if name == "night" else None}  # fmt: skip


REFUSED = "run 7 has ended with SUCCESS; it cannot be cancelled"


def _audit(now: datetime, runs: int) -> Iterator[dict[str, Any]]:
    for number in range(1, AUDITED + 1):
        dag, command = DAGS[number * 17 % len(DAGS)], ("trigger", "restart", "cancel", "pause")[number % 4]
        refused = number % 23 == 0
        asked = {"dag_id": dag.id} if command in ("trigger", "pause") else {"run_id": number % runs}
        yield {"AuditId": number, "At": to_text(now - timedelta(minutes=AUDITED - number)),
               "Actor": ACTORS[number % 3], "Address": f"10.0.0.{number % 7 + 1}", "Command": command,
               "DagId": dag.id, "RunId": asked.get("run_id"), "Details": json.dumps(asked),
               "Outcome": "conflict" if refused else "done",
               "Error": REFUSED if refused else None}  # fmt: skip


if __name__ == "__main__":
    began = time.perf_counter()
    fill(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else RUNS, datetime.now(UTC))
    print(f"{sys.argv[1]} was filled in {time.perf_counter() - began:.0f} s")
