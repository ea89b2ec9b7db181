"""How much memory attempts take, and whether the kernel has killed for want of it."""

import contextlib
import resource
from pathlib import Path

from ppacer.executor.posix import IS_LINUX

RSS_UNIT = 1024 if IS_LINUX else 1


def peak() -> int:
    """The most memory in RAM this process had, in bytes, since it was forked or `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def peak_of_children() -> int:
    """The most that any process had which this one has started and waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_UNIT


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
