"""The scheduler's half of a program: store, task logs, scheduler, alerts, retention, HTTP; no task runs here.

Parts are started from the bottom up and stopped in the reverse order: first nothing new comes in, then what
was reported is written, then the files are closed.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ppacer.api.door import Door
from ppacer.app.code import LoadedCode
from ppacer.app.echo import Echo
from ppacer.app.retention import Retention
from ppacer.clock import SystemClock
from ppacer.config import Mask, Settings, masked
from ppacer.dag import Registry
from ppacer.notify import Sender
from ppacer.scheduler import Outbox, Scheduler, has_alert
from ppacer.store import FileLock, Store
from ppacer.store.alerts import Alerts
from ppacer.store.reads import Reads
from ppacer.store.retention import Past
from ppacer.tasklog import LogReader, LogRecord, LogWriter

if TYPE_CHECKING:
    from ppacer.api.server import Server

log = logging.getLogger("ppacer")


class SchedulerHalf:
    """Everything but the execution of tasks. A context manager: entering starts, leaving stops."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        notifier: Sender,
        mask: Mask,
        *,
        code: LoadedCode | None = None,
        owned: Callable[[], None] = lambda: None,
        ready: Callable[["SchedulerHalf"], None] = lambda half: None,
        http: bool = True,
        scheduled: bool = True,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self.clock = SystemClock()
        self.url: str | None = None
        self._code = code or LoadedCode(None)
        self._owned = owned  # called when the database is ours, before anything in it is looked at
        self._ready = ready  # called when all is read, just before the first step
        self._notifier = notifier
        self._mask = mask
        self._http = http
        self._server: Server | None = None
        self._scheduled = scheduled
        self._record_listeners: list[Callable[[Sequence[LogRecord]], None]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        settings, stack = self.settings, self._stack
        lock = self._lock()
        self._owned()
        listener = self._bind() if self._http else None
        self.store = Store(settings.db)
        stack.callback(self.store.close)
        self._start_logs()
        self.scheduler = Scheduler(
            self.store,
            self.registry,
            self.clock,
            lease=settings.lease,
            mask=self._mask,
            scheduled=self._scheduled,
        )
        self.scheduler.start(self.clock.now())
        self._ready(self)
        self._thread = threading.Thread(target=self.scheduler.run, name="ppacer-scheduler", daemon=True)
        self._thread.start()
        stack.callback(self._thread.join, 30.0)
        stack.callback(self.scheduler.stop)
        self._start_outbox()  # stops before the scheduler, which writes down what was delivered
        if self._scheduled:
            self._start_retention()
        if listener is not None:
            self._serve(listener)
        if lock is not None:
            stack.callback(lock.describe)  # who looks for the scheduler now reads the files
            lock.describe(url=self.url)
        stack.callback(self.scheduler.refuse_commands)

    def _lock(self) -> FileLock | None:
        """Makes sure that this is the only scheduler on the file."""
        path = self.settings.db_file
        if path is None:
            return None
        lock = FileLock(path).acquire()
        self._stack.callback(lock.release)
        return lock

    def _bind(self) -> Any:
        from ppacer.api.server import bind

        listener = bind(self.settings.host, self.settings.port)
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._stack.callback(listener.close)
        return listener

    def _start_logs(self) -> None:
        self.logs = LogWriter(self.settings.logs_db)
        self.logs.start()
        self._stack.callback(self.logs.close)
        if self.settings.echo:
            echo = Echo()
            self._stack.callback(echo.close)
            self._record_listeners.append(echo)

    def _start_outbox(self) -> None:
        alerts = Alerts(self.settings.db)
        self.outbox = outbox = Outbox(
            alerts, self.scheduler, self.registry, self._notifier, self.clock, note=self._code.note
        )
        self.scheduler.listeners.append(lambda changes: outbox.wake() if has_alert(changes) else None)
        self._stack.callback(alerts.close)
        self._stack.callback(outbox.close)
        outbox.start()

    def _start_retention(self) -> None:
        past = Past(self.settings.db)
        self.retention = Retention(past, self.scheduler, self.logs, self.settings, self.clock)
        self._stack.callback(past.close)
        self._stack.callback(self.retention.close)
        self.retention.start()

    def take_records(self, records: Sequence[LogRecord]) -> None:
        """Masks, echoes and writes what tasks say; from any thread, and never raises."""
        if self._mask is not str:
            records = [masked_record(record, self._mask) for record in records]
        self.logs.put(records)
        for listener in self._record_listeners:
            try:
                listener(records)
            except Exception:  # or it would end the thread of the task that has said something
                log.exception("a listener failed")

    def _serve(self, listener: Any) -> None:
        from ppacer.api.server import Server, make_app
        from ppacer.ui.pages import pages

        reads = Reads(self.settings.db, self._mask)
        self._stack.callback(reads.close)
        logs = LogReader(self.settings.logs_db)
        door = Door(self.scheduler, reads, logs, self.logs.flush, self.clock, self._code.note)
        door.logs_trouble = lambda: self.logs.trouble
        self.scheduler.listeners.append(door.changed)
        self._stack.callback(self.logs.add_listener(door.logged))
        app = make_app(door, self.settings.allowed_hosts, pages(door))
        server = self._server = Server(app, listener, door.close)
        server.start()
        self._stack.callback(server.close)

    @property
    def recovered(self) -> tuple[int, int]:
        """Just after the start: the open runs, and the attempts in them that an earlier program was at."""
        runs = self.scheduler.memory.engine.runs.values()
        return len(runs), sum(task.is_lost for run in runs for task in run.tasks)

    def is_alive(self) -> bool:
        """False when one of the threads that it cannot do without has ended by itself."""
        has_http = self._server is None or self._server.is_alive()
        return self._thread.is_alive() and has_http

    def on_records(self, listener: Callable[[Sequence[LogRecord]], None]) -> None:
        """Calls `listener` with what tasks log from now on."""
        self._record_listeners.append(listener)


def masked_record(record: LogRecord, mask: Mask) -> LogRecord:
    """A record in which no secret can be read."""
    hidden = masked(record.attributes, mask)
    return msgspec.structs.replace(record, message=mask(record.message), attributes=hidden)
