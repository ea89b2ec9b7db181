"""The power is cut at any moment of a small life of a store: what was acknowledged is there, nothing by half.

All that the process writes and syncs is recorded as the kernel sees it. For each cut a disk is made up that
holds what was synced, and of the rest any part; then the store is opened on it, as after a real one.
"""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from crash import power
from crash.disk import Disk
from crash.syscalls import Operation, Said, can_trace, record

CUTS = int(os.environ.get("PPACER_POWER_CUTS", "80"))
CUTS_PER_TEST = 80

can_trace = cache(can_trace)


@pytest.fixture(autouse=True)
def _needs_to_trace() -> None:
    if not can_trace():
        pytest.skip("this system does not let a process see the calls of its child (ptrace, Linux)")


@cache
def states() -> list[power.State]:
    """What the tables must hold after each step."""
    with TemporaryDirectory() as name:
        return power.states(Path(name, "scheduler.db"))


@cache
def life(mode: str) -> list[Operation]:
    """What was done to the files."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        operations = record([sys.executable, power.__file__, str(folder / "scheduler.db"), mode], folder)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    disk = Disk()
    for operation in operations:
        disk.do(operation)
    assert disk.content() == files  # or something has escaped the recorder
    assert sum(isinstance(operation, Said) for operation in operations) == len(states())
    return operations


def findings(mode: str, seed: int, cuts: int, folder: Path) -> Iterator[str]:
    """What is wrong after so many cuts, spread over the life; the next seed cuts one operation later."""
    operations, random, disk, said = life(mode), Random(seed), Disk(), 0
    stride = len(operations) // cuts
    for at, operation in enumerate(operations):
        if at % stride == seed % stride:
            disk.cut(folder, random)
            garble_shared_memory(folder, random)
            if text := power.verdict(folder / "scheduler.db", states(), said):
                yield f"seed {seed}, cut before operation {at} of {len(operations)}: {text}"
            for path in folder.iterdir():
                path.unlink()
        disk.do(operation)
        said += isinstance(operation, Said)


def garble_shared_memory(folder: Path, random: Random) -> None:
    """No call tells when the kernel writes this file, which is mapped; SQLite may trust nothing in it."""
    for path in folder.glob("*-shm"):
        path.write_bytes(random.choice((path.read_bytes(), b"", random.randbytes(32 * 1024))))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(-(-CUTS // CUTS_PER_TEST)))
def test_a_power_cut_loses_nothing_that_was_acknowledged(seed: int, tmp_path: Path) -> None:
    assert [*findings(power.AS_IT_IS, seed, min(CUTS, CUTS_PER_TEST), tmp_path)] == []


@pytest.mark.parametrize(("mode", "words"), [("NORMAL", "lost"), ("OFF", "damaged")])
def test_the_judge_sees_what_weaker_syncs_lose(mode: str, words: str, tmp_path: Path) -> None:
    assert any(words in text for text in findings(mode, 0, 40, tmp_path))
