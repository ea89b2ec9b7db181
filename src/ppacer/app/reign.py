"""What lives as long as this program leads: store, scheduler, alerts, retention.

On a file that is as long as the program itself; on a server from each take-over to the next.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from ppacer.app.retention import Retention
from ppacer.clock import Clock
from ppacer.config import Mask, Settings
from ppacer.dag import Registry
from ppacer.engine.changes import Change
from ppacer.notify import Sender
from ppacer.scheduler import Outbox, Scheduler, has_alert
from ppacer.store import Store
from ppacer.store.alerts import Alerts
from ppacer.store.retention import Past
from ppacer.tasklog import LogWriter

Listener = Callable[[Sequence[Change]], None]


class Reign:
    """Schedules: `term` is that of the leader, None on a file.

    `ready` is called when all is read, just before the first step.
    """

    retention: Retention

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        notifier: Sender,
        mask: Mask,
        logs: LogWriter,
        clock: Clock,
        *,
        term: int | None,
        ready: Callable[["Reign"], None],
        note: Callable[[], str | None],
        scheduled: bool,
        listeners: Sequence[Listener],
    ) -> None:
        self.registry = registry
        self.settings = settings
        self.clock = clock
        self._notifier = notifier
        self._mask = mask
        self._logs = logs
        self._term = term
        self._ready = ready
        self._note = note
        self._scheduled = scheduled
        self._listeners = listeners

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Recovers, and schedules until it is left."""
        with ExitStack() as stack:
            self._start(stack)
            yield self

    def _start(self, stack: ExitStack) -> None:
        settings = self.settings
        self.store = Store(settings.db, self._term)
        stack.callback(self.store.close)
        self.scheduler = Scheduler(
            self.store,
            self.registry,
            self.clock,
            lease=settings.lease,
            mask=self._mask,
            scheduled=self._scheduled,
        )
        self.scheduler.listeners.extend(self._listeners)
        self.scheduler.start(self.clock.now())
        self._ready(self)
        self._thread = threading.Thread(target=self.scheduler.run, name="ppacer-scheduler", daemon=True)
        self._thread.start()
        stack.callback(self._thread.join, 30.0)
        stack.callback(self.scheduler.stop)
        self._start_outbox(stack)  # stops before the scheduler, which writes down what was delivered
        if self._scheduled:
            self._start_retention(stack)

    def _start_outbox(self, stack: ExitStack) -> None:
        alerts = Alerts(self.settings.db)
        self.outbox = outbox = Outbox(
            alerts, self.scheduler, self.registry, self._notifier, self.clock, note=self._note
        )
        self.scheduler.listeners.append(lambda changes: outbox.wake() if has_alert(changes) else None)
        stack.callback(alerts.close)
        stack.callback(outbox.close)
        outbox.start()

    def _start_retention(self, stack: ExitStack) -> None:
        past = Past(self.settings.db)
        self.retention = Retention(past, self.scheduler, self._logs, self.settings, self.clock)
        stack.callback(past.close)
        stack.callback(self.retention.close)
        self.retention.start()

    @property
    def recovered(self) -> tuple[int, int]:
        """Just after the start: the open runs, and the attempts in them that an earlier program was at."""
        runs = self.scheduler.memory.engine.runs.values()
        return len(runs), sum(task.is_lost for run in runs for task in run.tasks)

    @property
    def drained(self) -> list[str]:
        """The executors that are given nothing new, because somebody has asked for that."""
        return sorted(name for name, row in self.scheduler.memory.roll.rows.items() if row.is_drained)

    def is_alive(self) -> bool:
        """False when the scheduler has ended by itself: by a bug, or because it does not lead any more."""
        return self._thread.is_alive()
