"""What a worker of a cluster does with a job, whatever the line to the executor does."""

import logging

import pytest

from executor.world import CASES, grant
from ppacer.dag import Registry
from ppacer.executor import cluster_job
from ppacer.executor.children import ChildRunner
from ppacer.executor.cluster_job import MESSAGES, Finished, Job, Message, Told, encode
from ppacer.executor.runner import Outcome
from ppacer.protocol import End


class Line:
    """Keeps what is sent; refuses what the task says, if told so."""

    where = "w1"

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.messages: list[Message] = []

    def send(self, data: bytes) -> None:
        message = MESSAGES.decode(data)
        if self.is_broken and isinstance(message, Told):
            raise OSError("the queue is gone")
        self.messages.append(message)

    def end(self) -> End | None:
        return None


def outcome_of(line: Line, registry: Registry) -> Outcome:
    version = registry["cases"].version
    cluster_job.run(encode(Job(grant("fails"), str(CASES), version, 0.5, logging.INFO)), line)
    last = line.messages[-1]
    assert isinstance(last, Finished)
    return last.outcome


def test_an_attempt_whose_line_breaks_in_the_middle_was_begun(registry: Registry) -> None:
    outcome = outcome_of(Line(is_broken=True), registry)
    assert (outcome.end, outcome.begun) == (End.LOST, True)
    assert outcome.error == "worker w1: OSError: the queue is gone"


def test_an_attempt_that_may_have_been_started_was_begun(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: ChildRunner, grant: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ChildRunner, "start", start)
    outcome = outcome_of(Line(), registry)
    assert (outcome.end, outcome.begun) == (End.LOST, True)


def test_an_attempt_without_a_process_was_not_begun(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(*_: object, **__: object) -> None:
        raise BlockingIOError("no process")

    monkeypatch.setattr("ppacer.executor.warm.WarmParent.spawn", spawn)
    outcome = outcome_of(Line(), registry)
    assert (outcome.end, outcome.begun, outcome.is_unfit) == (End.REFUSED, False, False)
