"""Both engines answer every question of readers alike: the same changes, then the same answers."""

from collections.abc import Iterator

import msgspec
import pytest

from engine.world import at
from postgresql.server import Server
from ppacer.dag import Registry
from ppacer.engine import RunRef
from ppacer.engine.changes import AlertKind, AlertQueued, AlertTried
from ppacer.store import Store, care
from ppacer.store.alerts import Alerts
from ppacer.store.reads import Reads
from ppacer.store.stats import stats
from ppacer.store.sync import sync
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
