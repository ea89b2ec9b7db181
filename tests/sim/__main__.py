"""`python -m sim`: plays seeds of the simulator. One that fails is shrunk, told, and can be played again."""

import os
import sys
from argparse import ArgumentParser, Namespace
from time import process_time

from sim.chance import KINDS
from sim.play import STEPS, Plan, plan_of, play, report, shrink


def main(words: list[str]) -> int:
    """The exit code: 1 when a promise was broken."""
    options = _options(words)
    begin, total = process_time(), 0
    for plan in _plans(options):
        played = play(plan)
        total += played.steps
        if played.violation is not None:
            print(report(played if options.no_shrink else shrink(played)))
            return 1
    seconds = process_time() - begin
    print(f"{total:,} steps, {total / seconds:,.0f} per second of processor time, nothing broken")
    return 0


def _options(words: list[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one")
    parser.add_argument("--seeds", default="0:20", metavar="A:B", help="play these, up to B - 1")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a seed, before everything is healed")
    parser.add_argument("--without", default="", help=f"kinds of faults to leave out: {', '.join(KINDS)}")
    parser.add_argument("--dags", type=int, help="at most so many dags")
    parser.add_argument("--sqlite", action="store_true", help="on a real SQLite file beside the fold")
    parser.add_argument("--no-shrink", action="store_true", help="tell a failing seed as it is")
    return parser.parse_args(words)


def _plans(options: Namespace) -> list[Plan]:
    without = tuple(word for word in options.without.split(",") if word)
    if options.seed is not None:
        return [Plan(options.seed, options.steps, without, options.dags, options.sqlite)]
    begin, end = map(int, options.seeds.split(":"))
    plans = [plan_of(seed, options.steps) for seed in range(begin, end)]
    return [Plan(p.seed, p.steps, without, options.dags, p.sqlite or options.sqlite) for p in plans]


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:  # the order of sets is part of a seed's story
        again = [sys.executable, "-m", "sim", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main(sys.argv[1:]))
