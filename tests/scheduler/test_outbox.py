"""Alerts: written with the fact they tell about, delivered at least once, and never in anybody's way."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from ppacer.errors import StoreError, StoreUnavailable
from ppacer.notify import MsgData
from ppacer.protocol import End
from ppacer.scheduler import Outbox, has_alert
from ppacer.scheduler.outbox import TRIES_MAX
from ppacer.scheduler.requests import Ask, Request
from ppacer.store.alerts import Alerts
from scheduler.harness import PATIENCE, World, at, dag, failing

Make = Callable[..., World]


class Recorder:
    """A sender that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[MsgData] = []
        self.tries = 0

    def send(self, template: str, data: MsgData) -> None:
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the mail server is away")
        self.sent.append(data)


class Prompt:
    """The scheduler as the outbox sees it: what is submitted is answered by a step at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deaf = False
        self.patient = False
        self.lock = threading.Lock()  # senders deliver at the same time

    def submit(self, ask: Ask) -> Request:
        request = Request(ask)
        if self.deaf:
            request.answer(StoreError("killed before it was written"))
        else:
            with self.lock:
                self.world.send(request)
                while self.patient and not request.future.done():
                    self.world.run(1)
        return request


@pytest.fixture
def outboxes() -> Iterator[Callable[..., Outbox]]:
    made: list[Outbox] = []

    def make(world: World, sender: Any) -> Outbox:
        prompt: Any = Prompt(world)
        outbox = Outbox(Alerts(world.path), prompt, world.scheduler.registry, sender, world)
        outbox._stopped = Instant()
        made.append(outbox)
        return outbox

    yield make
    for outbox in made:
        outbox.alerts.close()


class Instant(threading.Event):
    """Waits for nothing, so that no test sleeps."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0)


def fail(w: World, dag_id: str = "d") -> int:
    run = w.trigger(dag_id)
    w.executor().finish(End.FAILED)
    return run


def outbox_rows(w: World) -> list[dict[str, Any]]:
    return w.rows("SELECT * FROM outbox ORDER BY AlertId")


# -- when there is an alert ----------------------------------------------------------------------------------


def test_a_failure_has_one_alert_and_a_success_none(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    w.trigger()
    w.executor().finish()
    assert outbox_rows(w) == []
    fail(w)
    [row] = outbox_rows(w)
    assert (row["TaskId"], row["Retry"], row["Kind"], row["Error"]) == ("a", 0, "FAILURE", "it went wrong")


def test_exhausted_retries_have_exactly_one_alert(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 3}}))
    fail(w)
    assert [(row["Kind"], row["Retry"]) for row in outbox_rows(w)] == [("FAILURE", 3)]


def test_an_alert_for_each_retry_when_asked(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 2, "alert_on_retry": True}}))
    fail(w)
    assert [(row["Kind"], row["Retry"]) for row in outbox_rows(w)] == [
        ("RETRY", 0),
        ("RETRY", 1),
        ("FAILURE", 2),
    ]


def test_no_alert_when_not_asked(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"alert_on_failure": False}}))
    fail(w)
    assert outbox_rows(w) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_whose_commit_is_unclear_has_one_alert(world: Make, when: str) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    ex = w.executor()
    ex.claim()
    w.store.faults = list(failing(when, StoreError("x")))
    ex.report(ex.holding("a"), End.FAILED)
    assert len(outbox_rows(w)) == 1


def test_news_of_an_alert_are_told_after_the_commit(world: Make) -> None:
    w = world(dag("d", "a"))
    news: list[bool] = []
    w.scheduler.listeners.append(lambda changes: news.append(has_alert(changes)))
    fail(w)
    assert news == [False, False, True]


# -- delivery ------------------------------------------------------------------------------------------------


def test_an_alert_is_delivered_once(world: Make, outboxes: Callable[..., Outbox]) -> None:
    w = world(dag("d", "a"))
    sender = Recorder()
    outbox = outboxes(w, sender)
    run = fail(w)
    assert outbox.step(w.utc) == 1
    for _ in range(10):
        w.run(600, step=20)
        assert outbox.step(w.utc) == 0
    [data] = sender.sent
    assert (data.dag_id, data.task_id, data.retry, data.task_run_error) == ("d", "a", 0, "it went wrong")
    assert data.exec_ts == w.exec_times()[0]
    assert data.runtime_info == {"run_id": str(run)}
    [row] = outbox_rows(w)
    assert row["SentAt"] is not None
    assert row["Tries"] == 1


def test_the_task_s_own_notifier_and_templates_are_used(world: Make, outboxes: Callable[..., Outbox]) -> None:
    templates: list[str] = []

    class Own:
        def send(self, template: str, data: MsgData) -> None:
            templates.append(template)

    config = {
        "notifier": Own(),
        "retries": 1,
        "alert_on_retry": True,
        "failure_template": "F",
        "retry_template": "R",
    }
    w = world(dag("d", "a", configs={"a": config}))
    default = Recorder()
    outbox = outboxes(w, default)
    fail(w)
    outbox.step(w.utc)
    assert templates == ["R", "F"]
    assert default.tries == 0


def test_an_alert_about_a_dag_that_is_gone_goes_to_the_default(
    world: Make, outboxes: Callable[..., Outbox]
) -> None:
    w = world(dag("d", "a"))
    fail(w)
    w.restart(dag("e", "a"))
    sender = Recorder()
    assert outboxes(w, sender).step(w.utc) == 1
    assert sender.sent[0].dag_id == "d"


def test_a_failed_delivery_is_tried_again_with_growing_delays(
    world: Make, outboxes: Callable[..., Outbox]
) -> None:
    w = world(dag("d", "a"))
    sender = Recorder(failures=5)
    outbox = outboxes(w, sender)
    fail(w)
    times: list[datetime] = []
    while not sender.sent:
        tries = sender.tries
        outbox.step(w.utc)
        if sender.tries > tries:
            times.append(w.utc)
        w.run(1, step=1)
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert gaps == [5, 10, 20, 40, 80]
    [row] = outbox_rows(w)
    assert row["Tries"] == 6
    assert "the mail server is away" in (row["LastError"] or "the mail server is away")


def test_an_alert_is_given_up_after_the_limit_and_says_so(
    world: Make, outboxes: Callable[..., Outbox]
) -> None:
    w = world(dag("d", "a"))
    sender = Recorder(failures=10**6)
    outbox = outboxes(w, sender)
    fail(w)
    for _ in range(TRIES_MAX + 5):
        outbox.step(w.utc)
        w.jump(5 * 3600)
        w.send()
    assert sender.tries == TRIES_MAX
    [row] = outbox_rows(w)
    assert row["GivenUpAt"] is not None
    assert "the mail server is away" in row["LastError"]


def test_the_time_of_the_next_try_is_known(world: Make, outboxes: Callable[..., Outbox]) -> None:
    w = world(dag("d", "a"))
    outbox = outboxes(w, Recorder(failures=1))
    assert outbox.alerts.next_try_at() is None
    fail(w)
    assert outbox.alerts.next_try_at() == w.utc
    outbox.step(w.utc)
    assert outbox.alerts.next_try_at() == at(5)


def test_a_sender_that_fails_does_not_delay_the_others(world: Make, outboxes: Callable[..., Outbox]) -> None:
    broken, sound = Recorder(failures=10**6), Recorder()
    w = world(
        dag("d", "a", configs={"a": {"notifier": broken}}), dag("e", "a", configs={"a": {"notifier": sound}})
    )
    outbox = outboxes(w, Recorder())
    fail(w, "d")
    fail(w, "e")
    outbox.step(w.utc)
    assert len(sound.sent) == 1


class Exit(Recorder):
    """A sender that ends its program."""

    def send(self, template: str, data: MsgData) -> None:
        self.tries += 1
        raise SystemExit(1)


def test_a_sender_that_exits_is_a_sender_that_fails(world: Make, outboxes: Callable[..., Outbox]) -> None:
    w = world(dag("d", "a"))
    sender = Exit()
    fail(w)
    outboxes(w, sender).step(w.utc)
    [row] = outbox_rows(w)
    assert (row["Tries"], row["SentAt"]) == (1, None)
    assert row["NextTryAt"] is not None


def test_killed_between_sending_and_recording_it_is_sent_again(
    world: Make, outboxes: Callable[..., Outbox]
) -> None:
    w = world(dag("d", "a"))
    sender = Recorder()
    outbox = outboxes(w, sender)
    fail(w)
    outbox.scheduler.deaf = True  # type: ignore[attr-defined]  # it is the stand-in
    outbox.step(w.utc)
    assert len(sender.sent) == 1
    w.restart(after=5)
    again = outboxes(w, sender)
    assert again.step(w.utc) == 1
    assert again.step(w.utc) == 0
    assert len(sender.sent) == 2


@pytest.mark.parametrize("error", [StoreError("x"), StoreUnavailable("away")])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_delivery_whose_record_fails_is_recorded_in_the_end(
    world: Make, outboxes: Callable[..., Outbox], error: Exception, when: str, times: int
) -> None:
    w = world(dag("d", "a"))
    sender = Recorder()
    outbox = outboxes(w, sender)
    outbox.scheduler.patient = True  # type: ignore[attr-defined]  # it is the stand-in
    fail(w)
    w.store.faults = list(failing(when, error, times))
    for _ in range(times + 1):
        outbox.step(w.utc)
        w.run(10, step=1)
    [row] = outbox_rows(w)
    assert row["SentAt"] is not None
    assert 1 <= len(sender.sent) <= times + 1


def test_what_was_sent_while_nothing_could_be_recorded_is_not_sent_again(
    world: Make, outboxes: Callable[..., Outbox]
) -> None:
    w = world(dag("d", "a"), dag("e", "a"))
    sender = Recorder()
    outbox = outboxes(w, sender)
    fail(w, "d")
    fail(w, "e")
    outbox.scheduler.deaf = True  # type: ignore[attr-defined]  # it is the stand-in
    for _ in range(20):
        outbox.step(w.utc)
        w.run(40)
    assert sorted(data.dag_id for data in sender.sent) == ["d", "e"]
    outbox.scheduler.deaf = False  # type: ignore[attr-defined]  # it is the stand-in
    outbox.step(w.utc)
    assert outbox.step(w.utc) == 0
    assert len(sender.sent) == 2
    assert [(row["SentAt"], row["Tries"]) for row in outbox_rows(w)] == [
        ("2026-03-02T12:00:00.000000Z", 1)
    ] * 2


def test_alerts_of_an_earlier_program_are_delivered_by_the_next(
    world: Make, outboxes: Callable[..., Outbox]
) -> None:
    w = world(dag("d", "a"))
    fail(w)
    w.restart(after=3600)
    sender = Recorder()
    assert outboxes(w, sender).step(w.utc) == 1


def test_an_alert_that_is_gone_fails_alone(world: Make, outboxes: Callable[..., Outbox]) -> None:
    """Somebody deletes the row while it is being sent."""
    w = world(dag("d", "a"))
    fail(w)

    class Deleting(Recorder):
        def send(self, template: str, data: MsgData) -> None:
            super().send(template, data)
            w.write("DELETE FROM outbox")

    sender = Deleting()
    outboxes(w, sender).step(w.utc)
    assert len(sender.sent) == 1
    assert w.trigger() == 2


# -- with its own thread -------------------------------------------------------------------------------------


class Hanging:
    """A sender that does not come back."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def send(self, template: str, data: MsgData) -> None:
        self.entered.set()
        self.leave.wait(PATIENCE)


def test_a_sender_that_hangs_delays_no_run(world: Make) -> None:
    hanging = Hanging()
    w = world(dag("d", "a"))
    outbox = Outbox(Alerts(w.path), w.scheduler, w.scheduler.registry, hanging, w)
    fail(w)
    outbox.start()
    try:
        assert hanging.entered.wait(PATIENCE)
        run = w.trigger()
        w.executor().finish()
        assert w.status(run) == "SUCCESS"
        assert outbox_rows(w)[0]["Tries"] == 0
    finally:
        w.scheduler.close()
        hanging.leave.set()
        outbox.close(PATIENCE)
        outbox.alerts.close()


def test_a_sender_that_hangs_delays_no_alert_of_another_sender(world: Make) -> None:
    hanging, sound = Hanging(), Recorder()
    w = world(dag("d", "a", configs={"a": {"notifier": hanging}}), dag("e", "a"))
    outbox = Outbox(Alerts(w.path), w.scheduler, w.scheduler.registry, sound, w)
    fail(w, "d")
    fail(w, "e")
    outbox.start()
    try:
        assert hanging.entered.wait(PATIENCE)
        w.send(*w.scheduler.inbox.take(PATIENCE))  # the record of the other one
        assert len(sound.sent) == 1
        assert [row["SentAt"] is not None for row in outbox_rows(w)] == [False, True]
    finally:
        w.scheduler.close()
        hanging.leave.set()
        outbox.close(PATIENCE)
        outbox.alerts.close()


def test_a_thousand_alerts_of_a_sender_that_hangs_hide_none_of_another(
    world: Make, outboxes: Callable[..., Outbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppacer.scheduler.outbox.BATCH_MAX", 3)
    monkeypatch.setattr("ppacer.scheduler.outbox.PATIENCE_SECONDS", 0.0)
    hanging, sound = Hanging(), Recorder()
    w = world(dag("d", "a", configs={"a": {"notifier": hanging}}), dag("e", "a"))
    outbox = outboxes(w, sound)
    for _ in range(7):
        fail(w, "d")
    outbox.step(w.utc)
    assert hanging.entered.wait(PATIENCE)
    fail(w, "e")
    outbox.step(w.utc)
    for sender, thread in list(outbox._busy.values()):
        thread.join(PATIENCE if sender is sound else 0)
    assert len(sound.sent) == 1
    hanging.leave.set()
    outbox._join(PATIENCE)


def test_the_outbox_delivers_when_it_is_woken_and_stops_when_told(world: Make) -> None:
    sender = Recorder()
    w = world(dag("d", "a"))
    outbox = Outbox(Alerts(w.path), w.scheduler, w.scheduler.registry, sender, w)
    w.scheduler.listeners.append(lambda changes: outbox.wake() if has_alert(changes) else None)
    outbox.start()
    try:
        fail(w)
        w.send(*w.scheduler.inbox.take(PATIENCE))
        assert len(sender.sent) == 1
        assert outbox_rows(w)[0]["SentAt"] is not None
    finally:
        w.scheduler.close()
        outbox.close(PATIENCE)
        outbox.alerts.close()
    assert not outbox._thread.is_alive()


def test_the_last_round_tries_what_is_due_once_more(world: Make) -> None:
    sender = Recorder(failures=1)
    w = world(dag("d", "a"))
    outbox = Outbox(Alerts(w.path), w.scheduler, w.scheduler.registry, sender, w)
    fail(w)
    outbox.start()
    w.send(*w.scheduler.inbox.take(PATIENCE))  # the first try has failed
    w.run(10)
    ending = threading.Thread(target=outbox.finish, args=(PATIENCE,))
    ending.start()
    w.send(*w.scheduler.inbox.take(PATIENCE))
    ending.join(PATIENCE)
    outbox.alerts.close()
    assert not outbox._thread.is_alive()
    assert len(sender.sent) == 1
    assert outbox_rows(w)[0]["SentAt"] is not None


def test_an_alert_that_is_being_sent_at_the_end_is_recorded_before_the_outbox_stops(world: Make) -> None:
    hanging = Hanging()
    w = world(dag("d", "a"))
    outbox = Outbox(Alerts(w.path), w.scheduler, w.scheduler.registry, hanging, w)
    fail(w)
    outbox.start()
    assert hanging.entered.wait(PATIENCE)
    ending = threading.Thread(target=outbox.close, args=(PATIENCE,))
    ending.start()
    hanging.leave.set()
    w.send(*w.scheduler.inbox.take(PATIENCE))
    ending.join(PATIENCE)
    outbox.alerts.close()
    assert not outbox._thread.is_alive()
    assert outbox_rows(w)[0]["SentAt"] is not None
