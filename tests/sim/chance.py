"""What may go wrong, how often, and the dice: every kind of fault has its own stream of one seed.

So a kind can be switched off without changing what the others do, which is how a failing seed is shrunk.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Dice(random.Random):
    """Quicker than exact: one of four is what they are asked for all day."""

    def choice(self, seq: Any) -> Any:
        """One of these."""
        return seq[int(self.random() * len(seq))]


# Probability for each occasion: a message, a commit, a read, a step, an execution; in /s where it says so.
RATES = {
    # the network, for each message
    "loss": 0.03,
    "delay": 0.08,
    "duplicate": 0.04,
    "give_up": 0.03,
    # the database, for each commit or read
    "commit_before": 0.02,
    "commit_after": 0.02,
    "read": 0.003,
    "outage": 0.002,  # for each step
    # the scheduler, for each step
    "forget": 0.02,
    "kill": 0.004,
    "kill_recovery": 0.3,  # for each start
    "stop": 0.001,
    "stall": 0.003,
    "sleep": 0.0006,
    "clock": 0.002,
    "clock_at_start": 0.15,  # for each start: a host that has booted finds its time a little later
    "deploy": 0.5,  # for each start
    # the executors
    "crash": 0.004,  # /s
    "partition": 0.006,  # /s
    "drain": 0.002,  # /s
    # the tasks, for each execution
    "fail": 0.2,
    "refuse": 0.04,
    "hang": 0.03,
    "poison": 0.02,
    "hand_back": 0.02,
    "surroundings": 0.02,  # it dies with the parent of all task processes
    "stubborn": 0.02,
    "unwritable": 0.01,
    # the people outside, /s
    "cancel": 0.03,
    "restart": 0.05,
    "pause": 0.02,
    "nonsense": 0.02,
    "backfill": 0.02,
    "unsent": 0.3,  # for each alert: it cannot be delivered
}
KINDS = tuple(RATES)
MISHAPS = ("outage", "kill", "clock", "stall", "sleep", "stop", "forget")  # between two steps
BOLD = 0.7  # how likely a seed has a kind of fault at all
FACTORS = (0.3, 1.0, 1.0, 3.0)
RATE_MAX = 0.6  # a scheduler that dies in nine of ten recoveries does nothing else for a whole seed


class Chance:
    """The dice of one seed. Outside of `faulty` phases no fault happens."""

    def __init__(self, seed: int, without: Iterable[str] = ()) -> None:
        self.seed = seed
        self.faulty = True
        self._streams: dict[str, random.Random] = {}
        self._rates: dict[str, float] = {}
        swarm = self.stream("swarm")
        for kind, rate in RATES.items():
            is_on, factor = swarm.random() < BOLD, swarm.choice(FACTORS)
            self._rates[kind] = min(RATE_MAX, rate * factor) if is_on else 0.0
        for kind in without:
            self._rates[kind] = 0.0
        self._dice = {kind: self.stream(kind).random for kind in RATES}
        self._on = {kind: (self._dice[kind], rate) for kind, rate in self._rates.items() if rate > 0.0}
        self._mishaps = [(k, self._dice[k], self._rates[k]) for k in MISHAPS if self._rates[k] > 0.0]

    def stream(self, name: str) -> random.Random:
        """The dice for one purpose."""
        if name not in self._streams:
            self._streams[name] = Dice(f"{self.seed}/{name}")
        return self._streams[name]

    def strikes(self, kind: str) -> bool:
        """Whether this fault happens on this occasion."""
        if kind not in self._on or not self.faulty:
            return False
        dice, rate = self._on[kind]
        return dice() < rate

    def befalling(self) -> list[str]:
        """The kinds of mishaps that happen before this step."""
        return [kind for kind, dice, rate in self._mishaps if dice() < rate] if self.faulty else []

    def wait(self, kind: str) -> float | None:
        """Seconds until this happens again, for kinds with a rate per second; None: never."""
        rate = self._rates[kind]
        return self.stream(kind).expovariate(rate) if rate else None

    def pick(self, kind: str, choices: Sequence[T]) -> T:
        """One of several."""
        return choices[int(self._dice[kind]() * len(choices))]
