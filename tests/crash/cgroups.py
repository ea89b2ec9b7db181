"""A bound on the memory of a program: the kernel then kills in it, and nowhere else.

Groups are made only where somebody offers a place: systemd, or PPACER_TEST_CGROUP, the folder of a cgroup
(version 2, or of memory in 1) in which we may. Any other that can be written belongs to somebody else.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppacer.torture.program import until

PLACE = os.environ.get("PPACER_TEST_CGROUP")
JOIN = 'echo $$ > "$0" && exec "$@"'


@contextmanager
def bounded(name: str, command: Sequence[str], limit: int) -> Iterator[list[str]]:
    """The command in a group of its own, of at most so many bytes; skips the test where that cannot be."""
    if PLACE is not None:
        with _group(Path(PLACE, f"ppacer-{name}-{os.getpid()}"), limit) as group:
            yield ["sh", "-c", JOIN, str(group / "cgroup.procs"), *command]
        return
    scope = [*_systemd_run(), f"--property=MemoryMax={limit}", "--property=MemorySwapMax=0", "--"]
    if not _works([*scope, "true"]):
        pytest.skip("needs systemd, or PPACER_TEST_CGROUP, the folder of a cgroup to make groups in")
    yield [*scope, *command]


def _systemd_run() -> list[str]:
    return ["systemd-run", "--scope", "--quiet", *([] if os.geteuid() == 0 else ["--user"])]


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None or not os.path.isdir("/run/systemd/system"):
        return False
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0


@contextmanager
def _group(folder: Path, limit: int) -> Iterator[Path]:
    subtree = folder.parent / "cgroup.subtree_control"
    if subtree.exists() and "memory" not in subtree.read_text().split():
        subtree.write_text("+memory")
    folder.mkdir()
    try:
        for file in ("memory.limit_in_bytes", "memory.max"):
            if (folder / file).exists():
                (folder / file).write_text(str(limit))
        if (folder / "memory.swap.max").exists():
            (folder / "memory.swap.max").write_text("0")
        yield folder
    finally:
        until(lambda: not (folder / "cgroup.procs").read_text(), "the group is empty", 120.0)
        folder.rmdir()
