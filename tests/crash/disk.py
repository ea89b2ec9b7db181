"""What a disk may hold after a power cut, given what a program did to its files before.

Certain is only what a sync has confirmed. Of the rest of each file anything may be there, in any order:
writes whole, not at all, or torn between sectors. Names have come and gone in their order, up to some point,
as on a file system with a journal; a file has no name for certain before its folder was synced.
"""

from collections.abc import Iterable
from pathlib import Path
from random import Random

from crash.syscalls import Create, Operation, Sync, Truncate, Unlink, Write

SECTOR = 512


class File:
    """The content that is certain, and what is under way."""

    def __init__(self) -> None:
        self.certain = bytearray()
        self.pending: list[Write | Truncate] = []

    def sync(self) -> None:
        """All that is under way is there."""
        for change in self.pending:
            change_content(self.certain, change)
        self.pending.clear()

    def after_cut(self, random: Random) -> bytes:
        """What may be there now."""
        content, luck = bytearray(self.certain), random.choice((0.0, 0.3, 0.7, 1.0))
        for change in self.pending:
            if random.random() < luck:
                change_content(content, change)
            elif isinstance(change, Write) and random.random() < 0.3:
                for sector in sectors(change):
                    if random.random() < 0.5:
                        change_content(content, sector)
        return bytes(content)


class Disk:
    """One folder."""

    def __init__(self) -> None:
        self._names: dict[str, File] = {}
        self._possible_names: list[dict[str, File]] = [{}]  # those that are certain, then all that came since

    def do(self, operation: Operation) -> None:
        """The program has done something; what it has said is no matter of ours."""
        match operation:
            case Create(name):
                self._names[name] = File()
                self._possible_names.append(dict(self._names))
            case Unlink(name):
                del self._names[name]
                self._possible_names.append(dict(self._names))
            case Sync(""):
                self._possible_names = [dict(self._names)]
            case Sync(name):
                self._names[name].sync()
            case Write(name) | Truncate(name):
                self._names[name].pending.append(operation)

    def content(self) -> dict[str, bytes]:
        """The files as the program itself sees them."""
        for file in self._names.values():
            file.sync()
        return {name: bytes(file.certain) for name, file in self._names.items()}

    def cut(self, folder: Path, random: Random) -> None:
        """Fills the folder with what may be there when the power comes back."""
        for name, file in random.choice(self._possible_names).items():
            (folder / name).write_bytes(file.after_cut(random))


def change_content(content: bytearray, change: Write | Truncate) -> None:
    """Makes the change; a gap becomes zeros."""
    match change:
        case Write(_, offset, data):
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
        case Truncate(_, size):
            del content[size:]
            content.extend(bytes(size - len(content)))


def sectors(write: Write) -> Iterable[Write]:
    """The same write, in the pieces that a disk writes at once."""
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Write(write.name, start, write.data[start - write.offset : stop - write.offset])
        start = stop
