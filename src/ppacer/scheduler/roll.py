"""The roll of executors: who has said hello, and what of it is written down for the reader.

A row is written at hello, once in a lease while the executor is heard of, when it begins to drain, and when
it is gone. What it takes and holds is in its session (`task_scheduler`), which such a change sets up.
"""

from collections.abc import Iterable, Iterator, Mapping

from ppacer.clock import Now
from ppacer.engine.changes import (
    STOPPED,
    Change,
    DrainAsked,
    ExecutorDraining,
    ExecutorGone,
    ExecutorGreeted,
    ExecutorHeard,
)
from ppacer.engine.events import LeaseExpired
from ppacer.errors import ExecutorRefusedError, PpacerError, SchedulerUnavailable
from ppacer.protocol import LOCAL, PROTOCOL, PROTOCOL_OLDEST, Hello, Welcome
from ppacer.scheduler.requests import Greeting, Reports
from ppacer.scheduler.task_scheduler import Session, TaskScheduler
from ppacer.store.store import ExecutorRow
from ppacer.version import VERSION

DIED = "the program that it was a part of has ended"


class Roll:
    """Everybody who ever said hello, in front of the table `executors`."""

    def __init__(self, tasks: TaskScheduler) -> None:
        self._tasks = tasks
        self.rows: dict[str, ExecutorRow] = {}

    def read_back(self, rows: Mapping[str, ExecutorRow], now: Now) -> Iterator[Change]:
        """After memory was read back: whose row says that it lives has a lease to be heard of again."""
        self.rows = dict(rows)
        sessions = self._tasks.sessions
        for name, row in rows.items():
            if row.is_gone:
                continue
            if name == LOCAL and name not in sessions:
                yield ExecutorGone(name, now.utc, DIED)
                continue
            session = sessions.get(name) or self._tasks.heard(Reports(name, ()), now)
            session.identity, session.is_drained = row.identity, row.is_drained
            if session.life is None:
                session.noted_at = now.mono  # that it has a lease is no word of it

    def greet(self, hello: Hello, now: Now) -> tuple[Welcome | PpacerError, ExecutorGreeted | None]:
        """The answer to a hello, and the change that makes it true."""
        refusal = self._refusal(hello, now)
        if refusal is not None:
            return refusal, None
        session = self._tasks.sessions[hello.name]
        if session.life != hello.life:
            session.begin_anew(now)
        known = self.rows.get(hello.name)
        is_new, session.is_drained = known is None, known is not None and known.is_drained
        session.identity = hello.identity  # at once, and so is the row: it may come twice in a round
        self.rows[hello.name] = ExecutorRow(hello.identity, False, session.is_drained)
        greeted = ExecutorGreeted(
            name=hello.name,
            at=now.utc,
            is_new=is_new,
            host=hello.host,
            pid=hello.pid,
            version=hello.version,
            protocol=hello.protocol,
            slots=hello.slots,
            labels=hello.labels,
            runners=hello.runners,
            dag_versions=hello.dag_versions,
            identity=hello.identity,
            life=hello.life,
        )
        return Welcome(min(PROTOCOL, hello.protocol), self._tasks.lease, VERSION), greeted

    def _refusal(self, hello: Hello, now: Now) -> PpacerError | None:
        session = self._tasks.sessions.get(hello.name) or self._tasks.heard(Greeting(hello), now)
        if not PROTOCOL_OLDEST <= hello.protocol <= PROTOCOL:
            return ExecutorRefusedError(
                f"the executor {hello.name} (ppacer {hello.version}) speaks protocol {hello.protocol}, this "
                f"scheduler (ppacer {VERSION}) {PROTOCOL_OLDEST} to {PROTOCOL}: install the same version on "
                "both, first where the scheduler is"
            )
        if session.identity in (None, hello.identity):
            return None
        if session.is_gone:  # given up in this very round: the name is free in a moment
            return SchedulerUnavailable(f"the name {hello.name} is just becoming free")
        return ExecutorRefusedError(
            f"there is an executor {hello.name} already, which lives and has another folder; choose another "
            f"--name, or stop that one (after a kill its name is free in {self._tasks.lease:g} s)"
        )

    def orphans(self, hello: Hello) -> Iterator[LeaseExpired]:
        """What an earlier life of this executor was told to do, and this one knows nothing of."""
        session = self._tasks.sessions[hello.name]
        if session.life == hello.life:
            return
        named = {*hello.tokens, *session.untold}
        for token, held in session.held.items():
            if token not in named and token not in session.ended:
                session.ended[token] = False
                yield held.lost()

    def part(self, name: str, life: str | None) -> Iterator[LeaseExpired]:
        """An executor says goodbye: what it holds is lost, and need not wait for the end of its lease.

        The goodbye of a life that is over may come late, when the next one has said hello.
        """
        session = self._tasks.sessions.get(name)
        if session is None or life not in (None, session.life):
            return
        session.is_gone, session.parting = True, STOPPED
        for token, held in session.held.items():
            if token not in session.ended:
                session.ended[token] = False
                yield held.lost()

    def notes(self, now: Now) -> Iterator[Change]:
        """What is to be written down now."""
        for session in self._tasks.sessions.values():
            row = self.rows.get(session.name)  # None: it never said hello, or somebody has deleted its row
            if row is not None and not row.is_gone:
                yield from self._note(session, now)

    def _note(self, session: Session, now: Now) -> Iterator[Change]:
        lease = self._tasks.lease
        if session.is_gone:
            yield ExecutorGone(session.name, now.utc, session.parting or f"not heard of for {lease:g} s")
            return
        if session.slots == 0 and not session.is_draining:
            yield ExecutorDraining(session.name, now.utc)
        if session.noted_at + lease <= now.mono and session.lease_end - lease > session.noted_at:
            yield ExecutorHeard(session.name, now.utc)

    def committed(self, changes: Iterable[Change], now: Now) -> None:
        """These changes are rows now. Before the sessions of who is gone are dropped."""
        for change in changes:
            match change:
                case ExecutorGreeted(name=name):
                    self._tasks.sessions[name].introduce(change, now)
                case ExecutorHeard(name):
                    self._tasks.sessions[name].noted_at = now.mono
                case ExecutorDraining(name):
                    self._tasks.sessions[name].is_draining = True
                case DrainAsked(name, at):
                    self.drain(name, at is not None)
                case ExecutorGone(name):
                    self.rows[name] = self.rows[name]._replace(is_gone=True)

    def drain(self, name: str, is_drained: bool) -> None:
        """From now on it is given nothing more, or work again; also in the round that decides so."""
        self.rows[name] = self.rows[name]._replace(is_drained=is_drained)
        if (session := self._tasks.sessions.get(name)) is not None:
            session.is_drained = is_drained
