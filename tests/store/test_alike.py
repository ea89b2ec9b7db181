"""Both engines answer every question of readers alike: the same changes, then the same answers."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.world import at
from postgresql.server import Server
from ppacer.dag import Registry
from ppacer.engine import RunRef
from ppacer.engine.changes import (
    AlertKind,
    AlertQueued,
    AlertTried,
    Audited,
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
    Change,
    ExecutorDraining,
    ExecutorGone,
    ExecutorGreeted,
    ExecutorHeard,
    ReplyKept,
    TokenCreated,
    TokenRevoked,
)
from ppacer.errors import StoreError
from ppacer.store import Store, care
from ppacer.store.alerts import Alerts
from ppacer.store.reads import Reads
from ppacer.store.stats import stats
from ppacer.store.sync import sync
from store.shelf import rows
from store.test_long_lists import LOOKS, Look, filled
from store.test_sync import dag

MORE: dict[str, Look] = {
    "dags with a tag": lambda reads: reads.dags(tag="nightly"),
    "a page of dags": lambda reads: reads.dags(after="often", limit=2, removed=True),
    "a run with its tasks": lambda reads: reads.run_detail(150),
    "results": lambda reads: reads.results(100),
    "runs in order": lambda reads: [run.run_id for run in reads.runs(limit=1000)],
}
ALL: dict[str, Look] = LOOKS | MORE


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[list[str]]:
    dbs = [
        str(tmp_path_factory.mktemp("alike") / "scheduler.db"),
        postgresql.database(lambda url: Store(url).close()),
    ]
    for db in dbs:
        filled(db, 200).close()
        store = Store(db)
        kept = Registry([dag("a", "b", id=f"new-{n}", tags=["nightly", "ü"]) for n in range(3)])
        sync(store, kept, at(10_000), mask=lambda text: text.replace("A task", "***"))
        failed = RunRef(100, "often", at(100))
        alerts = [AlertQueued(failed, task, 0, AlertKind.FAILURE, "it", at(5)) for task in "abc"]
        store.apply([*alerts])
        store.apply([AlertTried(1, at(6)), AlertTried(2, at(6), "busy", at(9))])
        store.close()
    yield dbs
    postgresql.drop(dbs[1])


@pytest.mark.parametrize("name", ALL)
def test_every_question_has_the_same_answer(both: list[str], name: str) -> None:
    answers = []
    for db in both:
        reads = Reads(db)
        answers.append(msgspec.to_builtins(ALL[name](reads)))
        reads.close()
    assert answers[0] == answers[1]
    assert bool(answers[0]) == (name != "sources")  # its dag was written without tasks


def test_alerts_are_due_at_the_same_time(both: list[str]) -> None:
    answers = []
    for db in both:
        alerts = Alerts(db)
        answers.append((alerts.due(at(8), 10), alerts.due(at(9), 10), alerts.next_try_at()))
        alerts.close()
    assert answers[0] == answers[1]
    assert [[alert.id for alert in part] for part in answers[0][:2]] == [[3], [2, 3]]


def test_counts_and_problems_are_the_same(both: list[str]) -> None:
    counts = []
    for db in both:
        found = stats(db, at(150), 10)
        rows = {table.name: table.rows for table in found.tables}
        counts.append((found.runs, found.attempts, found.oldest_run_at, found.expired_runs, rows))
    assert counts[0] == counts[1]
    assert care.problems(both[0]) == care.problems(both[1])


LIVES: list[Change] = [
    Audited(at(1), "me", None, "trigger", "d", 7, "{}", "done", None),
    Audited(at(2), "me", "::1", "pause", None, None, "{}", "not_found", "no such dag"),
    ReplyKept("me", "key", at(3), "trigger d", '{"run_id": 7}'),
    TokenCreated("t1", "ci", "operator", "a" * 64, at(4), "me", None),
    TokenRevoked("t1", at(5)),
    TokenCreated("t2", "ci", "viewer", "b" * 64, at(6), "me", at(99)),
    ExecutorGreeted("x", at(7), True, "host", 1, "0.1", 1, 4, ["gpu"], None, {"d": "v"}, "i", "l"),
    ExecutorHeard("x", at(8)),
    ExecutorDraining("x", at(9)),
    ExecutorGone("x", at(10), "it has ended"),
    BackfillCreated(1, "d", at(0), at(9), True, 4, '{"n":1}', [at(5), at(3)], at(12), "me"),
    BackfillMoved(1, 0, False),
    BackfillMarked(1, at(13), "it broke"),
    BackfillMarked(1),
    BackfillCancelled(1, at(14)),
    BackfillEnded(1, at(15)),
    ExecutorGreeted("x", at(11), False, "host", 2, "0.1", 1, 8, None, ["thread"], {}, "i", "m"),
]


def test_what_is_written_of_executors_tokens_commands_and_backfills_is_the_same(
    tmp_path: Path, postgresql: Server
) -> None:
    dumps = []
    for db in (str(tmp_path / "a.db"), postgresql.database(lambda url: Store(url).close())):
        store = Store(db)
        for change in LIVES:
            store.apply([change])
        assert [token.token_id for token in store.token_rows()] == ["t1", "t2"]
        assert store.reply("me", "key") == ("trigger d", '{"run_id": 7}')
        with pytest.raises(StoreError, match="uq_tokens_name"):
            store.apply([TokenCreated("t3", "ci", "viewer", "c" * 64, at(7), "me", None)])
        store.close()
        tables = ("audit", "requests", "tokens", "executors", "backfills", "backfillpoints")
        dumps.append({table: rows(db, table) for table in tables})
    assert dumps[0] == dumps[1]
    assert [len(found) for found in dumps[0].values()] == [2, 1, 2, 1, 1, 2]
