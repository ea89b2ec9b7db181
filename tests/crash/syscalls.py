"""What a program does to the files of a folder, call by call, as the kernel sees it.

A ptrace of our own, because tests install nothing by hand: no strace, no compiler. The program runs as it is,
with the SQLite it always uses. It asks to be traced by itself (`trace_me`), and must have one thread.
"""

import ctypes
import os
import platform
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TRACEME, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
SYSGOOD, EXITKILL = 1, 0x100000
STOPPED_AT_CALL = signal.SIGTRAP | 0x80
ENTRY, EXIT = 1, 2  # kinds of stops
CALL = struct.Struct("=B23xQ6Q")  # of struct ptrace_syscall_info: kind, number, arguments
RESULT = struct.Struct("=24xq")

# What SQLite asks of the kernel. A call that is missing here shows: the recording differs from the files.
NUMBERS = {
    "x86_64": {1: "write", 2: "open", 18: "pwrite", 74: "sync", 75: "sync", 77: "truncate", 87: "unlink"}
    | {257: "open", 263: "unlinkat"},
    "aarch64": {
        35: "unlinkat",
        46: "truncate",
        56: "open",
        64: "write",
        68: "pwrite",
        82: "sync",
        83: "sync",
    },
}
CALLS = NUMBERS.get(platform.machine(), {}) if sys.platform == "linux" else {}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that went into a file."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file got this size."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Create:
    """The folder got a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """The folder lost a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Sync:
    """What was written to the file is on the disk; "" is the folder, and its names."""

    name: str


@dataclass(frozen=True, slots=True)
class Said:
    """The program has said something to the world."""


Operation = Write | Truncate | Create | Unlink | Sync | Said


def trace_me() -> None:
    """Has the parent see every call from here on."""
    _ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)


def can_trace() -> bool:
    """Whether this machine lets a process see the calls of its child."""
    if not CALLS:
        return False
    probe = "import sys; sys.path.append(sys.argv[1]); from crash.syscalls import trace_me; trace_me()"
    try:
        record([sys.executable, "-c", probe, str(Path(__file__).parents[1])], Path("/"))
    except OSError:
        return False
    return True


def record(command: Sequence[str], folder: Path) -> list[Operation]:
    """Runs the program to its end; what it did to the files of the folder, which was empty, in order."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as program:
        try:
            os.waitpid(program.pid, 0)
            _ptrace(SETOPTIONS, program.pid, 0, SYSGOOD | EXITKILL)
            recorder = Recorder(program.pid, folder)
            program.returncode = recorder.run()
        except BaseException:
            program.kill()
            raise
    assert program.returncode == 0, f"{command} ended with {program.returncode}"
    return recorder.operations


class Recorder:
    """Follows one process, and writes down what concerns the folder."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.operations: list[Operation] = []
        self._pid, self._folder = pid, str(folder)
        self._names: set[str] = set()
        self._call, self._arguments = "", [0]

    def run(self) -> int:
        """The exit code, when the process has ended."""
        number = 0
        while True:
            _ptrace(SYSCALL, self._pid, 0, number)
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            number = os.WSTOPSIG(status)
            if number == STOPPED_AT_CALL:
                number = 0
                self._look()

    def _look(self) -> None:
        info = ctypes.create_string_buffer(CALL.size)
        _ptrace(GET_SYSCALL_INFO, self._pid, CALL.size, ctypes.addressof(info))
        kind, number, *arguments = CALL.unpack(info.raw)
        if kind == ENTRY:
            self._call, self._arguments = CALLS.get(number, ""), arguments
        elif kind == EXIT and self._call:
            (result,) = RESULT.unpack_from(info.raw)
            if result >= 0:
                self.operations += self._made(self._call, self._arguments, result)

    def _made(self, call: str, arguments: list[int], result: int) -> Iterator[Operation]:
        """What a call has done; none when it was about something else."""
        if call in ("unlink", "unlinkat"):
            name = self._name(self._text(arguments[call == "unlinkat"]))
            if name is not None:
                self._names.discard(name)
                yield Unlink(name)
            return
        fd = result if call == "open" else arguments[0]
        name = self._name(os.readlink(f"/proc/{self._pid}/fd/{fd}"))
        if call == "write" and fd == 1:
            yield Said()
        elif name is not None:
            yield from self._made_to(name, call, arguments, result)

    def _made_to(self, name: str, call: str, arguments: list[int], result: int) -> Iterator[Operation]:
        match call:
            case "open" if name and name not in self._names:
                self._names.add(name)
                yield Create(name)
            case "pwrite":
                yield Write(name, arguments[3], self._bytes(arguments[1], result))
            case "write":
                yield Write(name, self._position(arguments[0]) - result, self._bytes(arguments[1], result))
            case "truncate":
                yield Truncate(name, arguments[1])
            case "sync":
                yield Sync(name)

    def _name(self, path: str) -> str | None:
        """The name in the folder, "" for the folder itself; None for what is elsewhere."""
        if path == self._folder:
            return ""
        head, _, name = path.rpartition("/")
        return name if head == self._folder else None

    def _position(self, fd: int) -> int:
        return int(Path(f"/proc/{self._pid}/fdinfo/{fd}").read_text().split()[1])

    def _bytes(self, address: int, size: int) -> bytes:
        with open(f"/proc/{self._pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)

    def _text(self, address: int) -> str:
        page = 4096 - address % 4096  # a path may end just before what is not mapped
        found = self._bytes(address, page)
        if b"\0" not in found:
            found += self._bytes(address + page, 4096)
        return found.partition(b"\0")[0].decode()


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    numbers = (ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(address), ctypes.c_void_p(data))
    if _libc.ptrace(*numbers) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
