"""The executor's half of a program: the runners with their child processes, and the executor that uses them.

It meets the scheduler only through a `Client`, whether that is in the same program or on another machine.
"""

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from ppacer.app.clusters import cluster_runners
from ppacer.clock import SystemClock
from ppacer.config import Mask, Settings
from ppacer.dag import Registry
from ppacer.errors import StoreLockedError
from ppacer.executor.children import Children
from ppacer.executor.executor import Executor
from ppacer.executor.runner import Runner
from ppacer.executor.spool import Spool
from ppacer.executor.survivors import end_survivors
from ppacer.executor.warm import WarmParent
from ppacer.notify import Sender
from ppacer.protocol import LOCAL, Client, Hello
from ppacer.version import VERSION

log = logging.getLogger("ppacer")

CLEANING_WAIT = 1.0  # seconds that the warm parent of a killed program has to end its children
CHILDREN_WAIT = 30.0  # seconds that a start waits for what it has killed to be gone


class ExecutorHalf:
    """Runs what a scheduler grants. A context manager: when it is left, no child is."""

    def __init__(
        self, registry: Registry, settings: Settings, notifier: Sender, mask: Mask, warm: WarmParent | None
    ) -> None:
        self.registry = registry
        self.settings = settings
        self._notifier = notifier
        self._mask = mask
        self._warm = warm
        self._children: Children | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Returns when no task process is left."""
        if self._children is not None:
            self._children.close()
        elif self._warm is not None:
            self._warm.close()

    def outlive(self, subject: Path, give_up: Callable[[], bool]) -> None:
        """Returns when no task process of an earlier program is left that had the same file or folder.

        `give_up` is asked meanwhile. Raises StoreLockedError.
        """
        if (warm := self._warm) is None:
            return
        children = subject.with_name(subject.name + ".children.lock")
        still = StoreLockedError(
            f"tasks of a program that was killed still run on {subject}; end them, then try again"
        )
        is_free = warm.hold(children, CLEANING_WAIT, give_up)
        if not is_free and give_up():
            raise still
        if survivors := end_survivors(children, {warm.pid}, is_free=is_free):
            log.warning("ended %d process(es) of tasks of a program that was killed", survivors)
        if not is_free and not warm.hold(children, CHILDREN_WAIT, give_up):
            raise still

    @contextmanager
    def at_work(
        self,
        client: Client,
        name: str,
        identity: str = LOCAL,
        spool: Spool | None = None,
        labels: Sequence[str] | None = None,
    ) -> Iterator[Executor]:
        """Claims and runs attempts; at the end lets them finish, or hands them back.

        `identity`: by this the scheduler knows who comes back; `spool`: where reports outlive this program;
        `labels`: what it has for tasks that need it, None: whatever they need.
        """
        runners = self._runners()
        executor = Executor(
            client,
            runners,
            clock=SystemClock(),
            slots=self.settings.slots_or_default,
            default_runner=self.settings.runner,
            name=name,
            hello=self._hello(name, identity, list(runners), labels),
            spool=spool,
            heartbeat=self.settings.lease / 3,
            mask=self._mask,
        )
        with ExitStack() as stack:
            stack.callback(executor.close)
            stack.callback(self._drain, executor)
            executor.start()
            yield executor

    def expect_end(self) -> None:
        """The program is about to end: who stops it may have signalled the children, too."""
        if self._children is not None:
            self._children.expect_end()

    def _hello(self, name: str, identity: str, runners: list[str], labels: Sequence[str] | None) -> Hello:
        return Hello(
            name=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            slots=self.settings.slots_or_default,
            labels=None if labels is None else list(labels),
            runners=runners,
            dag_versions={dag.id: dag.version for dag in self.registry.values()},
            identity=identity,
            life=secrets.token_hex(8),
        )

    def _drain(self, executor: Executor) -> None:
        executor.stop_claiming()
        if self._children is not None:
            self._children.hand_back()
        executor.drain(self.settings.drain)

    # -- runners ---------------------------------------------------------------------------------------------

    def _runners(self) -> dict[str, Callable[[Executor], Runner]]:
        """How to make each runner, on first use."""
        runners: dict[str, Callable[[Executor], Runner]] = {
            "thread": self._thread_runner,
            "async": self._async_runner,
        }
        if self._warm is not None:
            runners["process"] = lambda executor: self._all_children(executor).process
            runners["pool"] = lambda executor: self._all_children(executor).pool
        file = None if self._warm is None else self._warm.file
        return runners | cluster_runners(self.registry, self.settings, file)

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
