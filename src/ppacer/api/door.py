"""What stands behind the routes: readers, the scheduler's inbox, and news from its thread to the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from ppacer.clock import Clock
from ppacer.errors import SchedulerUnavailable
from ppacer.scheduler import Command, Scheduler
from ppacer.store.reads import Reads
from ppacer.tasklog import LogReader

COMMAND_SECONDS = 30.0


class Pulse:
    """Lets coroutines wait for something that happens in another thread; nobody polls."""

    def __init__(self) -> None:
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def beat(self, _: object = None) -> None:
        """It happened; from any thread."""
        for loop, event in tuple(self._waiters):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop is closed: the server has ended
                self._waiters.discard((loop, event))

    async def until(self, look: Callable[[], Any], seconds: float) -> Any:
        """The first true value of `look` (called in a worker thread), at once or after a beat; at last any value."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        end = loop.time() + seconds
        self._waiters.add((loop, event))
        try:
            while True:
                event.clear()
                value = await asyncio.to_thread(look)
                left = end - loop.time()
                if value or left <= 0:
                    return value
                try:
                    await asyncio.wait_for(event.wait(), left)
                except TimeoutError:
                    continue
        finally:
            self._waiters.discard((loop, event))


class Door:
    """Everything the routes need; made by `app`."""

    def __init__(
        self,
        scheduler: Scheduler,
        reads: Reads,
        logs: LogReader,
        flush_logs: Callable[[float], bool],
        clock: Clock,
    ) -> None:
        self.scheduler = scheduler
        self.reads = reads
        self.logs = logs
        self.flush_logs = flush_logs  # waits until everything logged so far can be read
        self.clock = clock
        self.runs_changed = Pulse()
        self.logs_changed = Pulse()

    def command(self, command: Command) -> Any:
        """Gives a command to the scheduler and waits until it is committed; raises what it raises."""
        try:
            return self.scheduler.submit(command).future.result(COMMAND_SECONDS)
        except FutureTimeout:
            raise SchedulerUnavailable(
                "the scheduler did not answer in time; the command may still be carried out"
            ) from None
