"""The runners `process` and `pool`: every attempt in a child process of its own, or in one warm child of many.

                    start, cancel ──► inbox ─┐          ┌─► job ──────────► child   (forked from the warm
    warm parent: forked, exited ─────────────┤ one loop ├─► fork, kill ───► parent   parent, takes one job
    child: records, result; stdout, stderr ──┘ (thread) └─► log, done ────► sink      or, in the pool, many)

One thread does all of it. Deadlines run from the moment a job is sent. An attempt of `process` has ended when its
process group is gone; in the pool, when its result and all that it printed are here.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

from ppacer.executor import posix
from ppacer.executor.execute import conclude
from ppacer.executor.frames import Ended, FromChild, Job, Said
from ppacer.executor.reactor import Reactor
from ppacer.executor.runner import GRACE, Outcome, Sink
from ppacer.executor.supply import Supply
from ppacer.executor.warm import Ends, WarmParent
from ppacer.executor.words import end_text, exit_text, timeout_text, with_details
from ppacer.executor.worker import Attempt, Worker, utc
from ppacer.protocol import End, Grant

SPARES = 2  # idle children that never had a job: they hide how long a fork takes
IDLE_SECONDS = 60.0
EOF_SECONDS = 0.5  # between the end of the connection to a child and its own end
ORPHAN_SECONDS = 2.0  # for children whose warm parent died
CUT_OFF = "the task closed a file descriptor that is not its own: the one that connects its process to ppacer"
LOST = "handed back unfinished: the process from which task processes are forked has died"


class Children:
    """All child processes of this program, for the runners `process` and `pool`. Takes over the warm parent.

    `grace`: seconds between SIGTERM and SIGKILL. `spares`: children forked ahead.
    """

    def __init__(
        self,
        warm: WarmParent,
        sink: Sink,
        *,
        grace: float = GRACE,
        spares: int = SPARES,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._sink, self._grace, self._spares, self._idle_seconds = sink, grace, spares, idle_seconds
        self._live: dict[str, Attempt] = {}
        self._numbers = count()
        self._waiting: tuple[deque[Attempt], deque[Attempt]] = (deque(), deque())  # process, pool
        self._workers: dict[int, Worker] = {}
        self._fresh: deque[Worker] = deque()  # never had a job
        self._idle: deque[Worker] = deque()  # of the pool, the one that worked last at the end
        self._oom_kills = posix.oom_kills()
        self._is_closing = self._is_retiring = False
        self._reactor = Reactor()
        self._supply = Supply(self._reactor, warm, self)
        self._thread = threading.Thread(target=self._run, name="ppacer-children", daemon=True)
        self._thread.start()

    @property
    def process(self) -> "ChildRunner":
        """The runner that gives every attempt a process of its own."""
        return ChildRunner(self, reuse=False)

    @property
    def pool(self) -> "ChildRunner":
        """The runner whose processes take one attempt after the other.

        What an attempt changes in its process (environment, working directory, modules) the next one finds.
        """
        return ChildRunner(self, reuse=True)

    def start(self, grant: Grant, *, reuse: bool) -> None:
        """Begins an attempt; from any thread."""
        if not self._reactor.call(lambda: self._accept(grant, reuse)):
            conclude(grant, Outcome(End.HANDED_BACK, end_text(End.HANDED_BACK)), self._sink)

    def cancel(self, token: str, end: End) -> None:
        """Ends an attempt; from any thread."""
        self._reactor.call(lambda: self._cancel(token, end))

    def close(self) -> None:
        """Kills everything, hands back what still ran, and frees all descriptors."""
        self._reactor.call(self._reactor.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        self._reactor.run()
        self._is_closing = True
        self._supply.close()  # after this no child is left, and all that they had to say is in the pipes
        for worker in list(self._workers.values()):
            self._gone(worker)
        self._reactor.close()  # which takes what was started meanwhile
        self.refused(end_text(End.HANDED_BACK), End.HANDED_BACK)

    # -- attempts --------------------------------------------------------------------------------------------

    def _accept(self, grant: Grant, reuse: bool) -> None:
        attempt = Attempt(grant, reuse, next(self._numbers), self._sink)
        self._live[grant.token] = attempt
        self._waiting[reuse].append(attempt)
        if not self._is_closing:
            self._dispatch()

    def _dispatch(self) -> None:
        """Gives what waits to children that are there, and orders those that are missing."""
        process, pool = self._waiting
        while pool and self._idle:
            self._begin(self._idle.pop(), pool.popleft())
        while self._fresh and (process or pool):
            is_pool = not process or (pool and pool[0].number < process[0].number)
            self._begin(self._fresh.popleft(), (pool if is_pool else process).popleft())
        self._supply.order(len(process) + len(pool) + self._spares - len(self._fresh))

    def _begin(self, worker: Worker, attempt: Attempt) -> None:
        timeout, deadline = attempt.grant.timeout, None
        if timeout is not None:
            deadline = self._reactor.mono() + timeout
            attempt.timer = self._reactor.timers.add(deadline, partial(self._expire, attempt))
        worker.attempt, attempt.worker = attempt, worker
        try:
            worker.send(Job(attempt.grant, deadline, last=not attempt.reuse))
        except OSError:  # it died while it was idle: the next one
            worker.attempt = attempt.worker = None
            self._waiting[attempt.reuse].appendleft(attempt)
            self._leave(worker, EOF_SECONDS)
        if worker.unsent:
            self._watch(worker)

    def _expire(self, attempt: Attempt) -> None:
        self._end(attempt, End.TIMED_OUT)

    def _cancel(self, token: str, end: End) -> None:
        attempt = self._live.get(token)
        if attempt is None:
            return
        if attempt.worker is None:
            self._waiting[attempt.reuse].remove(attempt)
            self._finish(attempt, Outcome(end, end_text(end)))
        else:
            self._end(attempt, end)

    def _end(self, attempt: Attempt, end: End) -> None:
        """Makes a running attempt end as `end`, unless its result is here or it is ending already."""
        if attempt.end is None and attempt.outcome is None and attempt.worker is not None:
            attempt.end = end
            self._supply.kill(attempt.worker.pid, signal.SIGTERM)
            self._leave(attempt.worker, self._grace)

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        attempt.outcome = outcome
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.worker is not None:
            attempt.worker.attempt = None
        if not attempt.has_output:
            self._conclude(attempt, outcome)
        elif attempt.output.is_long:
            self._reactor.do_slowly(self._conclude_slowly(attempt, outcome))
        else:
            for _ in self._conclude_slowly(attempt, outcome):
                pass

    def _conclude_slowly(self, attempt: Attempt, outcome: Outcome) -> Iterator[None]:
        for records in attempt.output.finish(utc()):
            self._sink.log(records)
            yield
        self._conclude(attempt, outcome)

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        if self._live.get(attempt.grant.token) is attempt:
            del self._live[attempt.grant.token]
        conclude(attempt.grant, outcome, self._sink)

    # -- what children say -----------------------------------------------------------------------------------

    def _watch(self, worker: Worker) -> None:
        on_writable = partial(self._flush, worker) if worker.unsent else None
        self._reactor.watch(worker.control, partial(self._hear, worker), on_writable)

    def _flush(self, worker: Worker) -> None:
        worker.flush()
        if not worker.unsent:
            self._watch(worker)

    def _hear(self, worker: Worker) -> None:
        messages = worker.hear()
        if messages:
            worker.drain()  # what it printed before it said this comes before this
        self._obey(worker, messages)
        if worker.complaint is not None:
            self._kill(worker)
        elif worker.is_cut_off:
            self._forget(worker, worker.control)
            if worker.is_orphan:
                self._gone(worker)
            else:  # its exit is a matter of moments, unless the task has closed our descriptor
                self._leave(worker, EOF_SECONDS, CUT_OFF)

    def _read(self, worker: Worker, pipe: int) -> None:
        if worker.read(pipe) is False:
            self._forget(worker, pipe)

    def _forget(self, worker: Worker, fd: int) -> None:
        self._reactor.forget(fd)
        worker.close(fd)

    def _obey(self, worker: Worker, messages: Sequence[FromChild]) -> None:
        for message in messages:
            attempt = worker.attempt
            if attempt is None:  # something that it left running speaks, for nobody
                continue
            if isinstance(message, Said):
                attempt.output.say(message.at, message.level, message.message, message.attributes)
            else:
                self._ended(worker, attempt, message)

    def _ended(self, worker: Worker, attempt: Attempt, message: Ended) -> None:
        attempt.outcome = message.outcome
        self._supply.is_good()
        is_done = attempt.reuse and attempt.end is None  # of `process`, when its process is gone
        if message.leaving or worker.is_leaving or worker.has_exited or not is_done:
            self._leave(worker, self._grace)
        else:
            self._rest(worker)
        if is_done:
            self._finish(attempt, message.outcome)
            self._dispatch()

    # -- children --------------------------------------------------------------------------------------------

    def _rest(self, worker: Worker) -> None:
        """Lets a child of the pool wait for its next job, for some time."""
        worker.idle_since = self._reactor.mono()
        self._idle.append(worker)
        if not self._is_retiring:
            self._is_retiring = True
            self._reactor.timers.add(worker.idle_since + self._idle_seconds, self._retire)

    def _retire(self) -> None:
        """Lets those children go that have waited long enough; comes back for the others."""
        self._is_retiring = False
        now = self._reactor.mono()
        while self._idle and self._idle[0].idle_since + self._idle_seconds <= now:
            worker = self._idle[0]
            self._leave(worker, self._grace)
            self._forget(worker, worker.control)
        if self._idle:
            self._is_retiring = True
            self._reactor.timers.add(self._idle[0].idle_since + self._idle_seconds, self._retire)

    def _leave(self, worker: Worker, seconds: float, complaint: str | None = None) -> None:
        """Gives the child no other job, and kills it when it is still there after so many seconds."""
        if not worker.is_leaving:
            worker.is_leaving = True
            for idle in (self._fresh, self._idle):
                if worker in idle:
                    idle.remove(worker)
        if worker.timer is None and not worker.has_exited:
            when = self._reactor.mono() + seconds
            worker.timer = self._reactor.timers.add(when, partial(self._kill, worker, complaint))

    def _kill(self, worker: Worker, complaint: str | None = None) -> None:
        worker.complaint = worker.complaint or complaint
        self._supply.kill(worker.pid, signal.SIGKILL)

    def _gone(self, worker: Worker, status: int | None = None, peak: int | None = None) -> None:
        """Takes what a child had to say when it ended, and ends its attempt."""
        worker.has_exited = True
        self._workers.pop(worker.pid, None)
        self._leave(worker, 0.0)
        if worker.timer is not None:
            worker.timer.cancel()
        worker.drain()
        self._obey(worker, worker.hear(to_the_end=True))
        for fd in worker.descriptors():
            self._forget(worker, fd)
        if worker.attempt is not None:
            self._finish(worker.attempt, self._outcome(worker, worker.attempt, status, peak))

    def _outcome(self, worker: Worker, attempt: Attempt, status: int | None, peak: int | None) -> Outcome:
        """How an attempt has ended whose child is gone; `status` None: the warm parent is gone, too."""
        said = attempt.outcome
        if said is not None and attempt.end in (None, said.end):
            return said
        if attempt.end is not None:  # it may have stopped half-way because it was asked to
            timed_out = attempt.end is End.TIMED_OUT
            sentence = timeout_text(attempt.grant.timeout) if timed_out else end_text(attempt.end)
            return Outcome(attempt.end, with_details(sentence, said and said.error), None, peak)
        if status is None:  # not the fault of the task, so that it shall cost none of its retries
            return Outcome(End.HANDED_BACK, end_text(End.HANDED_BACK) if self._is_closing else LOST)
        sentence = worker.complaint or exit_text(status, self._is_out_of_memory(status))
        return Outcome(End.FAILED, f"{sentence}; peak memory {(peak or 0) / 1e6:,.0f} MB", None, peak)

    def _is_out_of_memory(self, status: int) -> bool:
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            return False
        before, self._oom_kills = self._oom_kills, posix.oom_kills()
        return before is not None and self._oom_kills is not None and self._oom_kills > before

    # -- what the supply says --------------------------------------------------------------------------------

    def ready(self) -> None:
        """Orders what is missing."""
        if self._live:
            self._dispatch()

    def came(self, pid: int, ends: Ends) -> None:
        """Takes a new child."""
        worker = self._workers[pid] = Worker(pid, ends)
        self._watch(worker)
        for pipe in worker.pipes:
            self._reactor.watch(pipe, partial(self._read, worker, pipe))
        self._fresh.append(worker)
        self._dispatch()

    def went(self, pid: int, status: int, peak: int) -> None:
        """Takes leave of a child."""
        worker = self._workers.get(pid)
        if worker is not None:
            if worker in self._fresh:  # or we would make one after the other
                self._supply.is_bad(f"a new process ended at once: {exit_text(status, out_of_memory=False)}")
            self._gone(worker, status, peak)
            self._dispatch()

    def lost(self) -> None:
        """Kills what the warm parent's death has not, and waits a moment for results that were on their way."""
        for worker in list(self._workers.values()):
            worker.is_orphan = True
            self._leave(worker, self._grace)
            self._kill(worker)
            if worker.is_cut_off:
                self._gone(worker)
            else:
                self._reactor.timers.add(self._reactor.mono() + ORPHAN_SECONDS, partial(self._bury, worker))

    def _bury(self, worker: Worker) -> None:
        if not worker.has_exited:
            self._gone(worker)

    def refused(self, why: str, end: End = End.REFUSED) -> None:
        """Ends what waits for a child."""
        for waiting in self._waiting:
            while waiting:
                self._finish(waiting.popleft(), Outcome(end, why))


class ChildRunner:
    """One of the two runners; both share the children."""

    def __init__(self, children: Children, *, reuse: bool) -> None:
        self._children, self._reuse = children, reuse

    def start(self, grant: Grant) -> None:
        """Begins the attempt."""
        self._children.start(grant, reuse=self._reuse)

    def cancel(self, token: str, end: End) -> None:
        """Ends the attempt: SIGTERM to its process group, and after the grace time SIGKILL."""
        self._children.cancel(token, end)

    def close(self) -> None:
        """Ends the attempts of both runners."""
        self._children.close()
