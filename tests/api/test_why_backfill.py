"""Every state of a backfill explains itself."""

from typing import Any

import pytest

from api.test_why import NOW, at, dag
from ppacer.api.why_backfill import why_backfill, why_backfills
from ppacer.store.views import BackfillDetail, BackfillView

IT = "backfill 3 of etl"


def backfill(runs: dict[str, int] | None = None, **facts: Any) -> BackfillDetail:
    """One of ten points, four at once."""
    usual: dict[str, Any] = {
        "backfill_id": 3,
        "dag_id": "etl",
        "state": "RUNNING",
        "from_ts": at(-9000),
        "to_ts": at(-60),
        "newest_first": False,
        "max_active_runs": 4,
        "params": {},
        "points": 10,
        "position": 0,
        "passed": 0,
        "created_at": at(-50),
        "created_by": "local",
        "paused_at": None,
        "pause_reason": None,
        "cancel_requested_at": None,
        "ended_at": None,
    }
    return BackfillDetail(BackfillView(**(usual | facts)), runs or {})


CASES = [
    (
        dag(),
        backfill(),
        (
            f"{IT} begins its next run at the next step of the scheduler. So far: 0 runs begun; "
            "10 points to come."
        ),
    ),
    (
        dag(),
        backfill({"RUNNING": 3, "SCHEDULED": 1, "SUCCESS": 1}, position=6, passed=1),
        (
            f"{IT} waits until one of its runs ends: 4 runs are open, and it has 4 at once. So far: "
            "5 runs begun (1 SCHEDULED, 3 RUNNING, 1 SUCCESS), 1 point had a run by then; 4 points to come."
        ),
    ),
    (
        dag(running=2, max_active_runs=2),
        backfill({"RUNNING": 1}, position=1),
        (
            f"{IT} waits until a run of its dag ends: 2 runs are running, and max_active_runs is 2. "
            "So far: 1 run begun (1 RUNNING); 9 points to come."
        ),
    ),
    (
        dag(next_at=at(-5)),
        backfill(),
        (
            f"{IT} waits for the dag's own points, which go first: the one of 2026-03-02 11:59:55 UTC "
            "is due. So far: 0 runs begun; 10 points to come."
        ),
    ),
    (
        dag(next_at=at(-5), paused_at=at(-9)),
        backfill(),
        (
            f"{IT} begins its next run at the next step of the scheduler. So far: 0 runs begun; "
            "10 points to come."
        ),
    ),
    (
        dag(removed_at=at(-9)),
        backfill(),
        (
            f"{IT} waits: since 2026-03-02 11:59:51 UTC its dag is not among those that are served. "
            "So far: 0 runs begun; 10 points to come."
        ),
    ),
    (
        dag(),
        backfill({"RUNNING": 2, "SUCCESS": 8}, position=10),
        (
            f"{IT} waits for the last of its runs: 2 RUNNING, 8 SUCCESS. So far: 10 runs begun "
            "(2 RUNNING, 8 SUCCESS); 0 points to come."
        ),
    ),
    (
        dag(),
        backfill({"SUCCESS": 1}, position=1, state="PAUSED", paused_at=at(-1)),
        (
            f"{IT} is paused since 2026-03-02 11:59:59 UTC. It goes on with "
            "`ppacer backfill unpause 3`; 9 points to come."
        ),
    ),
    (
        dag(),
        backfill(state="PAUSED", paused_at=at(-1), pause_reason="StaleWrite: it moved"),
        (
            f"{IT} is paused since 2026-03-02 11:59:59 UTC, because it could not go on: StaleWrite: it "
            "moved. It goes on with `ppacer backfill unpause 3`; 10 points to come."
        ),
    ),
    (
        dag(),
        backfill({"RUNNING": 1, "CANCELLED": 2}, position=3, state="CANCELLING"),
        f"{IT} is being cancelled; it ends when its open runs have: 1 RUNNING, 2 CANCELLED.",
    ),
    (
        dag(),
        backfill({"CANCELLED": 3}, position=3, state="CANCELLED"),
        f"{IT} was cancelled: 3 runs begun (3 CANCELLED); 7 points it has not come to.",
    ),
    (
        dag(),
        backfill({"SUCCESS": 8, "FAILED": 1}, position=10, passed=1, state="DONE"),
        f"{IT} is done: 9 runs begun (8 SUCCESS, 1 FAILED), 1 point had a run by then.",
    ),
]


@pytest.mark.parametrize(("of", "detail", "words"), CASES)
def test_each_state_in_words(of: Any, detail: BackfillDetail, words: str) -> None:
    assert why_backfill(of, detail, NOW, True) == words
    nobody = (
        "" if detail.backfill.state in ("DONE", "CANCELLED") else " But no scheduler is running; start it"
    )
    assert why_backfill(of, detail, NOW, False).startswith(words + nobody)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, ""),
        (1, " Backfill 1 of it is RUNNING, with 10 points to come. See `ppacer backfill list`."),
        (5, "3 of it is RUNNING, with 10 points to come. 2 more are open; see `ppacer backfill list`."),
    ],
)
def test_a_dag_names_a_few_of_its_backfills(count: int, words: str) -> None:
    views = [backfill(backfill_id=number).backfill for number in range(count, 0, -1)]
    assert why_backfills(views).endswith(words)
