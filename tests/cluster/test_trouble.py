"""What the runner makes of a cluster that does what none should, without a real one."""

import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from cluster.conftest import GRACE
from executor.world import CASES, EXEC_TS, SUCCESS, Memory, grant
from ppacer.clock import mono
from ppacer.dag import Registry
from ppacer.executor import cluster as module
from ppacer.executor import reactor
from ppacer.executor.cluster import ClusterRunner, Hearing
from ppacer.executor.cluster_job import Finished, Job, Told, encode
from ppacer.executor.runner import Outcome
from ppacer.protocol import End
from ppacer.tasklog import LogRecord


class Fake:
    """Takes jobs, and raises what it is told to."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.refuses: dict[str, Exception] = {}  # by task
        self.connecting: Exception | None = None

    def connect(self, hearing: Hearing) -> None:
        if self.connecting is not None:
            raise self.connecting

    def submit(self, token: str, job: bytes) -> None:
        error = self.refuses.get(msgspec.msgpack.decode(job, type=Job).grant.task_id)
        if error is not None:
            raise error
        self.jobs.append(token)

    def end(self, token: str, end: End) -> None:
        raise TypeError("cannot end")

    def forget(self, token: str, *, is_over: bool) -> None:
        raise TypeError("cannot forget")

    def close(self) -> None: ...


class Hand:
    """The clock of the loop."""

    def __init__(self) -> None:
        self.at = mono()

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(reactor, "mono", hand)
    return hand


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def make(fake: Fake, registry: Registry, memory: Memory) -> Iterator[Callable[[], ClusterRunner]]:
    made: list[ClusterRunner] = []

    def runner() -> ClusterRunner:
        made.append(ClusterRunner(fake, registry, CASES, memory, grace=GRACE))
        return made[-1]

    yield runner
    for one in made:
        one.close()


def settle(runner: ClusterRunner) -> None:
    """Returns when the loop has done all that it was asked for, and what was due."""
    for _ in range(2):
        done = threading.Event()
        assert runner._reactor.call(done.set)
        assert done.wait(60.0)


def test_an_attempt_that_a_cluster_cannot_take_holds_up_no_other(
    make: Callable[[], ClusterRunner], fake: Fake, memory: Memory
) -> None:
    fake.refuses["echo"] = TypeError("not like this")
    runner = make()
    bad, good = memory.start(runner, grant("echo")), memory.start(runner, grant("nothing"))
    outcome = memory.end_of(bad)
    assert (outcome.end, outcome.begun, outcome.error) == (End.REFUSED, True, "TypeError: not like this")
    settle(runner)
    assert fake.jobs == [good.token]
    runner.said(good.token, encode(Finished(Outcome(SUCCESS))))
    assert memory.end_of(good).end is SUCCESS


def test_whatever_a_connection_raises_is_a_cluster_that_is_away(
    make: Callable[[], ClusterRunner], fake: Fake, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
    fake.connecting = ImportError("No module named 'x'")
    outcome, _ = memory.run(make(), "nothing")
    assert (outcome.end, outcome.begun) == (End.REFUSED, False)
    assert outcome.error == "the cluster cannot be used: ImportError: No module named 'x'"


def test_an_end_that_the_cluster_cannot_bring_about_is_decided_without_it(
    make: Callable[[], ClusterRunner], memory: Memory, clock: Hand
) -> None:
    runner = make()
    started = memory.start(runner, grant("nothing"))
    runner.cancel(started.token, End.CANCELLED)
    settle(runner)
    clock.at += module.LAST_WORDS_SECONDS
    settle(runner)
    assert memory.end_of(started).end is End.CANCELLED


@pytest.mark.parametrize("closes", [False, True])
def test_what_a_cluster_had_counts_as_begun_when_its_worker_does_not_say_otherwise(
    make: Callable[[], ClusterRunner], memory: Memory, clock: Hand, closes: bool
) -> None:
    """Its first message may still be on its way, and a task that is to run once at most would run again."""
    runner = make()
    started = memory.start(runner, grant("nothing"))
    settle(runner)
    if closes:
        runner.close()
    else:
        runner.cancel(started.token, End.HANDED_BACK)
        settle(runner)
        clock.at += module.LAST_WORDS_SECONDS
        settle(runner)
    outcome = memory.end_of(started)
    assert (outcome.end, outcome.begun) == (End.HANDED_BACK, True)


def test_an_end_behind_many_words_is_heard_though_the_job_is_gone(
    make: Callable[[], ClusterRunner], memory: Memory, clock: Hand
) -> None:
    runner = make()
    started = memory.start(runner, grant("nothing"))
    runner.lost(started.token, "lost: its worker is gone")
    for number in range(5):
        record = LogRecord("cases", EXEC_TS, "nothing", started.retry, EXEC_TS, "INFO", str(number))
        runner.said(started.token, encode(Told([record])))
        settle(runner)
        clock.at += 0.9 * module.LAST_WORDS_SECONDS
    settle(runner)
    runner.said(started.token, encode(Finished(Outcome(SUCCESS))))
    assert memory.end_of(started).end is SUCCESS


def test_a_loss_that_is_told_again_and_again_is_one(
    make: Callable[[], ClusterRunner], memory: Memory, clock: Hand
) -> None:
    runner = make()
    started = memory.start(runner, grant("nothing"))
    for _ in range(5):
        runner.lost(started.token, "lost: its worker is gone")
        settle(runner)
        clock.at += 0.9 * module.LAST_WORDS_SECONDS
    settle(runner)
    assert [outcome.end for outcome in memory.ends[started.token]] == [End.LOST]
