"""The scheduler's half of a program: task logs, HTTP, and what reigns while it leads; no task runs here.

Parts are started from the bottom up and stopped in the reverse order: first nothing new comes in, then what
was reported is written, then the files are closed.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from ppacer.api.door import Door
from ppacer.app.admission import check_tokens, hosts_of, url_for_others
from ppacer.app.code import LoadedCode
from ppacer.app.echo import Echo
from ppacer.app.leadership import Leadership, unique_name
from ppacer.app.reign import Listener, Reign
from ppacer.clock import SystemClock
from ppacer.config import Mask, Settings
from ppacer.dag import Registry
from ppacer.notify import Sender
from ppacer.scheduler import Scheduler, Standby
from ppacer.scheduler.requests import Ask, Request
from ppacer.store import FileLock, Store
from ppacer.store.leader import Seat
from ppacer.store.reads import Reads
from ppacer.tasklog import LogReader, LogRecord, LogWriter
from ppacer.tasklog.masking import masked_record

if TYPE_CHECKING:
    from ppacer.api.server import Server

log = logging.getLogger("ppacer")


class SchedulerHalf:
    """Everything but the execution of tasks."""

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
        self.name = unique_name()
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
        self._change_listeners: list[Listener] = []
        self._door: Door | None = None
        self._leadership: Leadership | None = None
        self.scheduler: Scheduler | Standby

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Schedules and answers until it is left."""
        with ExitStack() as stack:
            self._start(stack)
            yield self

    def _start(self, stack: ExitStack) -> None:
        lock = self._lock(stack)
        self._owned()
        if self._http:
            check_tokens(self.settings, self.clock.now().utc)
        listener = self._bind(stack) if self._http else None
        self._start_logs(stack)
        if self.settings.db_file is None:
            self._start_leadership(stack, listener)
        else:
            stack.enter_context(self._reign(None).running())
            if listener is not None:
                self._serve(stack, listener)
        if lock is not None:
            stack.callback(lock.describe)  # who looks for the scheduler now reads the files
            lock.describe(url=self.url)
        stack.callback(self.refuse_commands)

    def _start_leadership(self, stack: ExitStack, listener: Any) -> None:
        """On a server there may be others: everybody answers readers, one leads."""
        Store(self.settings.db).close()  # makes or upgrades the tables, or says why not
        standby = Standby(self.registry)
        self._seat(standby)
        if listener is not None:
            self._serve(stack, listener)
        seat = Seat(self.settings.db, self.name, self.url and url_for_others(self.url))
        self._leadership = stack.enter_context(Leadership(seat, standby, self._led))

    @contextmanager
    def _led(self, term: int) -> Iterator[Reign]:
        standby = self.scheduler
        try:
            with self._reign(term).running() as reign:
                yield reign
        finally:
            self._seat(standby)

    def _reign(self, term: int | None) -> Reign:
        return Reign(
            self.registry,
            self.settings,
            self._notifier,
            self._mask,
            self.logs,
            self.clock,
            term=term,
            ready=self._begins,
            note=self._code.note,
            scheduled=self._scheduled,
            listeners=self._change_listeners,
        )

    def _begins(self, reign: Reign) -> None:
        self.reign = reign
        self._seat(reign.scheduler)
        self._ready(self)

    def _seat(self, scheduler: Scheduler | Standby) -> None:
        """From now on this one answers."""
        self.scheduler = scheduler
        if self._door is not None:
            self._door.scheduler = scheduler

    def submit(self, ask: Ask) -> Request:
        """Asks whoever answers now; from any thread."""
        return self.scheduler.submit(ask)

    def refuse_commands(self) -> None:
        """The program is ending: executors may still report, but nothing new is begun."""
        if self._leadership is not None:
            self._leadership.retire()
        self.scheduler.refuse_commands()

    def _lock(self, stack: ExitStack) -> FileLock | None:
        """Makes sure that this is the only scheduler on the file."""
        path = self.settings.db_file
        if path is None:
            return None
        lock = FileLock(path).acquire()
        stack.callback(lock.release)
        return lock

    def _bind(self, stack: ExitStack) -> Any:
        from ppacer.api.server import bind

        listener = bind(self.settings.host, self.settings.port)
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        stack.callback(listener.close)
        return listener

    def _start_logs(self, stack: ExitStack) -> None:
        self.logs = LogWriter(self.settings.logs_db)
        self.logs.start()
        stack.callback(self.logs.close)
        if self.settings.echo:
            echo = Echo()
            stack.callback(echo.close)
            self._record_listeners.append(echo)

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

    def _serve(self, stack: ExitStack, listener: Any) -> None:
        from ppacer.api.server import Server, make_app
        from ppacer.ui.pages import site

        reads = Reads(self.settings.db, self._mask)
        stack.callback(reads.close)
        logs = LogReader(self.settings.logs_db)
        stack.callback(logs.close)
        self._door = door = Door(self.scheduler, reads, logs, self.logs.flush, self.clock, self._code.note)
        door.logs_trouble = lambda: self.logs.trouble
        door.take_records = self.take_records
        self.on_changes(door.changed)
        stack.callback(self.logs.add_listener(door.logged))
        hosts, needs_token, ui = hosts_of(self.settings), self.settings.needs_token, site(door)
        app = make_app(door, hosts, ui.routes, needs_token=needs_token, lost=ui.lost)
        server = self._server = Server(app, listener, door.close)
        server.start()
        stack.callback(server.close)

    def is_alive(self) -> bool:
        """False when one of the threads that it cannot do without has ended by itself."""
        has_http = self._server is None or self._server.is_alive()
        leads = self.reign.is_alive() if self._leadership is None else self._leadership.is_alive()
        return leads and has_http

    def on_changes(self, listener: Listener) -> None:
        """Calls `listener` with everything that is committed from now on, in the scheduler's thread."""
        self._change_listeners.append(listener)
        if isinstance(self.scheduler, Scheduler):
            self.scheduler.listeners.append(listener)

    def on_records(self, listener: Callable[[Sequence[LogRecord]], None]) -> None:
        """Calls `listener` with what tasks log from now on."""
        self._record_listeners.append(listener)
