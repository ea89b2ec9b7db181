"""Everything in one program: wires store, scheduler, executor, logs, alerts and HTTP, and stops them again.

Parts are started from the bottom up and stopped in the reverse order: first nothing new comes in, then what
runs is finished or handed back, then what it reported is written, then the files are closed.
"""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ppacer.api.door import Door
from ppacer.app.code import LoadedCode
from ppacer.app.echo import Echo
from ppacer.app.retention import Retention
from ppacer.clock import SystemClock
from ppacer.config import Mask, Settings, masked
from ppacer.dag import Registry
from ppacer.engine.changes import Change
from ppacer.errors import StoreLockedError
from ppacer.executor.children import Children
from ppacer.executor.executor import Executor
from ppacer.executor.runner import Runner
from ppacer.executor.survivors import end_survivors
from ppacer.executor.warm import WarmParent
from ppacer.notify import Sender
from ppacer.scheduler import LocalClient, Outbox, Scheduler, has_alert
from ppacer.store import FileLock, Store
from ppacer.store.alerts import Alerts
from ppacer.store.reads import Reads
from ppacer.store.retention import Past
from ppacer.tasklog import LogReader, LogRecord, LogWriter

if TYPE_CHECKING:
    from ppacer.api.server import Server

log = logging.getLogger("ppacer")

SWITCH_SECONDS = 0.0005
"""After so long a thread that computes lets another one in. The scheduler asks for the interpreter some ten
times in a step; beside two threads that compute a hop took 100 ms with the usual 5 ms, and takes 28."""
CLEANING_WAIT = 1.0  # seconds that the warm parent of a killed program has to end its children
CHILDREN_WAIT = 30.0  # seconds that a start waits for what it has killed to be gone


class Program:
    """Scheduler and executor in one process. Use as a context manager: entering starts, leaving stops."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        notifier: Sender,
        mask: Mask,
        warm: WarmParent | None,
        *,
        code: LoadedCode | None = None,
        ready: Callable[["Program"], None] = lambda program: None,
        give_up: Callable[[], bool] = lambda: False,
        http: bool = True,
        scheduled: bool = True,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self.clock = SystemClock()
        self.url: str | None = None
        self._code = code or LoadedCode(None)
        self._ready = ready  # called when all is read, just before the first step
        self._give_up = give_up  # asked while a start waits for tasks of an earlier program
        self._notifier = notifier
        self._mask = mask
        self._warm = warm
        self._children: Children | None = None
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

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._children is not None:  # first of all: who stops us may have signalled them, too
            self._children.expect_end()
        self._stack.close()

    def _start(self) -> None:
        settings, stack = self.settings, self._stack
        stack.callback(self._end_children)
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        lock = self._lock()
        listener = self._bind() if self._http else None
        self.store = Store(settings.db)
        stack.callback(self.store.close)
        self.logs = LogWriter(settings.logs_db)
        self.logs.start()
        stack.callback(self.logs.close)
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
        self.executor = self._make_executor()
        stack.callback(self.executor.close)
        if listener is not None:
            self._serve(listener)
        if lock is not None:
            stack.callback(lock.describe)  # who looks for the scheduler now reads the files
        stack.callback(self._drain)  # meanwhile everything can be looked at
        self.executor.start()
        if lock is not None:
            lock.describe(url=self.url)

    def _drain(self) -> None:
        self.scheduler.refuse_commands()
        self.executor.stop_claiming()
        if self._children is not None:
            self._children.hand_back()
        self.executor.drain(self.settings.drain)

    def _lock(self) -> FileLock | None:
        """Makes sure that this is the only scheduler on the file, and that no earlier one's tasks live on."""
        path = self.settings.db_file
        if path is None:
            return None
        lock = FileLock(path).acquire()
        self._stack.callback(lock.release)
        if self._warm is not None:
            self._outlive(path, self._warm)
        return lock

    def _outlive(self, path: Path, warm: WarmParent) -> None:
        """Returns when no task process of an earlier program is left."""
        children = path.with_name(path.name + ".children.lock")
        still = StoreLockedError(
            f"tasks of a scheduler that was killed still run on {path}; end them, then try again"
        )
        is_free = warm.hold(children, CLEANING_WAIT, self._give_up)
        if not is_free and self._give_up():
            raise still
        if survivors := end_survivors(children, {warm.pid}, is_free=is_free):
            log.warning("ended %d process(es) of tasks of a scheduler that was killed", survivors)
        if not is_free and not warm.hold(children, CHILDREN_WAIT, self._give_up):
            raise still

    def _bind(self) -> Any:
        from ppacer.api.server import bind

        listener = bind(self.settings.host, self.settings.port)
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._stack.callback(listener.close)
        return listener

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

    def _make_executor(self) -> Executor:
        client = LocalClient(self.scheduler, self._log())
        return Executor(
            client,
            self._runners(),
            clock=self.clock,
            slots=self.settings.slots_or_default,
            default_runner=self.settings.runner,
            heartbeat=self.settings.lease / 3,
            mask=self._mask,
        )

    def _runners(self) -> dict[str, Callable[[Executor], Runner]]:
        """How to make each runner, on first use."""
        runners: dict[str, Callable[[Executor], Runner]] = {
            "thread": self._thread_runner,
            "async": self._async_runner,
        }
        if self._warm is not None:
            runners["process"] = lambda executor: self._all_children(executor).process
            runners["pool"] = lambda executor: self._all_children(executor).pool
        return runners

    def _thread_runner(self, executor: Executor) -> Runner:
        from ppacer.executor.thread import ThreadRunner

        s = self.settings
        return ThreadRunner(
            s.slots_or_default, self.registry, executor, self._notifier, grace=s.grace, level=s.level
        )

    def _async_runner(self, executor: Executor) -> Runner:
        from ppacer.executor.loop import AsyncRunner

        s = self.settings
        return AsyncRunner(self.registry, executor, self._notifier, grace=s.grace, level=s.level)

    def _all_children(self, executor: Executor) -> Children:
        """The child processes, which `process` and `pool` share; they take over the warm parent."""
        if self._children is None:
            assert self._warm is not None
            self._children = Children(self._warm, executor, grace=self.settings.grace)
        return self._children

    def _end_children(self) -> None:
        """Returns when no task process is left."""
        if self._children is not None:
            self._children.close()
        elif self._warm is not None:
            self._warm.close()

    def _log(self) -> Callable[[Sequence[LogRecord]], None]:
        """Masks, echoes and writes the records of tasks."""
        mask = self._mask
        if self.settings.echo:
            echo = Echo()
            self._stack.callback(echo.close)
            self._record_listeners.append(echo)

        def log_records(records: Sequence[LogRecord]) -> None:
            if mask is not str:
                records = [_masked(record, mask) for record in records]
            self.logs.put(records)
            for listener in self._record_listeners:
                try:
                    listener(records)
                except Exception:  # or it would end the thread of the task that has said something
                    log.exception("a listener failed")

        return log_records

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
        return self._thread.is_alive() and self.executor.is_alive() and has_http

    def stop_now(self) -> None:
        """Ends running attempts at once, instead of waiting for them; they are handed back."""
        self.executor.hurry()

    def on_records(self, listener: Callable[[Sequence[LogRecord]], None]) -> None:
        """Calls `listener` with what tasks log from now on."""
        self._record_listeners.append(listener)

    def on_changes(self, listener: Callable[[Sequence[Change]], None]) -> None:
        """Calls `listener` with everything that is committed from now on, in the scheduler's thread."""
        self.scheduler.listeners.append(listener)


def _masked(record: LogRecord, mask: Mask) -> LogRecord:
    hidden = masked(record.attributes, mask)
    return msgspec.structs.replace(record, message=mask(record.message), attributes=hidden)
