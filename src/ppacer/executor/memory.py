"""How much memory and processor time attempts take, and whether the kernel has killed for want of memory."""

import contextlib
import os
import resource
from pathlib import Path

import msgspec

from ppacer.executor.posix import IS_LINUX

RSS_UNIT = 1024 if IS_LINUX else 1
OOM_SECONDS = 5.0  # from a kill by the kernel until we see the process end: a large one takes its time
OOM_SCORE = 500  # thousandths of all memory that is there, added to what a process really has


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """What a process has taken: the most memory at a time, in bytes; user and system time, in seconds."""

    peak: int
    cpu: float


def usage_of(counted: resource.struct_rusage) -> Usage:
    """The part of the kernel's count that is ours."""
    return Usage(counted.ru_maxrss * RSS_UNIT, counted.ru_utime + counted.ru_stime)


def usage() -> Usage:
    """What this process has taken so far."""
    return usage_of(resource.getrusage(resource.RUSAGE_SELF))


def usage_of_children() -> Usage:
    """What those have taken that this process has started and waited for; the peak is of the largest."""
    return usage_of(resource.getrusage(resource.RUSAGE_CHILDREN))


def peak() -> int:
    """The most memory in RAM this process had, in bytes, since it was forked or `forget_peak`."""
    return usage().peak


def in_use() -> int | None:
    """Memory of this process in RAM now; None where the system does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    return None


def forget_peak() -> bool:
    """Lets the peak begin anew, so that the next attempt is not charged for this one; whether it can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")
        return True
    return False


def go_first() -> None:
    """When memory is short, the kernel is to kill this process and not the program or the warm parent.

    It picks the largest one, and the program is larger than a task that does little. Who runs us may have set
    a score for all: a task's is above that.
    """
    with contextlib.suppress(OSError, ValueError):
        score = os.open("/proc/self/oom_score_adj", os.O_RDWR)
        try:
            os.pwrite(score, b"%d" % min(1000, int(os.read(score, 16)) + OOM_SCORE), 0)
        finally:
            os.close(score)


class OomWatch:
    """Tells whether a death by SIGKILL was, by all likelihood, for want of memory."""

    def __init__(self) -> None:
        self._kills, self._until = oom_kills(), 0.0

    def explains(self, now: float) -> bool:
        """Whether the kernel's count has risen since the last look, or shortly before `now`, in seconds.

        The kernel may have killed several, and counted them all, before the first of them is seen to be dead.
        """
        before, self._kills = self._kills, oom_kills()
        if before is not None and self._kills is not None and self._kills > before:
            self._until = now + OOM_SECONDS
        return now < self._until


def oom_kills() -> int | None:
    """How often the kernel has killed something of this cgroup (else of this machine) for want of memory."""
    for path in _oom_files():
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return None


def _oom_files() -> list[Path]:
    """Where the count may stand: cgroup v2 and v1, each of this process or (in a container) of the mount."""
    files = []
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                files.append(Path("/sys/fs/cgroup" + path, "memory.events"))
            elif "memory" in controllers.split(","):
                files.append(Path("/sys/fs/cgroup/memory" + path, "memory.oom_control"))
    mounts = [Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control")]
    return [*files, *mounts, Path("/proc/vmstat")]
