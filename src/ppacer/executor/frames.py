"""What the main program, the warm parent and the children say to each other, and how it is framed.

A frame is a length (4 bytes, little endian) and a msgpack array. All of them run one version of ppacer on one
machine, so that the shapes may change freely.
"""

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from ppacer.executor.memory import Usage
from ppacer.executor.runner import Outcome
from ppacer.protocol import INPUTS_BYTES_MAX, Grant

FRAME_MAX = INPUTS_BYTES_MAX + 4 * 1024 * 1024  # above any job; a longer frame can only be garbage
READ_MAX = 64 * 1024  # bytes per read: what a pipe holds, and little enough that others get their turn

Message = TypeVar("Message")


class Job(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Main program to child: run this. `deadline` is monotonic; after the `last` job the child leaves."""

    grant: Grant
    deadline: float | None
    last: bool


class Said(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Child to main program: one record of `logging`. Whose it is, the main program knows better.

    `unread`: how many bytes of stdout and stderr it had not read at that moment, and that come before this.
    """

    at: datetime
    level: str
    message: str
    attributes: dict[str, Any] | None
    unread: tuple[int, int] | None = None  # None: nobody knows


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Child to main program: the job is done, its output in the pipes. `leaving`: it takes no other.

    `terminated`: it got SIGTERM meanwhile, from wherever. `unread`: as in Said; most tasks print nothing, and
    need no look into their pipes.
    """

    outcome: Outcome
    leaving: bool
    terminated: bool = False
    unread: tuple[int, int] | None = None


class Fork(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Main program to warm parent: so many new children."""

    count: int


class Kill(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Main program to warm parent: send this signal to the process group of this child."""

    pid: int
    signal: int


class Hold(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Main program to warm parent: lock this file until every descendant is gone; answered by Held."""

    path: str


class Load(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Main program to a fresh warm parent: import this file; answered by Loaded or NotLoaded.

    `wants`: a dag that must have this version, where the file may be another one than the main program's.
    """

    path: str
    sys_path: list[str]
    argv: list[str]
    pythonpath: str | None
    level: int
    wants: tuple[str, str] | None = None


class Forked(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Warm parent to main program: a new child. With it come three descriptors: control, stdout, stderr."""

    pid: int


class NotForked(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Warm parent to main program: the system refuses a child for now."""

    why: str


class Exited(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Warm parent to main program: the child and its process group are gone."""

    pid: int
    status: int
    usage: Usage


class Held(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Warm parent to main program: the lock file is ours, or why it cannot be."""

    error: str | None = None


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Warm parent to main program: the file is imported."""


class NotLoaded(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Warm parent to main program: the file does not import; the words of a LoadError."""

    message: str
    traceback: str


FromChild = Said | Ended
ToParent = Fork | Kill | Hold | Load
FromParent = Forked | NotForked | Exited | Held | Loaded | NotLoaded

_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct) -> bytes:
    """The message as it goes through a socket."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "little") + body


class Frames(Generic[Message]):
    """Puts messages together from what is read, in pieces of any size."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[Message]") -> None:
        self._decode = decoder.decode
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises ValueError for what is no frame."""
        rest = self._rest
        rest += data
        messages, at = [], 0
        while len(rest) - at >= 4:
            end = at + 4 + int.from_bytes(rest[at : at + 4], "little")
            if end - at > FRAME_MAX:
                raise ValueError(f"a frame of {end - at:,} bytes")
            if end > len(rest):
                break
            messages.append(self._decode(bytes(rest[at + 4 : end])))
            at = end
        del rest[:at]
        return messages


JOBS = msgspec.msgpack.Decoder(Job)
FROM_CHILD: "msgspec.msgpack.Decoder[FromChild]" = msgspec.msgpack.Decoder(FromChild)
TO_PARENT: "msgspec.msgpack.Decoder[ToParent]" = msgspec.msgpack.Decoder(ToParent)
FROM_PARENT: "msgspec.msgpack.Decoder[FromParent]" = msgspec.msgpack.Decoder(FromParent)
