"""Prints one table: medians of five beside the budgets; of all parts, or of those that are named."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import filled, pages, programs

ROOT = Path(__file__).parent.parent
RUNNERS = ("thread", "pool", "process")
CEILING = 78_000
"""Tasks/s of the raw SQLite ceiling on the machine for which the budgets were written."""
Row = tuple[str, str, str, str]


def median(name: str, argument: str = "", module: str = "bench.workloads") -> float:
    """The median of a workload."""
    return float(statistics.median(figures(name, argument, module)))


def figures(name: str, argument: str = "", module: str = "bench.workloads") -> list[float]:
    """What a workload has measured, run in an interpreter of its own."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-m", module, name, argument]
    environ = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: {name} {argument} failed\n{done.stderr}")
    return list(map(float, json.loads(done.stdout.splitlines()[-1])))


def verdict(ok: bool) -> str:
    """Met, or not."""
    return "met" if ok else "MISSED"


def at_most(what: str, value: float, budget: float, unit: str) -> Row:
    """A row for a figure that should be low."""
    return what, f"{value:,.2f} {unit}", f"<= {budget:,.2f} {unit}", verdict(value <= budget)


def at_least(what: str, value: float, budget: float, unit: str, speed: float = 1.0) -> Row:
    """A row for a figure that should be high. `speed`: of this machine, for a budget that is of another."""
    said = verdict(value >= budget)
    if value < budget and value >= budget * speed:
        said += f", met for a machine of {speed:.2f} the speed"
    return what, f"{value:,.0f} {unit}", f">= {budget:,.0f} {unit}", said


def rows_of_engine() -> Iterator[Row]:
    """Chains, fans and diamonds in one program, the engine alone, and starts."""
    commit, ceiling = median("raw_commit"), median("raw_ceiling")
    yield "bare FULL commit", f"{commit:.2f} ms", "", ""
    speed = min(1.0, ceiling / CEILING)
    yield "raw SQLite ceiling", f"{ceiling:,.0f} tasks/s, {speed:.2f} of the budgets' machine", "", ""
    yield "bare forks of the parent of task processes", f"{median('raw_forks'):,.0f} /s", "", ""
    for runner, extra in zip(RUNNERS, (0.5, 1.0, 3.5), strict=True):
        yield at_most(f"chain of 100, per hop: {runner}", median("chain", runner), commit + extra, "ms")
    for runner, budget in zip(RUNNERS, (10_000, 4_000, 800), strict=True):
        value = median("fan", runner)
        yield at_least(f"1 → 1000 → 1: {runner}", value, budget, "tasks/s", speed)
        if runner == "thread":
            yield at_most("raw ceiling over the figure above", ceiling / value, 10.0, "times")
    for runner, budget in zip(RUNNERS, (10_000, 4_000, 800), strict=True):
        yield at_least(f"200 diamonds: {runner}", median("diamonds", runner), budget, "tasks/s", speed)
    yield at_least("engine alone, chain of 10,000", median("engine_chain"), 150_000, "events/s")
    yield at_least("engine alone, fan-in of 10,000", median("engine_fan"), 150_000, "events/s")
    yield at_most("a dag of 10,000 tasks: define and start", median("many_tasks"), 1.0, "s")
    yield at_most("10,000 dags: define and start", median("many_dags"), 10.0, "s")
    yield at_most("start to first task of the demo", statistics.median(programs.first_task(5)), 0.8, "s")


def rows_over_http() -> Iterator[Row]:
    """An executor that is a program of its own, between measurements of one in the same program."""
    for runner in ("thread", "pool"):
        pairs = in_turn("chain", runner)
        more = statistics.median(far - near for far, near in pairs)
        yield at_most(f"chain over HTTP, more per hop: {runner}", more, 1.0, "ms")
        for what, name in (("1 → 1000 → 1", "fan"), ("200 diamonds", "diamonds")):
            pairs = in_turn(name, runner)
            value = statistics.median(far for far, _ in pairs)
            ratio = statistics.median(far / near for far, near in pairs)
            yield share(f"{what} over HTTP / in one program: {runner}", value, ratio, 0.7)


def in_turn(name: str, runner: str) -> list[tuple[float, float]]:
    """Nine figures over HTTP, each beside the mean of those in one program just before and after it.

    A machine that changes its speed every few seconds would else be what is measured.
    """
    near, pairs = median(name, runner), []
    for _ in range(9):
        far, after = median(f"{name}_http", runner), median(name, runner)
        pairs.append((far, (near + after) / 2))
        near = after
    return pairs


def share(what: str, value: float, ratio: float, budget: float) -> Row:
    """A row for a figure that should not be much lower than another one, of which it is this share."""
    return what, f"{value:,.0f} tasks/s, {ratio:.2f}", f">= {budget:.2f}", verdict(ratio >= budget)


def rows_of_sizes() -> Iterator[Row]:
    """How the figures change with size: flat is good."""
    for runner in RUNNERS:
        hops = sorted(figures("latencies", runner))
        shown = " / ".join(f"{hops[len(hops) * per // 1000]:.2f}" for per in (500, 950, 990))
        yield f"finish → next start, p50 / p95 / p99: {runner}", f"{shown} ms", "", ""
    yield curve("tasks in a run: 100 / 1,000 / 10,000", "fan_of", (100, 1_000, 10_000), "tasks/s")
    yield curve("open runs: 1 / 10 / 100 / 1,000", "open_runs", (1, 10, 100, 1_000), "tasks/s")
    yield curve("hop beside 10 / 1,000 / 10,000 dags", "beside_dags", (10, 1_000, 10_000), "ms")
    used = figures("memory_of_runs")
    grown = used[50] - used[25]  # until then SQLite's cache of pages fills, 16 MB
    yield at_most("memory, 25,000th to 50,000th run", grown, 10.0, "MB more")


def curve(what: str, name: str, sizes: Sequence[int], unit: str) -> Row:
    """One row for several sizes."""
    values = [median(name, str(size)) for size in sizes]
    return what, f"{' / '.join(f'{value:,.{0 if value > 100 else 2}f}' for value in values)} {unit}", "", ""


def rows_of_programs() -> Iterator[Row]:
    """What a program costs that has nothing to do, is killed, or is installed."""
    for dags, budget in ((1, 70.0), (1_000, 90.0)):
        cpu, memory = programs.idle(dags)
        yield at_most(f"idle, {dags} hourly dag(s): CPU", cpu, 0.3, "%")
        yield at_most(f"idle, {dags} hourly dag(s): memory (PSS)", memory, budget, "MB")
    killed = [programs.kill_and_resume() for _ in range(3)]
    yield at_most("kill -9 in 1 → 1000 → 1: resumed after", statistics.median(s for s, _ in killed), 2.0, "s")
    yield at_most(
        "kill -9: tasks that ran twice (worst of 3)", float(max(n for _, n in killed)), 16.0, "tasks"
    )
    count, size = programs.installed()
    yield at_most("installed packages", float(count), 24.0, "packages")
    yield at_most("installed size", size, 60.0, "MB")


def rows_with_a_past() -> Iterator[Row]:
    """A database with 1,000,000 old attempts beside an empty one, and the same while they are deleted."""
    with tempfile.TemporaryDirectory() as folder:
        past = f"{folder}/past.db"
        seconds = median("fill", past, "bench.old_rows")
        yield "1,000,000 old attempts: written in", f"{seconds:,.0f} s", "", ""
        for what, unit in (("chain", "chain of 100, per hop"), ("fan", "1 → 1000 → 1")):
            empty = median(what, "", "bench.old_rows")
            for name, where, budget in (
                (what, "1,000,000 old attempts", 1.2),
                (f"{what}_pruned", "while they are deleted", 1.5),
            ):
                value = median(name, past, "bench.old_rows")
                yield at_most(f"{unit}: {where} / empty", value / empty, budget, "times")
        yield at_most(
            "a look when nothing is to be deleted", median("look", past, "bench.old_rows"), 10.0, "ms"
        )
        yield at_most("a slice that is deleted", median("slices", past, "bench.old_rows"), 10.0, "ms")
        yield at_most("a page of runs, of dags", median("pages", past, "bench.old_rows"), 10.0, "ms")


def rows_of_pages() -> Iterator[Row]:
    """Every page over 100,000 runs and 1,000,000 attempts, with what the way to the browser costs."""
    with tempfile.TemporaryDirectory() as folder:
        filled.fill(Path(folder, "scheduler.db"), filled.RUNS, datetime.now(UTC))
        for path, milliseconds in pages.pages(f"{folder}/scheduler.db").items():
            yield at_most(f"page {path}", milliseconds, 100.0, "ms")


def rows_of_live_pages() -> Iterator[Row]:
    """Fifty open pages beside none, and how long a page of a running dag does not know what is committed."""
    ratio = median("cost", module="bench.live")
    yield "50 live pages / none, tasks/s", f"{ratio:.2f}", ">= 0.90", verdict(ratio >= 0.9)
    yield at_most(
        "a commit is on the open page, worst of 40", max(figures("lag", module="bench.live")), 1.0, "s"
    )


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "engine": rows_of_engine,
    "http": rows_over_http,
    "sizes": rows_of_sizes,
    "programs": rows_of_programs,
    "past": rows_with_a_past,
    "pages": rows_of_pages,
    "live": rows_of_live_pages,
}


def chosen() -> list[str]:
    """The parts that the command line names, or all."""
    parser = argparse.ArgumentParser(
        prog="dev.py bench", description="Prints what was measured beside its budget: 10 minutes for all."
    )
    parser.add_argument("part", nargs="*", help=f"only these: {', '.join(PARTS)}")
    options = parser.parse_args()
    if unknown := [part for part in options.part if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}, only {', '.join(PARTS)}")
    return options.part or list(PARTS)


def main() -> None:
    """Measures and prints."""
    parts = chosen()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}; medians of 5, over HTTP of 9"
    )
    print(f"{'what':46} {'measured':>18} {'budget':>20}")
    missed = 0
    for part in parts:
        for what, value, budget, met in PARTS[part]():
            print(f"{what:46} {value:>18} {budget:>20}  {met}", flush=True)
            missed += met.startswith("MISSED")
    print(f"{missed} budget(s) missed" if missed else "every budget met")


if __name__ == "__main__":
    main()
