"""The children as workers: who is idle, who has an attempt, who has to leave, and what each of them says.

came ─► fresh ──► at work ──► (process, worn out, told to end) ─► leaving ─► gone
                  ▲     │
                  └ idle┘ (pool)
"""

import signal
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from ppacer.dag import Registry
from ppacer.executor.child import REMINDER
from ppacer.executor.frames import Ended, FromChild, Job, Said
from ppacer.executor.memory import Usage
from ppacer.executor.reactor import Reactor
from ppacer.executor.supply import Supply
from ppacer.executor.warm import Ends, WarmParent
from ppacer.executor.words import exit_text
from ppacer.executor.worker import FULL, LAST, Attempt, Worker

REMINDERS = (0.1, 1.0)  # seconds after a SIGTERM
EOF_SECONDS = 0.5  # between the end of the connection to a child and its own end
ORPHAN_SECONDS = 2.0  # for results of children whose warm parent has died
CUT_OFF = "the task closed a file descriptor that is not its own: the one that connects its process to ppacer"


class Foreman(Protocol):
    """Who has attempts for the workers."""

    def look_round(self) -> None:
        """There may be a worker for what waits, or orders are taken again."""

    def ended(self, worker: Worker, attempt: Attempt, message: Ended) -> bool:
        """The worker says how its attempt ended; whether the worker may have another."""

    def gone(self, worker: Worker, attempt: Attempt, status: int | None, usage: Usage | None) -> None:
        """The worker has died with its attempt; status None: nobody knows of what."""

    def refused(self, why: str) -> None:
        """There is no worker for what waits."""


class Staff:
    """All children of this program. In the thread of the loop only."""

    def __init__(
        self, reactor: Reactor, warm: WarmParent, foreman: Foreman, *, grace: float, idle: float
    ) -> None:
        self._reactor, self._foreman, self._grace, self._idle_seconds = reactor, foreman, grace, idle
        self._supply = Supply(reactor, warm, self)
        self._workers: dict[int, Worker] = {}
        self._fresh: deque[Worker] = deque()  # never had a job
        self._idle: deque[Worker] = deque()  # had one; who worked last stands at the end
        self._is_retiring = False

    @property
    def registry(self) -> Registry | None:
        """The code in the children, where it is for sure that of this program."""
        return self._supply.registry

    def take(self, *, only_fresh: bool) -> Worker | None:
        """A worker without an attempt, if there is one."""
        if self._idle and not only_fresh:
            return self._idle.pop()
        return self._fresh.popleft() if self._fresh else None

    def order(self, count: int) -> None:
        """Sees to it that so many workers are fresh, or on their way."""
        self._supply.order(count - len(self._fresh))

    def begin(self, worker: Worker, attempt: Attempt, job: Job) -> bool:
        """Gives the worker a job; False if it is dead already."""
        try:
            worker.send(job)
        except OSError:
            self._leave(worker, EOF_SECONDS)
            return False
        worker.attempt, attempt.worker = attempt, worker
        if worker.unsent:
            self._watch(worker)
        return True

    def end(self, worker: Worker) -> None:
        """Asks a worker to end its attempt and itself; after the grace time it is killed."""
        worker.end_jobs()  # where SIGTERM is ignored, or comes when the attempt has just ended by itself
        self._supply.kill(worker.pid, signal.SIGTERM)
        self._leave(worker, self._grace)
        for seconds in REMINDERS:
            self._reactor.timers.add(self._reactor.mono() + seconds, partial(self._remind, worker))

    def _remind(self, worker: Worker) -> None:
        """Interrupts what the child waits in: Python sees to a signal between two of its own steps only.

        A SIGTERM that comes in the last moment before a system call would wait for the end of that.
        """
        if not (worker.has_exited or worker.is_orphan):
            self._supply.kill(worker.pid, REMINDER)

    def close(self) -> None:
        """Ends everything; returns when nobody is left."""
        self._supply.close()
        for worker in list(self._workers.values()):
            self._gone(worker)

    # -- what workers say ------------------------------------------------------------------------------------

    def _watch(self, worker: Worker) -> None:
        on_writable = partial(self._flush, worker) if worker.unsent else None
        self._reactor.watch(worker.control, partial(self._hear, worker), on_writable)

    def _flush(self, worker: Worker) -> None:
        worker.flush()
        if not worker.unsent:
            self._watch(worker)

    def _read(self, worker: Worker, pipe: int) -> None:
        if worker.control >= 0:
            self._hear(worker)  # what it has said before it wrote this
        if pipe in worker.pipes and worker.read(pipe) is False:
            self._forget(worker, pipe)

    def _hear(self, worker: Worker) -> None:
        self._obey(worker, worker.hear())
        if worker.complaint is not None:
            self._kill(worker)
        elif worker.is_cut_off:
            self._forget(worker, worker.control)
            if worker.is_orphan:
                self._gone(worker)
            else:  # its exit is a matter of moments, unless the task has closed our descriptor
                self._leave(worker, EOF_SECONDS, CUT_OFF)

    def _obey(self, worker: Worker, messages: Sequence[FromChild]) -> None:
        for message in messages:
            attempt = worker.attempt
            if attempt is None:  # something that it left running speaks, for nobody
                continue
            if isinstance(message, Said):
                worker.drain_before(message)
                attempt.output.say(message.at, message.level, message.message, message.attributes)
                continue
            if message.unread != (0, 0):
                worker.drain(FULL)
            self._supply.is_good()
            if self._foreman.ended(worker, attempt, message) and not (worker.is_leaving or worker.has_exited):
                self._rest(worker)
                self._foreman.look_round()
            else:
                self._leave(worker, self._grace)

    # -- how workers come and go -----------------------------------------------------------------------------

    def came(self, pid: int, ends: Ends) -> None:
        """Takes a new worker."""
        worker = self._workers[pid] = Worker(pid, ends)
        self._watch(worker)
        for pipe in worker.pipes:
            self._reactor.watch(pipe, partial(self._read, worker, pipe))
        self._fresh.append(worker)
        self._foreman.look_round()

    def went(self, pid: int, status: int, usage: Usage) -> None:
        """Takes leave of a worker."""
        worker = self._workers.get(pid)
        if worker is not None:
            if worker in self._fresh:  # or we would order one after the other
                self._supply.is_bad(f"a new process {exit_text(status, out_of_memory=False)}")
            self._gone(worker, status, usage)
            self._foreman.look_round()

    def lost(self) -> None:
        """Kills what the warm parent's death has not, and waits a moment for results on their way."""
        for worker in list(self._workers.values()):
            self._kill(worker)  # now, and never again: from now on its number may pass to another process
            worker.is_orphan = True
            if worker.timer is not None:
                worker.timer.cancel()
            self._leave(worker, ORPHAN_SECONDS)
            if worker.is_cut_off:
                self._gone(worker)
            else:
                self._reactor.timers.add(self._reactor.mono() + ORPHAN_SECONDS, partial(self._bury, worker))

    def _bury(self, worker: Worker) -> None:
        if not worker.has_exited:
            self._gone(worker)

    def ready(self) -> None:
        """Orders are taken again."""
        self._foreman.look_round()

    def refused(self, why: str) -> None:
        """There will be no worker."""
        self._foreman.refused(why)

    def _rest(self, worker: Worker) -> None:
        """Lets a worker wait for its next job, for some time."""
        worker.idle_since = self._reactor.mono()
        self._idle.append(worker)
        if not self._is_retiring:
            self._is_retiring = True
            self._reactor.timers.add(worker.idle_since + self._idle_seconds, self._retire)

    def _retire(self) -> None:
        """Lets those go that have waited long enough; comes back for the others."""
        self._is_retiring = False
        long_ago = self._reactor.mono() - self._idle_seconds
        while self._idle and self._idle[0].idle_since <= long_ago:
            worker = self._idle[0]
            self._leave(worker, self._grace)
            worker.end_jobs()
        if self._idle:
            self._is_retiring = True
            self._reactor.timers.add(self._idle[0].idle_since + self._idle_seconds, self._retire)

    def _leave(self, worker: Worker, seconds: float, complaint: str | None = None) -> None:
        """Gives the worker no other job, and kills it when it is still there after so many seconds."""
        if not worker.is_leaving:
            worker.is_leaving = True
            for idle in (self._fresh, self._idle):
                if worker in idle:
                    idle.remove(worker)
        if worker.timer is None and not worker.has_exited and not worker.is_orphan:
            when = self._reactor.mono() + seconds
            worker.timer = self._reactor.timers.add(when, partial(self._kill, worker, complaint))

    def _kill(self, worker: Worker, complaint: str | None = None) -> None:
        worker.complaint = worker.complaint or complaint
        self._supply.kill(worker.pid, signal.SIGKILL)

    def _gone(self, worker: Worker, status: int | None = None, usage: Usage | None = None) -> None:
        """Takes what a worker had to say when it died, and closes what led to it."""
        worker.has_exited = True
        del self._workers[worker.pid]
        self._leave(worker, 0.0)
        if worker.timer is not None:
            worker.timer.cancel()
        self._obey(worker, worker.hear(to_the_end=True))
        worker.drain(LAST)
        for fd in worker.descriptors():
            self._forget(worker, fd)
        if worker.attempt is not None:
            self._foreman.gone(worker, worker.attempt, status, usage)

    def _forget(self, worker: Worker, fd: int) -> None:
        self._reactor.forget(fd)
        worker.close(fd)
