"""Everything in one program: the scheduler's half and the executor's half, and how they start and stop.

The executor is the last to start. At a stop first nothing new comes in, then what runs is finished or handed
back while everything can still be looked at, then the executor ends, and the scheduler after it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from ppacer.app.code import LoadedCode
from ppacer.app.executor_half import ExecutorHalf
from ppacer.app.interpreter import quick_switches
from ppacer.app.retention import Retention
from ppacer.app.scheduler_half import SchedulerHalf
from ppacer.config import Mask, Settings
from ppacer.dag import Registry
from ppacer.engine.changes import Change
from ppacer.executor.warm import WarmParent
from ppacer.notify import Sender
from ppacer.protocol import LOCAL
from ppacer.scheduler import LocalClient, Outbox, Scheduler, Standby
from ppacer.store import Store
from ppacer.tasklog import LogRecord, LogWriter


class Program:
    """Scheduler and executor in one process."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        notifier: Sender,
        mask: Mask,
        warm: WarmParent | None,
        *,
        code: LoadedCode | None = None,
        ready: Callable[[SchedulerHalf], None] = lambda half: None,
        give_up: Callable[[], bool] = lambda: False,
        http: bool = True,
        scheduled: bool = True,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self._scheduled = scheduled
        self._give_up = give_up  # asked while a start waits for tasks of an earlier program
        self._executing = ExecutorHalf(registry, settings, notifier, mask, warm)
        self._scheduling = SchedulerHalf(
            registry,
            settings,
            notifier,
            mask,
            code=code,
            owned=self._outlive,
            ready=ready,
            http=http,
            scheduled=scheduled,
        )
        self.clock = self._scheduling.clock

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Runs everything until it is left."""
        with ExitStack() as stack:
            self._start(stack)
            # First of all: who stops us may have signalled the children, too.
            stack.callback(self._executing.expect_end)
            yield self

    def _start(self, stack: ExitStack) -> None:
        half = self._scheduling
        stack.enter_context(self._executing)  # its children are the last to be gone
        stack.enter_context(quick_switches())
        stack.enter_context(half.running())
        client = LocalClient(half, half.take_records)
        # On a server there may be other programs: what runs in this one must not be taken for theirs.
        name = LOCAL if self.settings.db_file is not None else half.name
        labels = self.settings.labels if self._scheduled else None  # a single run takes what there is
        self.executor = stack.enter_context(self._executing.at_work(client, name, labels=labels))
        stack.callback(half.refuse_commands)

    def _outlive(self) -> None:
        if self.settings.db_file is not None:
            self._executing.outlive(self.settings.db_file, self._give_up)

    @property
    def url(self) -> str | None:
        """Where it listens; None without HTTP."""
        return self._scheduling.url

    @property
    def scheduler(self) -> Scheduler | Standby:
        """Who answers now."""
        return self._scheduling.scheduler

    @property
    def store(self) -> Store:
        """The store of the time in which it leads, as the next two."""
        return self._scheduling.reign.store

    @property
    def outbox(self) -> Outbox:
        """What delivers alerts."""
        return self._scheduling.reign.outbox

    @property
    def retention(self) -> Retention:
        """What deletes what is old."""
        return self._scheduling.reign.retention

    @property
    def logs(self) -> LogWriter:
        """What writes the task logs."""
        return self._scheduling.logs

    def is_alive(self) -> bool:
        """False when one of the threads that it cannot do without has ended by itself."""
        return self._scheduling.is_alive() and self.executor.is_alive()

    def stop_now(self) -> None:
        """Ends running attempts at once, instead of waiting for them; they are handed back."""
        self.executor.hurry()

    def on_records(self, listener: Callable[[Sequence[LogRecord]], None]) -> None:
        """Calls `listener` with what tasks log from now on."""
        self._scheduling.on_records(listener)

    def on_changes(self, listener: Callable[[Sequence[Change]], None]) -> None:
        """Calls `listener` with everything that is committed from now on, in the scheduler's thread."""
        self._scheduling.on_changes(listener)
