"""Planted bugs, each of which the simulator must notice: small slips that people make, one line or two.

`python -m sim.mutants NAME` plays seeds with one of them in a fresh interpreter, where an import hook
rewrites the source of its module. An old text must stand there exactly once, so the list cannot rot.
"""

import importlib.abc
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType
from typing import Any

SEEDS_MAX = 120
SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in `module`; `noticed` are the invariants that may be the first to speak of it."""

    name: str
    module: str
    old: str
    new: str
    noticed: frozenset[int]
    sqlite: bool = False  # only a real database can show it

    @property
    def path(self) -> str:
        """Its file, below src."""
        return f"ppacer/{self.module.replace('.', '/')}.py"

    def mutate(self, source: str) -> str:
        """The source with the bug in it."""
        assert source.count(self.old) == 1, f"{self.name}: the old text stands {source.count(self.old)} times"
        return source.replace(self.old, self.new)


class Hook(importlib.abc.MetaPathFinder):
    """Finds the one module, and gives it the mutated source."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = f"ppacer.{mutant.module}"

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """As any finder."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)  # so that the next line finds the real one
        spec = importlib.util.find_spec(fullname)
        assert spec is not None, fullname
        assert spec.origin is not None, fullname
        spec.loader = Loader(fullname, spec.origin, self.mutant)
        return spec


class Loader(SourceFileLoader):
    """Compiles the mutated source; nothing of it is kept."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """The code of the module with the bug."""
        source = self.get_data(self.path).decode()
        return compile(self.mutant.mutate(source), self.path, "exec")


def by_name(name: str) -> Mutant:
    """One of the list."""
    from sim.mutant_list import MUTANTS

    return next(mutant for mutant in MUTANTS if mutant.name == name)


def main(words: Sequence[str]) -> None:
    """Plays seeds until the bug is noticed or the limit is reached, and prints what was seen as JSON."""
    mutant = by_name(words[0])
    sys.meta_path.insert(0, Hook(mutant))
    print(json.dumps(hunt(mutant)))


def hunt(mutant: Mutant) -> dict[str, Any]:
    """What noticed it: number, words, plan; the number is None when none of the expected did in time."""
    from time import process_time

    from sim.play import plan_of, play

    begin, others = process_time(), set()
    for seed in _seeds(mutant):
        played = play(plan_of(seed))
        if played.violation is not None and played.violation.number in mutant.noticed:
            text = played.violation.text[:200]
            return {"number": played.violation.number, "text": text, "plan": str(played.plan), "seed": seed}
        others |= set() if played.violation is None else {played.violation.number}
        if process_time() - begin > SECONDS_MAX:
            break
    return {"number": None, "text": f"only {others} spoke in {process_time() - begin:.1f} s", "seed": None}


def _seeds(mutant: Mutant) -> Iterator[int]:
    """Those with a real database for bugs that need one."""
    from sim.play import SQLITE_EVERY

    step = SQLITE_EVERY if mutant.sqlite else 1
    return iter(range(0 if mutant.sqlite else 1, SEEDS_MAX * step, step))


if __name__ == "__main__":
    main(sys.argv[1:])
