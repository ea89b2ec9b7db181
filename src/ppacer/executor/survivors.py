"""Task processes that outlived their warm parent: it was killed itself, and could not end them.

Whoever was forked by it holds the children lock; whoever was started as a program has the mark of that lock
in its environment. Without /proc (macOS) neither is found, and only process groups are ended.
"""

import contextlib
import os
from collections.abc import Set
from pathlib import Path

from ppacer.clock import SystemClock
from ppacer.executor import posix

HOLDER = "PPACER_HOLDER"  # in the environment of every program that a task starts
END_SECONDS = 5.0
END_POLL = 0.005

_now = SystemClock().now


def mark_of(lock: os.stat_result) -> str:
    """What names a lock file on this machine, wherever it is mounted. A copy of it is another one."""
    return f"{lock.st_dev}-{lock.st_ino}"


def end_survivors(lock_path: str | Path, spare: Set[int] = frozenset(), *, is_free: bool = False) -> int:
    """Ends what earlier warm parents of this lock have left behind; returns how many were found.

    Never this program, the programs that have started it, and `spare`. `is_free`: nobody holds the lock, or
    only `spare`, so that nobody has to be searched for it: that looks at every open file of the machine.
    """
    try:
        lock = os.stat(lock_path)
    except FileNotFoundError:
        return 0
    entry = f"{HOLDER}={mark_of(lock)}".encode()
    keep, found = {*spare, *_ancestors()}, set[int]()

    def find() -> set[int]:
        new = {pid for pid in posix.all_processes() if posix.environment_has(pid, entry)}
        if not is_free:
            new |= {pid for pid in posix.all_processes() if _has_opened(pid, lock)}
        found.update(new - keep)
        return new - keep

    posix.end_all(find)
    until = _now().mono + END_SECONDS
    while any(map(posix.is_running, found)) and _now().mono < until:
        posix.pause(END_POLL)
    return len(found)


def _has_opened(pid: int, file: os.stat_result) -> bool:
    """Whether a process has the file open for writing; who reads it may be making a backup."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:  # gone, a zombie, or of another user
        return False
    return any(_is_opened(pid, descriptor, file) for descriptor in descriptors)


def _is_opened(pid: int, descriptor: str, file: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), file):
            info = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
            flags = next(line for line in info.splitlines() if line.startswith("flags:"))
            return int(flags.split()[1], 8) & os.O_ACCMODE == os.O_RDWR
    return False


def _ancestors() -> set[int]:
    """This process and those above it."""
    pid, found = os.getpid(), set[int]()
    while pid and pid not in found:
        found.add(pid)
        pid = posix.parent_of(pid)
    return found
