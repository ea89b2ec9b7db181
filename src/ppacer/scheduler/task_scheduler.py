"""TaskScheduler: hands out attempts to executors, and notices when an executor is gone.

What an executor may get is its slots minus what it holds, so both sides can repeat themselves without
harm. Leases live in memory, one per executor, on the monotonic clock; the stored end is for the reader.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from math import inf
from operator import itemgetter

from ppacer.clock import Now
from ppacer.engine import Engine, Reason, RunRef, TaskStatus
from ppacer.engine.changes import AttemptGranted, CancelRequested, Change, ExecutorGreeted
from ppacer.engine.events import Claimed, Failed, LeaseExpired, LeaseRenewed
from ppacer.engine.ready import Needs, are_met, needs_of
from ppacer.errors import UnknownExecutorError
from ppacer.protocol import LOCAL, Answer, End, Report
from ppacer.scheduler.requests import Claim, FromExecutor, Greeting, Heartbeat, Reports, Request

REFUSED_SECONDS = 10.0  # that an executor which could not start a task gets no other of its dag
OF_A_LIFE = (Reports, Heartbeat)  # what counts in part when it comes late
TIMED_OUT = "timed out; the executor did not end it, so the scheduler gave it up"


class Held:
    """An attempt in the hands of an executor; `deadline` (monotonic) is when the scheduler gives it up."""

    __slots__ = ("deadline", "is_ending", "missing_since", "position", "ref", "retry", "task_id")

    def __init__(self, ref: RunRef, position: int, task_id: str, retry: int, deadline: float | None) -> None:
        self.ref, self.position, self.task_id, self.retry, self.deadline = (
            ref,
            position,
            task_id,
            retry,
            deadline,
        )
        self.is_ending = False  # its executor was told, or will be, to end it
        self.missing_since: float | None = None  # since when heartbeats do not name it

    def lost(self) -> LeaseExpired:
        """The event that nobody works on it any more."""
        return LeaseExpired(self.ref.run_id, self.task_id, self.retry)

    def timed_out(self, token: str) -> Failed:
        """The event that it is over time and its executor does not care."""
        return Failed(self.ref.run_id, self.task_id, self.retry, token, Reason.TIMED_OUT, TIMED_OUT)


class Session:
    """One executor: how much it takes, what it holds, how long it counts as alive, and its open long poll."""

    __slots__ = (
        "cancels",
        "ended",
        "held",
        "identity",
        "is_drained",
        "is_draining",
        "is_gone",
        "labels",
        "lease_end",
        "life",
        "name",
        "noted_at",
        "parting",
        "poll",
        "poll_end",
        "runners",
        "slots",
        "untold",
        "without",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.slots: int | None = None  # None: it has not said it, and is given nothing
        self.labels: frozenset[str] | None = None  # None: it takes tasks with any
        self.runners: frozenset[str] | None = None
        self.without: dict[str, float] = {}  # dags that it has refused; until this time (monotonic)
        self.held: dict[str, Held] = {}  # by token
        self.untold: list[str] = []  # of those held, the ones whose grant it has not been told
        self.ended: dict[
            str, bool
        ] = {}  # of those held, the ones that this round ends; True: it is to be told
        self.cancels: list[str] = []  # the attempts it shall be told to end
        self.lease_end = 0.0
        self.is_gone = False  # its lease has ended in this round
        self.poll: Request | None = None
        self.poll_end = 0.0
        # What its hello said; None: there was none in the life of this scheduler.
        self.identity: str | None = None
        self.life: str | None = None
        self.is_drained = False  # somebody has asked for it to be given nothing new
        # What of it is written down.
        self.is_draining = False
        self.noted_at = 0.0  # monotonic: when its heartbeat was
        self.parting: str | None = None  # why it is gone, when it has said so

    def begin_anew(self, now: Now) -> None:
        """Another life of it says hello: whoever waits is of the one before, and is given nothing.

        The new one counts when its hello is committed; until then no claim is known.
        """
        self.end_poll()
        self.life = self.slots = self.parting = None
        self.is_gone, self.noted_at = False, now.mono

    def introduce(self, hello: ExecutorGreeted, now: Now) -> None:
        """It has said hello, and that is a row."""
        self.labels = None if hello.labels is None else frozenset(hello.labels)
        self.runners = None if hello.runners is None else frozenset(hello.runners)
        self.without.clear()  # it may have other code now
        self.identity, self.life, self.slots = hello.identity, hello.life, hello.slots
        self.is_draining, self.noted_at = False, now.mono

    @property
    def free(self) -> int:
        """How many more attempts it takes."""
        if self.slots is None or self.is_gone or self.is_drained:
            return 0
        return max(0, self.slots - len(self.held) + len(self.ended))

    @property
    def is_waiting(self) -> bool:
        """True when it can be told something at once."""
        return self.poll is not None and self.poll.is_open

    def claimed(self, tokens: list[str], lease_end_at: datetime, now: Now) -> Claimed:
        """The event that it takes work, of what it can do."""
        if self.without:
            self.without = {dag_id: until for dag_id, until in self.without.items() if until > now.mono}
        return Claimed(self.name, tokens, lease_end_at, self.labels, self.runners, frozenset(self.without))

    def may_take(self, needs: Needs, dag_id: str) -> bool:
        """Whether it takes such tasks of this dag at all."""
        return (
            bool(self.slots)
            and not self.is_drained
            and dag_id not in self.without
            and are_met(needs, self.labels, self.runners)
        )

    def hold(self, token: str, held: Held) -> None:
        """It has this attempt, and does not know yet."""
        self.held[token] = held
        self.untold.append(token)

    def drop(self, token: str) -> None:
        """It does not have this attempt any more."""
        if self.held.pop(token, None) is not None and token in self.untold:
            self.untold.remove(token)

    def end(self, token: str) -> None:
        """It shall end this attempt, which it is told at once, and again while its heartbeats name it."""
        held = self.held[token]
        if not held.is_ending:
            held.is_ending = True
            self.cancels.append(token)

    def remind(self, tokens: Iterable[str]) -> None:
        """It still has these, so what it was told before may have been lost on its way."""
        ending = [token for token in tokens if token in self.held and self.held[token].is_ending]
        self.cancels += [token for token in ending if token not in self.cancels]

    def take_cancels(self) -> list[str]:
        """The attempts that shall end: from now on they count as told."""
        cancels, self.cancels = self.cancels, []
        return cancels

    def take_poll(self) -> Request | None:
        """The open long poll, if somebody still waits for it; it must be answered.

        One that failed alone, or was answered before it was decided alone, is open no more.
        """
        poll, self.poll = self.poll, None
        return poll if poll is not None and poll.is_open and poll.take() else None

    def end_poll(self) -> None:
        """Answers the open long poll with nothing."""
        poll = self.take_poll()
        if poll is not None:
            poll.answer(Answer())


class TaskScheduler:
    """All executors the scheduler has heard of."""

    def __init__(self, engine: Engine, new_token: Callable[[], str], lease: float) -> None:
        self.engine = engine
        self.new_token = new_token
        self.lease = lease
        self.sessions: dict[str, Session] = {}
        self.is_sure = True  # False: the engine may be ahead of the rows, and nothing is judged by it
        self._next_look = (
            0.0  # monotonic; leases and deadlines are coarse, so they are looked at now and then
        )

    # -- what executors say ----------------------------------------------------------------------------------

    def heard(self, ask: FromExecutor, now: Now) -> Session:
        """The executor lives: its lease begins anew. True whether or not the database works."""
        session = self.sessions.get(ask.executor)
        if session is None:
            session = self.sessions[ask.executor] = Session(ask.executor)
        if isinstance(ask, Greeting) and session.identity not in (None, ask.hello.identity):
            return session  # somebody else, who wants its name
        if self.is_past(ask):
            return session
        session.lease_end = now.mono + self.lease
        match ask:
            case Claim() if _is_known(session, ask):
                session.slots = ask.slots
            case Reports():
                for report in ask.reports:
                    if report.token in session.held:
                        session.held[report.token].missing_since = None
            case Heartbeat():
                self._compare(session, ask.tokens, now)
        return session

    def is_past(self, ask: FromExecutor) -> bool:
        """Whether a life says this that is over: the next one has said hello before it came.

        What it reports counts as ever, by its tokens; it holds nothing, and is given nothing.
        """
        session = self.sessions.get(ask.executor)
        if session is None or session.life is None or not isinstance(ask, OF_A_LIFE):
            return False
        return ask.life is not None and session.life != ask.life

    def _compare(self, session: Session, tokens: Sequence[str], now: Now) -> None:
        """A grant may be lost on its way: then the executor's heartbeats never name it."""
        session.cancels += self.strangers(session, tokens)
        session.remind(tokens)
        named = {*tokens, *session.untold}
        for token, held in session.held.items():
            if token in named:
                held.missing_since = None
            elif held.missing_since is None:
                held.missing_since = now.mono

    def strangers(self, session: Session, tokens: Iterable[str]) -> list[str]:
        """What an executor names and does not hold: somebody else has it now, so it is to be ended.

        Unless it is only lost, and no newer attempt was granted: then a success still counts.
        """
        if not self.is_sure:
            return []
        return [token for token in tokens if token not in session.held and token not in self.engine.lost]

    def take_back(self, executor: str, tokens: Sequence[str], now: Now) -> list[Change]:
        """What an executor names that is only lost is its own again: it would take hours to do it anew.

        From now on it counts as held, so that a goodbye in the same round loses it once more.
        """
        changes: list[Change] = []
        session = self.sessions.get(executor)  # None: its goodbye came just before
        for token in tokens:
            lost = self.engine.lost.get(token)
            if session is None or token in session.held or lost is None:
                continue
            run_id, position = lost
            run = self.engine.runs[run_id]
            if run.tasks[position].executor == executor:
                held = session.held[token] = self._held(run.ref, position, now)
                found = LeaseRenewed(run_id, held.task_id, held.retry, token)
                changes += self.engine.handle(found, now.utc)
        return changes

    def poll(self, request: Request, ask: Claim, now: Now) -> None:
        """Keeps the executor's long poll; the one before it is answered with nothing."""
        session = self.sessions.get(ask.executor)  # None: its goodbye came just before
        if session is None or not _is_known(session, ask):
            if request.take():
                request.answer(UnknownExecutorError(f"the executor {ask.executor} has to say hello first"))
            return
        if session.poll is not request:
            session.end_poll()
        session.poll, session.poll_end = request, now.mono + ask.wait

    def ends(self, executor: str, report: Report, now: Now) -> None:
        """This attempt ends in this round: its slot is free at once, and for good once that is committed."""
        token = report.token
        for session in (self.sessions.get(executor), *self.sessions.values()):
            if session is not None and token in session.held:
                if report.end is End.REFUSED:
                    self._refused(session, session.held[token], report, now)
                session.ended.setdefault(token, False)
                return

    def _refused(self, mine: Session, held: Held, report: Report, now: Now) -> None:
        """This executor cannot run this dag, for ever or for now: others shall, if there are any.

        Where there are none it is asked again, so that the task fails in the end with what it says.
        """
        run = self.engine.runs.get(held.ref.run_id)
        if run is None:
            return
        dag_id, needs = run.ref.dag_id, needs_of(run.graph.tasks[held.position])
        if any(session.may_take(needs, dag_id) for session in self.sessions.values() if session is not mine):
            mine.without[dag_id] = inf if report.is_unfit else now.mono + REFUSED_SECONDS
        else:
            for session in self.sessions.values():
                session.without.pop(dag_id, None)

    # -- what they are given ---------------------------------------------------------------------------------

    def grant(self, reachable: set[str], now: Now) -> list[Change]:
        """Grants ready attempts to executors that can be told at once: `reachable`, or waiting in a poll.

        Those with the most free slots come first. What they cannot take, for lack of a label, is offered to
        the others in a second turn.
        """
        changes: list[Change] = []
        if not self.engine.ready_count:
            return changes
        sessions = self.sessions.values()
        takers = [one for one in sessions if (one.is_waiting or one.name in reachable) and one.free]
        left: list[tuple[Session, int]] = []
        for session, count, free in shares(takers, self.engine.ready_count):
            granted = self._give(session, count, now)
            changes += granted
            if free > count and sum(isinstance(one, AttemptGranted) for one in granted) == count:
                left.append((session, free - count))
        for session, free in left:
            changes += self._give(session, min(free, self.engine.ready_count), now)
        return changes

    def _give(self, session: Session, count: int, now: Now) -> list[Change]:
        """At most so many of the oldest attempts that the executor can take."""
        if not count:
            return []
        tokens = [self.new_token() for _ in range(count)]
        lease_end_at = now.utc + timedelta(seconds=self.lease)
        return self.engine.handle(session.claimed(tokens, lease_end_at, now), now.utc)

    def committed(self, changes: Iterable[Change], now: Now) -> None:
        """What was granted is held now, what ended is not. Before the commit neither would be known."""
        settled = [one for one in self.sessions.values() if one.ended or one.is_gone]
        for session in settled:
            for token, tell in session.ended.items():
                if tell:
                    session.end(token)
                session.drop(token)
            session.ended.clear()
            if session.is_gone:
                self.sessions.pop(session.name).end_poll()
                for other in self.sessions.values():  # what they refused may be for nobody else now
                    other.without.clear()
        for change in changes:
            if isinstance(change, AttemptGranted):
                held = self._held(change.ref, change.position, now)
                self.sessions[change.executor].hold(change.token, held)
            elif isinstance(change, CancelRequested):
                self._end_run(change.ref.run_id)

    def _held(self, ref: RunRef, position: int, now: Now) -> Held:
        run = self.engine.runs[ref.run_id]
        spec = run.graph.tasks[position]
        deadline = None if spec.timeout is None else now.mono + spec.timeout + self.lease
        return Held(ref, position, spec.id, run.tasks[position].retry, deadline)

    def _end_run(self, run_id: int) -> None:
        for session in self.sessions.values():
            for token, held in session.held.items():
                if held.ref.run_id == run_id:
                    session.end(token)

    def expire_polls(self, now: Now) -> None:
        """Answers the long polls that have waited long enough, with nothing."""
        for session in self.sessions.values():
            if session.poll is not None and session.poll_end <= now.mono:
                session.end_poll()

    def close(self) -> None:
        """Answers every long poll with nothing."""
        for session in self.sessions.values():
            session.end_poll()

    # -- when they are gone ----------------------------------------------------------------------------------

    def overdue(self, now: Now) -> Iterator[LeaseExpired | Failed]:
        """Attempts whose executor is gone or does not have them, and those a lease past their timeout."""
        if now.mono < self._next_look:
            return
        self._next_look = now.mono + min(1.0, self.lease / 4)
        for session in self.sessions.values():
            session.is_gone = session.lease_end <= now.mono
            for token, held in session.held.items():
                since = held.missing_since
                if session.is_gone or (since is not None and since + self.lease <= now.mono):
                    session.ended[token] = False
                    yield held.lost()
                elif held.deadline is not None and held.deadline <= now.mono:
                    session.ended[token] = True
                    yield held.timed_out(token)

    @property
    def patience(self) -> float:
        """Seconds within which the scheduler steps when it knows executors: they are heard of that often."""
        return self.lease / 3

    def prolong(self, gap: float) -> None:
        """After `gap` seconds without a step: when the program was stopped, nobody could be heard of."""
        if gap <= self.lease / 2:
            return
        for session in self.sessions.values():
            session.lease_end += gap
            session.poll_end += gap
            for held in session.held.values():
                held.deadline = None if held.deadline is None else held.deadline + gap
                held.missing_since = None

    def forgive(self) -> None:
        """After an outage: what executors could not report may be missing in their heartbeats for that."""
        for session in self.sessions.values():
            for held in session.held.values():
                held.missing_since = None

    def adopt(self, now: Now) -> list[LeaseExpired]:
        """After memory was read back: sorts running attempts by who may still have them.

        What a known executor holds stays. What it does not hold was granted in a transaction of which
        nobody knew the end: now it can be told. An attempt of an unknown executor on another machine gets a
        full lease to be reported. The local ones died with an earlier life of this program: they are lost.
        """
        self._next_look = 0.0
        known = {token: held for session in self.sessions.values() for token, held in session.held.items()}
        met = set(self.sessions)
        lost: list[LeaseExpired] = []
        for session in self.sessions.values():
            session.held, session.is_gone = {}, False
        for run in self.engine.runs.values():
            for position, task in enumerate(run.tasks):
                if task.status is not TaskStatus.RUNNING or task.is_lost:
                    continue
                assert task.token is not None, (run.ref, position)
                assert task.executor is not None, (run.ref, position)
                held = known.get(task.token) or self._held(run.ref, position, now)
                if task.token in known:
                    self.sessions[task.executor].held[task.token] = held
                elif task.executor in met:
                    self.sessions[task.executor].hold(task.token, held)
                elif task.executor == LOCAL:
                    lost.append(held.lost())
                    continue
                else:
                    self.heard(Reports(task.executor, ()), now).held[task.token] = held
                if run.cancelling:
                    self.sessions[task.executor].end(task.token)
        for session in self.sessions.values():
            session.untold = [token for token in session.untold if token in session.held]
            session.cancels += [
                token for token, tell in session.ended.items() if tell and token not in session.held
            ]
            session.ended.clear()
        return lost

    def next_wake(self, now: Now) -> float | None:
        """The next monotonic time at which a lease or a poll may be over; None without executors."""
        if not self.sessions:
            return None
        wake = now.mono + self.patience
        for session in self.sessions.values():
            if session.poll is not None and session.poll_end < wake:
                wake = session.poll_end
            if session.lease_end < wake:
                wake = min(wake, max(session.lease_end, self._next_look))
        return wake


def shares(sessions: Iterable[Session], count: int) -> Iterator[tuple[Session, int, int]]:
    """How many of `count` attempts each gets, as if one by one went to who has the most free slots then.

    And how many are free. Told from the end: the slots that stay free are shared evenly, beginning with who
    has the fewest.
    """
    slots = sorted(((session.free, session) for session in sessions), key=itemgetter(0))
    left = max(0, sum(free for free, _ in slots) - count)
    for place, (free, session) in enumerate(slots):
        stays = min(free, left // (len(slots) - place))
        left -= stays
        yield session, free - stays, free


def _is_known(session: Session, ask: Claim) -> bool:
    """Whether the claim comes from the life that has said hello last."""
    return session.life == ask.life
