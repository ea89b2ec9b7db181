"""The judge of the simulator: 36 invariants, written from the documents and not from the code they judge.

    committed changes ─► Runs, Points     a model of every run and dag, each change judged as it comes
    heard messages    ─► Leases           who was heard when, who holds what
    grants, answers   ─► Outside          what the world was told and did
    after a step      ─► memory           the scheduler's memory beside the model
    now and then      ─► tables, patience every row beside the model; what is overdue

The number of an invariant (docs/reliability.md) stands where it is judged. The oracle never asks the product
what is right: it reads changes, messages, deployed dags and, for 15, 16, 34 and 35, the structures in memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ppacer.clock import Now
from ppacer.dag import Dag
from ppacer.engine.changes import Change
from ppacer.protocol import End, Grant
from ppacer.scheduler.requests import Ask, FromExecutor
from sim.oracle_leases import Leases
from sim.oracle_memory import judge_everything, judge_touched
from sim.oracle_model import Violation
from sim.oracle_outside import Outside
from sim.oracle_patience import LOOK_EVERY, Patience
from sim.oracle_points import Points
from sim.oracle_runs import Runs
from sim.oracle_tables import compare

__all__ = ["Oracle", "Violation"]


class Oracle:
    """Told of everything that happens; raises Violation. `local`: the executors inside the program itself."""

    def __init__(self, lease_seconds: float = 30.0, local: frozenset[str] = frozenset({"local"})) -> None:
        self.leases = Leases(lease_seconds, local)
        self.points = Points()
        self.runs = Runs(self.points, self.leases)
        self.outside = Outside(self.runs)
        self.patience = Patience(self.points, self.leases, self.runs)
        self._has_committed = False
        self._steps = 0

    # -- what happens --------------------------------------------------------------------------------------

    def deployed(self, registry: Mapping[str, Dag], now: Now) -> None:
        """A scheduler starts with these dags, which are in the rows now; what it recovers comes after."""
        self.up(now)
        self.points.deployed(registry, now)

    def committed(self, changes: Sequence[Change], now: Now) -> None:
        """A transaction has become rows, whether or not the scheduler was told so."""
        self._has_committed = True
        self.points.step(now)
        self.runs.committed(changes, now)

    def heard(self, executor: str, ask: FromExecutor, now: Now) -> None:
        """The scheduler gets this message in the step that begins."""
        self.leases.heard(executor, ask, now)

    def granted(self, executor: str, grant: Grant) -> None:
        """An executor has this grant in hand."""
        self.outside.granted(executor, grant)

    def executed(self, executor: str, grant: Grant) -> None:
        """It begins to execute it."""
        self.outside.executed(executor, grant)

    def finished(self, executor: str, grant: Grant, end: End) -> None:
        """The execution has ended, or is given back without having begun."""
        self.outside.finished(executor, grant, end)

    def asked(self, ask: Ask) -> None:
        """Somebody asks the scheduler; the same object again is the same request again."""
        self.outside.asked(ask)

    def answered(self, ask: Ask, reply: Any) -> None:
        """The answer, which may be an exception, has come to whoever asked."""
        self.outside.answered(ask, reply)

    def down(self) -> None:
        """The scheduler is killed, or stops."""
        self._has_committed = False

    def up(self, now: Now) -> None:
        """A scheduler starts: leases begin anew, and what fell due before its first step is missed."""
        self.leases.up(now)
        self.points.up(now)

    def slept(self, seconds: float) -> None:
        """For so long nobody could step, though the monotonic clock went on."""
        self.leases.sleep(seconds)

    def clock_set(self, seconds: float) -> None:
        """The wall clock was set; schedules go by it, so every `now` says all there is."""

    # -- looking -------------------------------------------------------------------------------------------

    def check_touched(self, scheduler: Any, now: Now) -> None:
        """After every step: what it touched."""
        is_well = scheduler is None or scheduler.trouble is None
        self.points.step(now)
        if is_well:
            self.points.planned(now)
        self.leases.after_step(now, self._has_committed)
        self._has_committed = False
        if self.runs.touched:
            if scheduler is not None and is_well:
                judge_touched(scheduler.memory, self.runs)
            self.runs.touched = {}
        self._steps += 1
        if self._steps % LOOK_EVERY == 0:
            self.patience.look(scheduler, now)

    def check_everything(self, scheduler: Any, tables: Any, now: Now) -> None:
        """Every hundred steps: everything."""
        compare(tables, self.runs, whole=False)
        judge_everything(scheduler, tables, self.runs)

    def check_end(self, scheduler: Any, tables: Any, now: Now) -> None:
        """After all has been healed."""
        self.outside.judge_end()
        compare(tables, self.runs, whole=True)
