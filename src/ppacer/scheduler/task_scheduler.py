"""TaskScheduler: hands out attempts to executors, and notices when an executor is gone.

What an executor may get is its slots minus what it holds, so both sides can repeat themselves without
harm. Leases live in memory, one per executor, on the monotonic clock; the stored end is for the reader.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from ppacer.clock import Now
from ppacer.dag import TaskSpec
from ppacer.engine import Engine, Reason, TaskStatus
from ppacer.engine.changes import AttemptGranted, Change
from ppacer.engine.events import Claimed, Failed, LeaseExpired
from ppacer.protocol import Answer, Grant
from ppacer.scheduler.requests import Request

LOCAL = "local"  # the executor inside the scheduler's own program: it dies with it
SUSPENDED = 5.0  # seconds without a step, after which leases are made longer by the gap


class Held:
    """An attempt in the hands of an executor; `deadline` (monotonic) is when the scheduler gives it up."""

    __slots__ = ("deadline", "retry", "run_id", "task_id")

    def __init__(self, run_id: int, task_id: str, retry: int, deadline: float | None) -> None:
        self.run_id, self.task_id, self.retry, self.deadline = run_id, task_id, retry, deadline


class Session:
    """One executor: how much it takes, what it holds, until when it counts as alive, and its open long poll."""

    __slots__ = ("cancels", "ending", "held", "lease_end", "name", "poll", "poll_end", "slots")

    def __init__(self, name: str, lease_end: float) -> None:
        self.name = name
        self.slots = 0
        self.held: dict[str, Held] = {}
        self.ending: set[str] = set()  # of those held, the ones whose end is not committed yet
        self.lease_end = lease_end
        self.poll: Request | None = None
        self.poll_end = 0.0
        self.cancels: list[str] = []

    @property
    def free(self) -> int:
        return max(0, self.slots - len(self.held) + len(self.ending))

    def take_cancels(self) -> list[str]:
        """The attempts that shall end, each told once."""
        cancels, self.cancels = self.cancels, []
        return cancels


class TaskScheduler:
    """All executors the scheduler has heard of."""

    def __init__(self, engine: Engine, new_token: Callable[[], str], lease: float) -> None:
        self.engine = engine
        self.new_token = new_token
        self.lease = lease
        self.sessions: dict[str, Session] = {}
        self._next_look = 0.0  # monotonic; leases and deadlines are coarse, so they are looked at now and then

    def heard_of(self, executor: str, now: Now) -> Session:
        """The executor lives: its lease begins anew."""
        session = self.sessions.get(executor)
        if session is None:
            session = self.sessions[executor] = Session(executor, 0.0)
        session.lease_end = now.mono + self.lease
        return session

    def poll(self, session: Session, request: Request, wait: float, now: Now) -> Request | None:
        """Keeps the executor's long poll; returns the one before it, which is to be answered with nothing."""
        before, session.poll, session.poll_end = session.poll, request, now.mono + wait
        return before

    def expired_polls(self, now: Now) -> list[Request]:
        """The long polls that have waited long enough."""
        requests = []
        for session in self.sessions.values():
            if session.poll is not None and session.poll_end <= now.mono:
                requests.append(session.poll)
                session.poll = None
        return requests

    def grant(self, reachable: set[str], now: Now) -> list[Change]:
        """Grants ready attempts to executors that can be told at once: `reachable`, or waiting in a poll."""
        changes: list[Change] = []
        lease_end_at = now.utc + timedelta(seconds=self.lease)
        for session in self.sessions.values():
            count = min(session.free, self.engine.ready_count)
            if count and (session.poll is not None or session.name in reachable):
                tokens = [self.new_token() for _ in range(count)]
                changes += self.engine.handle(Claimed(session.name, tokens, lease_end_at), now.utc)
        return changes

    def release(self, executor: str, token: str) -> None:
        """The attempt has ended, or was replaced: its slot is free in this round, and for good once committed."""
        session = self.sessions[executor]
        if token in session.held:
            session.ending.add(token)

    def committed(self, changes: Sequence[Change], now: Now) -> None:
        """What was granted is held now, what ended is not. Before the commit neither would be known."""
        for session in self.sessions.values():
            for token in session.ending:
                session.held.pop(token, None)
            session.ending.clear()
        for change in changes:
            if isinstance(change, AttemptGranted):
                spec = self.engine.runs[change.ref.run_id].graph.tasks[change.position]
                held = Held(change.ref.run_id, spec.id, change.retry, self._deadline(spec, now))
                self.sessions[change.executor].held[change.token] = held

    def _deadline(self, spec: TaskSpec, now: Now) -> float | None:
        return None if spec.timeout is None else now.mono + spec.timeout + self.lease

    def drop(self, grants: Sequence[AttemptGranted]) -> None:
        """These grants never reached their executor."""
        for change in grants:
            self.sessions[change.executor].held.pop(change.token, None)

    def cancel(self, run_id: int) -> None:
        """Marks every running attempt of the run, to be told to its executor with the next answer."""
        for session in self.sessions.values():
            session.cancels += [token for token, held in session.held.items() if held.run_id == run_id]

    def overdue(self, now: Now) -> Iterator[LeaseExpired | Failed]:
        """Attempts whose executor is gone, and those that are a whole lease past their timeout."""
        if now.mono < self._next_look:
            return
        self._next_look = now.mono + min(1.0, self.lease / 4)
        for session in list(self.sessions.values()):
            if session.lease_end <= now.mono:
                del self.sessions[session.name]
                for held in session.held.values():
                    yield LeaseExpired(held.run_id, held.task_id, held.retry)
                continue
            for token, held in list(session.held.items()):
                if held.deadline is not None and held.deadline <= now.mono:
                    del session.held[token]
                    session.cancels.append(token)
                    error = "timed out; the executor did not end it, so the scheduler gave it up"
                    yield Failed(held.run_id, held.task_id, held.retry, token, Reason.TIMED_OUT, error)

    def prolong(self, gap: float) -> None:
        """The whole program was stopped for `gap` seconds: nobody could have been heard of meanwhile."""
        for session in self.sessions.values():
            session.lease_end += gap
            session.poll_end += gap
            for held in session.held.values():
                held.deadline = None if held.deadline is None else held.deadline + gap

    def adopt(self, now: Now) -> Iterator[LeaseExpired]:
        """After memory was read back: sorts running attempts by who may still have them.

        What a known executor holds stays. An attempt of an unknown executor on another machine gets a full
        lease to be reported. The others died with an earlier life of this program, or were granted in a
        transaction whose end nobody was told: they are lost.
        """
        known = {token: session for session in self.sessions.values() for token in session.held}
        held: dict[str, dict[str, Held]] = {}
        for run in self.engine.runs.values():
            for position, task in enumerate(run.tasks):
                if task.status is not TaskStatus.RUNNING or task.is_lost:
                    continue
                assert task.token is not None and task.executor is not None, (run.ref, position)
                spec = run.graph.tasks[position]
                if task.token in known:
                    before = known[task.token].held[task.token]
                    held.setdefault(task.executor, {})[task.token] = before
                elif task.executor == LOCAL or task.executor in self.sessions:
                    yield LeaseExpired(run.ref.run_id, spec.id, task.retry)
                else:
                    attempt = Held(run.ref.run_id, spec.id, task.retry, self._deadline(spec, now))
                    held.setdefault(task.executor, {})[task.token] = attempt
        for name in held.keys() - self.sessions.keys():
            self.heard_of(name, now)
        for session in self.sessions.values():
            session.held = held.get(session.name, {})
            session.ending.clear()

    def next_wake(self) -> float | None:
        """The next monotonic time at which a lease or a poll may be over."""
        times = [session.poll_end for session in self.sessions.values() if session.poll is not None]
        times += [max(session.lease_end, self._next_look) for session in self.sessions.values()]
        return min(times, default=None)

    def answer_polls(self, grants: dict[str, list[Grant]]) -> None:
        """Answers the long polls of those who have something to hear."""
        for session in self.sessions.values():
            if session.poll is not None and (grants.get(session.name) or session.cancels):
                poll, session.poll = session.poll, None
                poll.answer(Answer(grants.pop(session.name, []), session.take_cancels()))

    def close(self) -> None:
        """Answers every long poll with nothing."""
        for session in self.sessions.values():
            if session.poll is not None:
                session.poll.answer(Answer())
                session.poll = None


def make_grant(change: AttemptGranted, spec: TaskSpec, trigger: str, params: dict[str, object], results: dict[str, str]) -> Grant:
    """The message that gives an attempt to its executor."""
    return Grant(
        run_id=change.ref.run_id,
        dag_id=change.ref.dag_id,
        exec_ts=change.ref.exec_ts,
        task_id=change.task_id,
        retry=change.retry,
        token=change.token,
        trigger=trigger,
        timeout=spec.timeout,
        runner=spec.runner,
        params=params,
        results=results,
    )

