"""Plays seeds, and makes of one that fails the shortest story that a simple search finds."""

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sim.chance import KINDS
from sim.oracle import Violation
from sim.world import World

STEPS = 1_000  # of one seed, before it is healed
SQLITE_EVERY = 100  # seeds, of which one has a real database


@dataclass(frozen=True)
class Plan:
    """All that determines one play."""

    seed: int
    steps: int = STEPS
    without: tuple[str, ...] = ()
    dags: int | None = None
    sqlite: bool = False

    def __str__(self) -> str:
        """The command that plays it."""
        words = [f"--seed {self.seed}", f"--steps {self.steps}"]
        words += [f"--without {','.join(self.without)}"] * bool(self.without)
        words += [f"--dags {self.dags}"] * (self.dags is not None)
        words += ["--sqlite"] * self.sqlite
        return f"cd tests && ../.venv/bin/python -m sim {' '.join(words)}"


@dataclass
class Played:
    """What came of it: the violation, if there was one, and the end of the story."""

    plan: Plan
    steps: int
    violation: Violation | None
    story: list[str]


def plan_of(seed: int, steps: int = STEPS) -> Plan:
    """The plan of a seed as the tests play it."""
    return Plan(seed, steps, sqlite=seed % SQLITE_EVERY == 0)


def play(plan: Plan) -> Played:
    """One seed from beginning to end."""
    gc.disable()  # a fifth of the time; whoever plays many seeds collects now and then
    with TemporaryDirectory() as folder:
        path = Path(folder, "scheduler.db") if plan.sqlite else None
        world = World(plan.seed, plan.steps, without=plan.without, dags_max=plan.dags, path=path)
        try:
            world.run()
            return Played(plan, world.steps, None, [])
        except Violation as violation:
            return Played(plan, world.steps, violation.with_traceback(None), _story(world))
        finally:
            world.oracle.runs.clear()
            vars(world).clear()  # the knot of all references: most of it is free at once


def shrink(played: Played, plays_max: int = 60) -> Played:
    """Fewer steps, fewer kinds of faults, fewer dags, as long as the same invariant fails."""
    best, left = played, plays_max
    is_better = True
    while is_better:
        is_better = False
        for plan in _smaller(best):
            if left <= 0:
                return best
            left -= 1
            again = play(plan)
            if _is_same(again, best):
                best, is_better = again, True
                break
    return best


def _is_same(again: Played, before: Played) -> bool:
    a, b = again.violation, before.violation
    return a is not None and b is not None and a.number == b.number


def _smaller(played: Played) -> Sequence[Plan]:
    """Plans with a little less in them, the most promising first."""
    plan = played.plan
    plans = [replace(plan, steps=steps) for steps in (played.steps // 2, played.steps) if steps < plan.steps]
    plans += [replace(plan, dags=dags) for dags in (1, 2) if dags < (plan.dags or 9)]
    left = [kind for kind in KINDS if kind not in plan.without]
    if len(left) > 4:  # half of them at once, then single ones
        half = len(left) // 2
        plans += [replace(plan, without=(*plan.without, *part)) for part in (left[:half], left[half:])]
    return plans + [replace(plan, without=(*plan.without, kind)) for kind in left]


def _story(world: World) -> list[str]:
    lines: list[str] = []
    for time, what in world.notes:
        parts = [what] if isinstance(what, str) or not isinstance(what, list | tuple) else what
        lines += [f"{time:12.4f}  {_words(part)}" for part in parts]
    return lines


def _words(what: Any) -> str:
    return what if isinstance(what, str) else f"    {what!r}".replace("datetime.datetime", "")[:400]


def report(played: Played) -> str:
    """What a person needs of a failing seed."""
    lines = [*played.story[-60:], "", f"seed {played.plan.seed}, step {played.steps}: {played.violation}"]
    return "\n".join([*lines, f"play it again: {played.plan}"])


def as_json(played: Played) -> str:
    """For another program: which invariant failed, or null."""
    number = None if played.violation is None else played.violation.number
    return json.dumps({"seed": played.plan.seed, "steps": played.steps, "invariant": number})
