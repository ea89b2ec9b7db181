"""The sidecar lock of a SQLite file: a second scheduler on the same file is refused at once."""

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any, Self

from ppacer.errors import StoreError, StoreLockedError

READS_MAX = 5
LOOKS_MAX = 100
PAUSE_SECONDS = 0.01  # a look or a write lasts microseconds, but may lose the processor in the middle


class FileLock:
    """Holds `<database>.lock` while it is open; the file says who holds it. The kernel frees it at death."""

    def __init__(self, database: Path) -> None:
        self.path = _path(database)
        self._file: int | None = None

    def acquire(self, **owner: Any) -> Self:
        """Takes the lock, or raises StoreLockedError naming its owner; `owner` is kept in the file."""
        if not self.path.parent.is_dir():
            raise StoreError(
                f"the folder {self.path.parent} does not exist; make it, or use another with --db"
            )
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error.strerror}); is the folder writable?"
            ) from error
        if not _lock(file):
            os.close(file)
            raise StoreLockedError(_refusal(self.path))
        self._file = file
        self.describe(**owner)
        return self

    def describe(self, **owner: Any) -> None:
        """Replaces what the file says about its owner: pid and URL, for commands that look for it."""
        assert self._file is not None
        data = json.dumps({"pid": os.getpid(), **owner}).encode()
        # One write that covers what was there, with blanks at its end, keeps the file readable all the time.
        os.pwrite(self._file, data.ljust(os.fstat(self._file).st_size), 0)

    def release(self) -> None:
        """Lets go; the file stays, because deleting it would let two programs lock two files."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def _path(database: Path) -> Path:
    """The lock lies beside the file itself: links to one file have one lock."""
    database = database.resolve()
    return database.with_name(database.name + ".lock")


def _lock(file: int) -> bool:
    """Takes the lock alone; who shares it for an instant is somebody who merely looks (`owner_of`)."""
    for _ in range(LOOKS_MAX):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            pass
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.flock(file, fcntl.LOCK_UN)
        threading.Event().wait(PAUSE_SECONDS)
    return False


def owner_of(database: Path) -> dict[str, Any] | None:
    """What the holder of the lock says of itself; None when nobody holds it."""
    path = _path(database)
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _read(path)
    except OSError:
        pass
    return None


def _read(path: Path) -> dict[str, Any]:
    for _ in range(READS_MAX):
        try:
            owner = json.loads(path.read_bytes())
        except (OSError, ValueError):  # perhaps it is just being written
            threading.Event().wait(PAUSE_SECONDS)
            continue
        return owner if isinstance(owner, dict) else {}
    return {}


def _refusal(path: Path) -> str:
    owner = _read(path)
    who = (
        f" (process {owner['pid']}{', ' + owner['url'] if owner.get('url') else ''})"
        if "pid" in owner
        else ""
    )
    database = path.with_name(path.name.removesuffix(".lock"))
    return f"another scheduler{who} has {database}; stop it, or choose another file with --db"
