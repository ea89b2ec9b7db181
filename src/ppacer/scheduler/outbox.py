"""Delivers alerts: rows written with the fact they tell about, sent afterwards, until somebody takes them."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice

from ppacer.clock import Clock
from ppacer.dag import Dag, TaskConfig
from ppacer.engine.changes import AlertKind, AlertQueued, AlertTried, Change
from ppacer.errors import PpacerError, StoreError
from ppacer.notify import MsgData, Sender
from ppacer.scheduler.scheduler import Scheduler
from ppacer.store.alerts import Alert, Alerts

log = logging.getLogger("ppacer.notify")

TRIES_MAX = 20  # with the delays below this is about two days
DELAY_FIRST = timedelta(seconds=5)
DELAY_MAX = timedelta(hours=4)
BATCH_MAX = 1_000
PAGES_MAX = 20  # of a batch each, in one look for alerts whose sender is free
IDLE_SECONDS = 30.0
RECORD_SECONDS = 30.0
PATIENCE_SECONDS = 2.0  # a sender that takes longer goes on beside the others


class Outbox:
    """One thread beside the scheduler's looks for alerts, and each sender that has some delivers in its own.

    So a sender that hangs or fails delays its own alerts, never those of others, and never runs.
    """

    def __init__(
        self,
        alerts: Alerts,
        scheduler: Scheduler,
        registry: Mapping[str, Dag],
        default: Sender,
        clock: Clock,
        *,
        note: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.alerts = alerts
        self.scheduler = scheduler
        self.registry = registry
        self.default = default
        self.clock = clock
        self._note = note  # something that everybody who reads of a failure should know now
        self._news = threading.Event()
        self._last_round = threading.Event()
        self._stopped = threading.Event()
        self._unrecorded: dict[int, AlertTried] = {}  # by alert; sent or not, that is still to be recorded
        self._busy: dict[int, tuple[Sender, threading.Thread]] = {}  # by the identity of the sender
        self._thread = threading.Thread(target=self._run, name="ppacer-outbox", daemon=True)

    def start(self) -> None:
        """Begins to deliver, first what an earlier program has left."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._news.set()

    def finish(self, timeout: float = 60.0) -> None:
        """Tries what is due once more, then stops: for a database that nobody will open again."""
        self._last_round.set()
        self._news.set()
        self._thread.join(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Stops after the alert at hand; the others stay in the table for the next start."""
        self._stopped.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        self._news.set()
        is_last = False
        while not is_last and not self._stopped.is_set():
            self._news.wait(self._pause())
            self._news.clear()
            is_last = self._last_round.is_set()
            try:
                self.step(self.clock.now().utc)
            except StoreError as error:
                log.warning("the outbox cannot be read: %s", error)
        self._join(RECORD_SECONDS)  # what is being sent is recorded too

    def _pause(self) -> float:
        try:
            at = self.alerts.next_try_at()
        except StoreError:
            return IDLE_SECONDS
        wait = IDLE_SECONDS if at is None else (at - self.clock.now().utc).total_seconds()
        return min(max(wait, 1.0 if self._busy else 0.05), IDLE_SECONDS)

    def step(self, now: datetime) -> int:
        """Tries every alert that is due, but those of a sender still at work; returns how many were taken."""
        self._join(0.0)
        work: dict[int, tuple[Sender, list[Alert]]] = {}
        for sender, alert in islice(self._deliverable(now), BATCH_MAX):
            work.setdefault(id(sender), (sender, []))[1].append(alert)
        sent: list[Alert] = []
        for key, (sender, alerts) in work.items():
            thread = threading.Thread(
                target=self._deliver_all, args=(sender, alerts, sent), name="ppacer-sender", daemon=True
            )
            self._busy[key] = sender, thread
            thread.start()
        self._join(PATIENCE_SECONDS)
        return len(sent)

    def _deliverable(self, now: datetime) -> Iterator[tuple[Sender, Alert]]:
        """What is due and whose sender is free; in front of it may be many of a sender that hangs."""
        last = 0
        for _ in range(PAGES_MAX):
            page = self.alerts.due(now, BATCH_MAX, after=last)
            for alert in page:
                sender = self._config(alert).notifier or self.default
                if id(sender) not in self._busy:
                    yield sender, alert
            if len(page) < BATCH_MAX:
                return
            last = page[-1].id

    def _join(self, seconds: float) -> None:
        for key, (_, thread) in list(self._busy.items()):
            thread.join(seconds)
            if not thread.is_alive():
                del self._busy[key]

    def _deliver_all(self, sender: Sender, alerts: list[Alert], sent: list[Alert]) -> None:
        for alert in alerts:
            if self._stopped.is_set():
                return
            if (tried := self._unrecorded.get(alert.id)) is not None:  # sent before, if not written down
                self._record(tried)
            elif self._deliver(sender, alert):
                sent.append(alert)
        self.wake()  # there may be more by now

    def _deliver(self, sender: Sender, alert: Alert) -> bool:
        config = self._config(alert)
        template = config.retry_template if alert.kind is AlertKind.RETRY else config.failure_template
        data = MsgData(
            alert.dag_id,
            alert.exec_ts,
            alert.task_id,
            alert.retry,
            alert.error,
            {"run_id": str(alert.run_id), **({} if (note := self._note()) is None else {"note": note})},
        )
        try:
            sender.send(template, data)
        except BaseException as error:  # also SystemExit: a sender is the user's code and ends nothing here
            self._failed(alert, error, self.clock.now().utc)
            return False
        self._record(AlertTried(alert.id, self.clock.now().utc))
        return True

    def _record(self, tried: AlertTried) -> None:
        """Waits until it is committed; until then the next looks at the outbox find the alert again."""
        self._unrecorded[tried.alert_id] = tried
        future = self.scheduler.submit(tried).future
        try:
            future.result(RECORD_SECONDS)
            del self._unrecorded[tried.alert_id]
        except (PpacerError, TimeoutError) as error:
            future.cancel()
            log.warning("what became of an alert could not be recorded yet: %s", error)
            self._stopped.wait(DELAY_FIRST.total_seconds())

    def _failed(self, alert: Alert, error: BaseException, now: datetime) -> None:
        tries = alert.tries + 1
        text = f"{type(error).__name__}: {error}"[:2000]
        delay = min(DELAY_FIRST * 2 ** (tries - 1), DELAY_MAX)
        again = None if tries >= TRIES_MAX else now + delay
        fate = "given up" if again is None else f"next try in {delay}"
        log.warning("alert for %s/%s was not delivered (%s): %s", alert.dag_id, alert.task_id, fate, text)
        self._record(AlertTried(alert.id, now, text, again))

    def _config(self, alert: Alert) -> TaskConfig:
        dag = self.registry.get(alert.dag_id)
        return (dag.configs.get(alert.task_id) if dag is not None else None) or TaskConfig()


def has_alert(changes: Iterable[Change]) -> bool:
    """True when the outbox has something new."""
    return any(isinstance(change, AlertQueued) for change in changes)
