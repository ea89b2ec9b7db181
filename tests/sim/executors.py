"""Executors as the scheduler sees them: three loops that ask, attempts that end somehow, a spool of reports.

They keep to the rules of `ppacer.executor.Executor`: a grant is begun once, a report is repeated until it is
acknowledged, heartbeats name what runs. What tasks do is thrown by dice.
"""

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppacer.dag import TaskBody
from ppacer.protocol import Answer, End, Grant, Report
from ppacer.scheduler.requests import Ask, Claim, Heartbeat, Reports
from sim.wires import Call, Link

if TYPE_CHECKING:
    from sim.world import World

DURATIONS = (0.02, 0.2, 1.0, 2.5, 6.0, 14.0)
POLLS = (20.0, 20.0, 5.0, 0.0)
ABSENCES = (0.5, 5.0, 20.0, 45.0, 100.0)
PARTITIONS = (3.0, 15.0, 29.0, 40.0, 40.0, 90.0)
BACKOFFS = (0.1, 0.4, 1.6, 5.0)
OPTIMISM = 0.05  # heartbeats that are sent though nobody is there; the others would only take time
STUBBORN_SECONDS = 150.0


class Executor:
    """One executor; `epoch` counts its lives, so that what was begun in an earlier one comes to nothing."""

    def __init__(self, world: "World", name: str, slots: int) -> None:
        self.world, self.name, self.slots = world, name, slots
        self.link = Link(world, is_far=name != "local")
        self.epoch = 0
        self.is_alive = self.is_draining = False
        self.running: dict[str, Grant] = {}
        self.ending: set[str] = set()  # told to end, and not stubborn
        self.stubborn: set[str] = set()
        self.spool: deque[Report] = deque()
        self.is_reporting = False
        self.reporting: Call | None = None  # the latest message with reports
        self.refusals = [0, 0, 0]
        self.knows: dict[str, Mapping[str, TaskBody]] = {}  # code by dag and task, as deployed at its start

    # -- its life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to claim, with the dags of now."""
        if self.is_alive:
            return
        self.epoch += 1
        self.is_alive, self.is_draining, self.is_reporting = True, False, False
        self.knows = {dag.id: dag.bodies for dag in self.world.scenario.deployed()}
        self._claim(self.epoch)
        self._beat(self.epoch)
        if self.link.is_far:
            self._next("crash", self._crash)
            self._next("partition", self._partition)
            self._next("drain", self.drain)

    def die(self) -> None:
        """Its process and all its tasks are gone; the spool too, which is memory."""
        self.epoch += 1
        self.is_alive = False
        self.running.clear()
        self.ending.clear()
        self.stubborn.clear()
        self.spool.clear()

    def heal(self) -> None:
        """Everything that is broken about it is mended; nothing hangs any more."""
        self.link.is_cut = False
        if self.link.is_far or self.world.scheduler is not None:
            self.start()
        self.is_draining = False
        for token in list(self.running):
            self.after(2.0 * self.world.wires.random(), self._end, token, End.SUCCESS)

    def _next(self, kind: str, act: Any) -> None:
        wait = self.world.chance.wait(kind)
        if wait is not None:
            self.after(wait, act)

    def after(self, delay: float, act: Any, *arguments: Any) -> None:
        """As the timeline's, unless it has died by then."""
        self.world.timeline.after(delay, self._still, self.epoch, act, arguments)

    def _still(self, epoch: int, act: Any, arguments: tuple[Any, ...]) -> None:
        if epoch == self.epoch:
            act(*arguments)

    def _crash(self) -> None:
        if not self.world.chance.faulty:
            return
        self.die()
        self.world.note(f"{self.name} dies")
        self.after(self.world.chance.pick("crash", ABSENCES), self.start)

    def _partition(self) -> None:
        if self.world.chance.faulty:
            self.link.is_cut = True
            self.world.note(f"{self.name} is cut off")
            self.after(self.world.chance.pick("partition", PARTITIONS), self._mend)
        self._next("partition", self._partition)

    def _mend(self) -> None:
        """The connection is back; often reports are the first to notice."""
        self.link.is_cut = False
        if self.reporting is not None and self.world.wires.random() < 0.5:
            self.refusals[1] = 0
            self.reporting.give_up()

    def drain(self) -> None:
        """SIGTERM: claims nothing more, hands back what does not end soon, and is started again later."""
        if not self.world.chance.faulty:
            return
        self.is_draining = True
        self.world.note(f"{self.name} drains")
        self._call(Claim(self.name, 0, 0.0), self._take, _nothing)
        for token in list(self.running):
            self.after(self.world.wires.choice([0.1, 3.0]), self._end, token, End.HANDED_BACK)
        self.after(8.0, self._exit)

    def _exit(self) -> None:
        self.die()
        self.after(self.world.wires.choice([1.0, 10.0]), self.start)

    # -- its three loops -------------------------------------------------------------------------------------

    def _call(self, ask: Ask, answered: Any, failed: Any, patience: float = 10.0) -> Call:
        epoch = self.epoch
        if_alive = lambda value: answered(value) if epoch == self.epoch else None  # noqa: E731 - as below
        or_not = lambda error: failed(error) if epoch == self.epoch else None  # noqa: E731
        return Call(self.world, self.link, ask, patience, if_alive, or_not)

    def _backoff(self, loop: int) -> float:
        self.refusals[loop] = min(self.refusals[loop] + 1, len(BACKOFFS))
        return BACKOFFS[self.refusals[loop] - 1]

    def _claim(self, epoch: int) -> None:
        if epoch != self.epoch:
            return
        wait = 0.1 if self.is_draining else self.world.wires.choice(POLLS)
        slots = 0 if self.is_draining else self.slots
        self._call(Claim(self.name, slots, wait), self._claimed, self._unclaimed, wait + 10.0)

    def _claimed(self, answer: Answer) -> None:
        self.refusals[0] = 0
        self._take(answer)
        self.world.timeline.after(0.0 if answer.grants else 0.5, self._claim, self.epoch)

    def _unclaimed(self, error: Exception) -> None:
        self.world.timeline.after(self._backoff(0), self._claim, self.epoch)

    def _beat(self, epoch: int) -> None:
        if epoch == self.epoch:
            if not self.world.is_away or self.world.wires.random() < OPTIMISM:
                tokens = [*self.running, *(report.token for report in self.spool)]
                self._call(Heartbeat(self.name, tokens), self._take, _nothing, 5.0)
            self.world.timeline.after(self.world.lease / 3, self._beat, epoch)

    def _report(self) -> None:
        """The report loop: one message at a time, repeated until it is acknowledged."""
        if self.spool and not self.is_reporting:
            self.is_reporting = True
            batch = list(self.spool)
            ask = Reports(self.name, batch)
            done = lambda answer: self._reported(ask, answer)  # noqa: E731 - it is one line of the call
            self.reporting = self._call(ask, done, self._unreported)

    def _reported(self, ask: Reports, answer: Answer) -> None:
        self.world.oracle.answered(ask, answer)
        for report, is_accepted in zip(ask.reports, answer.accepted, strict=True):
            if not is_accepted:
                self.world.check_refusal(report)
        self._take(answer)
        for _ in ask.reports:
            self.spool.popleft()
        self.is_reporting, self.refusals[1] = False, 0
        self._report()

    def _unreported(self, error: Exception) -> None:
        self.after(self._backoff(1), self._report_again)

    def _report_again(self) -> None:
        self.is_reporting = False
        self._report()

    # -- its tasks -------------------------------------------------------------------------------------------

    def _take(self, answer: Answer) -> None:
        for grant in answer.grants:
            self.world.oracle.granted(self.name, grant)
            if grant.token not in self.running:
                self._begin(grant)
        for token in answer.cancel:
            if token in self.running and token not in self.stubborn and token not in self.ending:
                self.ending.add(token)
                self.after(self.world.wires.random(), self._end, token, End.CANCELLED)

    def _begin(self, grant: Grant) -> None:
        world, chance = self.world, self.world.chance
        world.check_inputs(grant)
        is_known = grant.task_id in self.knows.get(grant.dag_id, ())
        if not is_known or chance.strikes("refuse"):
            self._deliver(grant, End.REFUSED, begun=False)
            return
        if self.is_draining:
            self._deliver(grant, End.HANDED_BACK, begun=False)
            return
        self.running[grant.token] = grant
        world.oracle.executed(self.name, grant)
        if chance.strikes("poison") or (grant.task_id == "poison" and chance.faulty):
            self.after(0.5, self._poisoned)
            return
        if chance.strikes("stubborn"):
            self.stubborn.add(grant.token)
            self.after(STUBBORN_SECONDS, self._end, grant.token, End.SUCCESS)
            return
        self._plan(grant)

    def _plan(self, grant: Grant) -> None:
        chance = self.world.chance
        end, duration = End.SUCCESS, self.world.wires.choice(DURATIONS)
        if chance.strikes("fail"):
            end = End.FAILED
        elif chance.strikes("hand_back"):
            end = End.HANDED_BACK
        elif chance.strikes("surroundings"):
            end = End.LOST
        if chance.strikes("hang"):
            duration = 3600.0
        if grant.timeout is not None and duration > grant.timeout:
            end, duration = End.TIMED_OUT, grant.timeout
        self.after(duration, self._end, grant.token, end)

    def _poisoned(self) -> None:
        """A task has killed its executor."""
        if self.link.is_far:
            self.die()
            self.world.note(f"{self.name} is killed by a task")
            self.after(self.world.wires.choice(ABSENCES), self.start)
        else:
            self.world.shelf.arm()

    def _end(self, token: str, end: End) -> None:
        grant = self.running.pop(token, None)
        if grant is None:
            return
        self.ending.discard(token)
        self.stubborn.discard(token)
        self.world.oracle.finished(self.name, grant, end)
        self._deliver(grant, end)

    def _deliver(self, grant: Grant, end: End, *, begun: bool = True) -> None:
        world = self.world
        error = None if end is End.SUCCESS else f"it ended with {end}"
        if error and world.chance.strikes("unwritable"):
            error += " \ud800"
        result = f'"{grant.token}"' if end is End.SUCCESS and world.wires.random() < 0.5 else None
        key = (grant.run_id, grant.task_id, grant.retry, grant.token)
        ran = (self.knows[grant.dag_id][grant.task_id].hash, 0.5) if begun else (None, None)
        self.spool.append(Report(*key, end, error, result, None, begun, False, *ran))
        self._report()


def _nothing(value: Any) -> None:
    """For answers that make no difference."""
