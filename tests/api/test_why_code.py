"""Which attempts are said to have run other code than the one before them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from api.test_why import NOW, at, run, task
from ppacer.api.why import why_task
from ppacer.api.why_code import code_changed, differs_from
from ppacer.engine import TaskStatus
from ppacer.store.views import AttemptView


def attempts(*codes: str | None, task_id: str = "load") -> list[AttemptView]:
    """Attempts of a task with these hashes of their code."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    none: dict[str, Any] = dict.fromkeys(
        ("reason", "error", "executor", "started_at", "ended_at", "retry_at", "result_bytes", "peak_memory")
    )
    return [
        AttemptView(
            task_id=task_id, retry=n, restart=0, status="FAILED", inserted_at=begin, body_hash=code, **none
        )
        for n, code in enumerate(codes)
    ]


@pytest.mark.parametrize(
    ("codes", "retry", "words"),
    [
        (("a",), 0, ""),
        (("a", "a"), 1, ""),
        (("a", "b"), 1, " It ran other code or constants than the first attempt."),
        (("a", "b"), 0, ""),
        (("a", "b", "b"), 2, ""),
        (("a", "b", "a"), 2, " It ran other code or constants than retry 1."),
        (
            ("a", None, "b"),
            2,
            " It ran other code or constants than the first attempt.",
        ),  # nobody knows what retry 1 ran
        (("a", None), 1, ""),
        ((None, "a"), 1, ""),
        ((), -1, ""),
    ],
)
def test_an_attempt_is_compared_with_the_last_one_that_is_known(
    codes: tuple[str | None, ...], retry: int, words: str
) -> None:
    others = attempts("x", "y", "z", task_id="other")
    assert code_changed([*others, *reversed(attempts(*codes))], "load", retry) == words


def test_the_attempt_it_differs_from_is_known() -> None:
    before = differs_from(attempts("a", "b"), "load", 1)
    assert before is not None
    assert (before.retry, before.body_hash) == (0, "a")


def test_why_says_it_at_the_end() -> None:
    done = task(retry=1, ended_at=at(-9))
    detail = run("SUCCESS", done)
    words = why_task(detail, done, NOW, True)
    detail.attempts.extend(attempts("a", "b"))
    assert (
        why_task(detail, done, NOW, True) == f"{words} It ran other code or constants than the first attempt."
    )
    waiting = task(status=TaskStatus.SCHEDULED, retry=2)
    assert "other code" not in why_task(detail, waiting, NOW, True)
