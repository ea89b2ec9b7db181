from typing import Any

import pytest

from ppacer.tasks import Empty, PrintTask


def test_an_empty_task_does_nothing(ctx: Any, capfd: pytest.CaptureFixture[str]) -> None:
    task = Empty("join")
    assert task.id == "join"
    task.execute(ctx)
    assert capfd.readouterr() == ("", "")
    assert ctx.logged == []


def test_print_task_prints_its_id_or_its_message_and_logs(
    ctx: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    for task in (PrintTask("start"), PrintTask("finish", "zażółć")):
        task.execute(ctx)
    assert capfd.readouterr().out == " >>> PrintTask <<<: start\nzażółć\n"
    assert ctx.lines(None) == ["PrintTask finished!"] * 2


def test_reprs_are_the_same_in_every_process() -> None:
    assert repr(Empty("a")) == "Empty(id='a')"
    assert repr(PrintTask("a", "b")) == "PrintTask(id='a', message='b')"
