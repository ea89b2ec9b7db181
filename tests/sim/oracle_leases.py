"""Judges what concerns executors and time: leases (14), slots (17), timeouts (31).

Only from what the scheduler heard, on a clock that stands still while the host sleeps: docs/architecture.md.
"""

from heapq import heappop, heappush

from ppacer.clock import Now
from ppacer.engine.model import TaskStatus
from ppacer.protocol import End, Report
from ppacer.scheduler.requests import Claim, FromExecutor, Heartbeat, Reports
from sim.oracle_model import Attempt, wrong

NEVER = float("-inf")
EPSILON = 1e-6
LOOK = 1.5  # seconds; leases and deadlines are coarse, they are looked at once a second
OVERDUE_STEPS_MAX = 8  # steps with a commit after which a timeout that was not enforced is forgotten


def is_garbled(report: Report) -> bool:
    """Whether its texts are no Unicode."""
    try:
        f"{report.error}{report.result}".encode()
    except UnicodeEncodeError:
        return True
    return False


class Leases:
    """What was heard of each executor, and what each holds. `local`: executors inside the program itself."""

    def __init__(self, lease: float, local: frozenset[str]) -> None:
        self.lease, self.local = lease, local
        self.slept = 0.0
        self._asleep = 0.0  # of that, what is not counted yet
        self._stepped = 0.0  # the latest step or start, on the monotonic clock
        self.up_at = NEVER
        self.heard_at: dict[str, float] = {}
        self.slots: dict[str, int] = {}
        self.step_slots: dict[str, int] = {}  # the largest claim of this step
        self.held: dict[str, dict[str, Attempt]] = {}
        self.ends: dict[str, list[Report]] = {}  # what was reported, by token
        self._deadlines: list[tuple[float, str]] = []
        self._timed: dict[str, Attempt] = {}
        self._overdue: dict[str, int] = {}

    def awake(self, now: Now) -> float:
        """Seconds on the clock that judges leases and timeouts."""
        if self._asleep:
            self.slept += min(self._asleep, now.mono - self._stepped)
            self._asleep = 0.0
        return now.mono - self.slept

    def sleep(self, seconds: float) -> None:
        """Nobody could step for so long; at most the time since the latest step, or the latest start."""
        self._asleep += seconds

    def heard(self, executor: str, ask: FromExecutor, now: Now) -> None:
        """The scheduler got this message."""
        at = self.heard_at[executor] = self.awake(now)
        match ask:
            case Claim():
                self.slots[executor] = ask.slots
                self.step_slots[executor] = max(ask.slots, self.step_slots.get(executor, 0))
            case Reports():
                for report in ask.reports:
                    self.ends.setdefault(report.token, []).append(report)
            case Heartbeat():
                tokens = set(ask.tokens)
                for token, attempt in self.held.get(executor, {}).items():
                    if token in tokens:
                        attempt.named, attempt.denied = at, False
                    else:
                        attempt.denied = True

    def granted(self, attempt: Attempt, now: Now) -> None:
        """17: never more attempts at an executor than the slots it claimed with."""
        executor, token = str(attempt.executor), str(attempt.token)
        attempt.awake = attempt.named = self.awake(now)
        held = self.held.setdefault(executor, {})
        held[token] = attempt
        slots = max(self.slots.get(executor, 0), self.step_slots.get(executor, 0))
        if sum(one.lost_at is None for one in held.values()) > slots:
            wrong(
                17, f"{attempt} makes {len(held)} attempts at executor {executor!r}, which has {slots} slots"
            )
        self._watch(attempt)

    def _watch(self, attempt: Attempt) -> None:
        """Its time is counted from now on."""
        token, timeout = str(attempt.token), attempt.task.spec.timeout
        self._overdue.pop(token, None)
        if timeout is not None:
            self._timed[token] = attempt
            heappush(self._deadlines, (attempt.awake + timeout + self.lease + LOOK, token))

    def ended(self, attempt: Attempt) -> None:
        """It holds its place no longer."""
        if attempt.token is not None:
            self.held.get(str(attempt.executor), {}).pop(attempt.token, None)
            self._timed.pop(attempt.token, None)
            self._overdue.pop(attempt.token, None)

    def reported(self, attempt: Attempt, *ends: End) -> Report | None:
        """The first report of such an end with the token of this attempt."""
        for report in self.ends.get(str(attempt.token), ()):
            same = (attempt.run.ref.run_id, attempt.task.spec.id, attempt.retry)
            if report.end in ends and same == (report.run_id, report.task_id, report.retry):
                return report
        return None

    def is_garbled(self, attempt: Attempt) -> bool:
        """Whether something was reported of it that no database can hold: it fails alone (12.10)."""
        return any(map(is_garbled, self.ends.get(str(attempt.token), ())))

    def judge_loss(self, attempt: Attempt, now: Now) -> None:
        """14: no lease ends while somebody was heard of within a whole lease, awake and up.

        The executor as a whole was silent for a lease; or for a whole lease the attempt was not named, and a
        heartbeat since denied it (the answer with the grant was lost on its way). The documents name only
        the first; without the second such an attempt would stay RUNNING for ever. A grant itself is no word
        of the executor: it may answer a claim that was heard long ago.
        """
        executor, at = str(attempt.executor), self.awake(now)
        if executor in self.local and attempt.awake < self.up_at:
            return  # an attempt inside the program died with it
        if at - max(self.heard_at.get(executor, NEVER), self.up_at) >= self.lease - EPSILON:
            return
        if attempt.denied and at - max(attempt.named, self.up_at) >= self.lease - EPSILON:
            return
        heard = at - self.heard_at.get(executor, NEVER)
        wrong(14, f"{attempt} is lost though executor {executor!r} was heard {heard:.3f} s ago")

    def judge_find(self, attempt: Attempt, now: Now) -> None:
        """12: an attempt has its owner again only by a heartbeat of this step that names it.

        Its timeout is counted anew, as after a start.
        """
        at = self.awake(now)
        if attempt.named < at - EPSILON:
            wrong(12, f"{attempt} is lost no more, and executor {attempt.executor!r} did not name it")
        attempt.awake = at
        self._watch(attempt)

    def judge_timeout(self, attempt: Attempt, now: Now) -> None:
        """31: the scheduler itself ends an attempt one lease after its timeout, not earlier."""
        if self.reported(attempt, End.TIMED_OUT) is not None:
            return
        timeout, age = attempt.task.spec.timeout, self.awake(now) - attempt.awake
        if timeout is None or age < timeout + self.lease - EPSILON:
            wrong(
                31, f"{attempt} is TIMED_OUT by the scheduler after {age:.3f} s; its timeout is {timeout} s"
            )

    def up(self, now: Now) -> None:
        """After a start every lease begins anew."""
        self.up_at, self._stepped = self.awake(now), now.mono
        self._overdue.clear()

    def after_step(self, now: Now, has_committed: bool) -> None:
        """31: no attempt runs on long after the scheduler should have ended it."""
        self.step_slots = {}
        at, self._stepped = self.awake(now), now.mono
        while self._deadlines and self._deadlines[0][0] < at:
            self._expire(heappop(self._deadlines)[1], at)
        if has_committed and self._overdue:
            self._judge_overdue(at)

    def _expire(self, token: str, at: float) -> None:
        attempt = self._timed.get(token)
        if attempt is None:
            return
        assert attempt.task.spec.timeout is not None
        begin = max(self.up_at, attempt.awake)  # a start may count anew, and so does who was found
        latest = begin + attempt.task.spec.timeout + self.lease + LOOK
        if latest >= at:
            heappush(self._deadlines, (latest, token))
        else:
            self._overdue.setdefault(token, 0)

    def _judge_overdue(self, at: float) -> None:
        for token in list(self._overdue):
            attempt = self._timed[token]
            self._overdue[token] += 1
            if attempt.lost_at is not None or attempt.status is not TaskStatus.RUNNING:
                del self._overdue[token]
            elif self._overdue[token] > OVERDUE_STEPS_MAX:
                age = at - attempt.awake
                wrong(31, f"{attempt} runs for {age:.3f} s; its timeout is {attempt.task.spec.timeout} s")
