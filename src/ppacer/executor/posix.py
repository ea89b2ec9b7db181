"""What Python does not offer of the kernel: parent-death signals, subreapers, all descendants of a process.

Where the kernel is not Linux these do nothing or know nothing, and callers fall back to process groups.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterable
from pathlib import Path

IS_LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Sends this process the signal when its parent dies. The caller then checks that it has not already."""
    if IS_LINUX:
        _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def adopt_orphans() -> None:
    """Makes this process the parent of all its descendants whose own parent dies."""
    if IS_LINUX:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def unread(fd: int) -> int:
    """How many bytes of a pipe, given by either of its ends, nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def flush_c_output() -> None:
    """Writes out what C code in this process has printed."""
    _libc.fflush(None)


def all_processes() -> list[int]:
    """Every process that can be seen, zombies included; none where there is no /proc."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()] if IS_LINUX else []


def children_by_parent() -> dict[int, list[int]]:
    """Every process that can be seen below its parent.

    (There is a file with the children of a process, but not every kernel is built with it.)
    """
    found: dict[int, list[int]] = {}
    for pid in all_processes():
        with contextlib.suppress(OSError, ValueError, IndexError):
            found.setdefault(int(_state(pid)[1]), []).append(pid)
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended, as a zombie has."""
    with contextlib.suppress(OSError, IndexError):
        return _state(pid)[0] not in (b"Z", b"X")
    return False


def parent_of(pid: int) -> int:
    """The process above; 0 when that is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_state(pid)[1])
    return 0


def _state(pid: int) -> list[bytes]:
    """Its state, its parent, and more: pid (name) state ppid …, and a name may contain ")"."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def below(pid: int) -> set[int]:
    """All descendants of a process."""
    children = children_by_parent()
    found: set[int] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def environment_has(pid: int, entry: bytes) -> bool:
    """Whether a process was started with this entry (`NAME=value`) in its environment."""
    try:
        return entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def signal_all(pids: Iterable[int], number: int) -> None:
    """Sends a signal to each of these processes that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def signal_group(leader: int, number: int) -> None:
    """Sends a signal to a process group, or to its leader, if that has not yet come to form it."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        signal_all([leader], number)
    except PermissionError:  # macOS says so of a group of zombies
        pass


def end_all(find: Callable[[], set[int]]) -> None:
    """Kills what `find` finds. Everything is stopped first, so that nothing forks while we look again."""
    stopped: set[int] = set()
    for _ in range(100):  # a fork bomb may be a generation ahead, but not for long
        found = find() - stopped
        if not found:
            break
        signal_all(found, signal.SIGSTOP)
        stopped |= found
    signal_all(stopped, signal.SIGKILL)


def reap(target: int) -> bool:
    """Waits for all ended children that `waitpid` knows as `target`; whether there are others, not ended."""
    try:
        while os.waitpid(target, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def group_exists(leader: int) -> bool:
    """Whether anything is in this process group, be it a zombie."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def pause(seconds: float) -> None:
    """Waits, in a process that has nothing to be woken by."""
    select.select([], [], [], seconds)
