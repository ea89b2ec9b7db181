"""The user's files as the program has loaded them: their lines, and whether they have changed since."""

import linecache
import os
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

NAMES_MAX = 3
_NOT_THEIRS = (os.path.dirname(os.__file__) + os.sep, os.path.dirname(os.path.dirname(__file__)) + os.sep)


class LoadedCode:
    """The file of the dags, and what it has imported from its own folder."""

    def __init__(self, file: Path | None) -> None:
        self._folder = None if file is None else file.parent
        self._loaded = dict(_read(path) for path in sorted(set(_own_files(file))))

    def changed(self) -> list[str]:
        """The names of the files that are not any more what was loaded, seen from the folder of the dags."""
        return [
            os.path.relpath(path, self._folder)
            for path, (stamp, digest) in self._loaded.items()
            if _stamp(path) != stamp and _digest(path) != digest
        ]

    def note(self) -> str | None:
        """What to say to somebody who has mended the code and tries again; None while nothing has changed."""
        changed = self.changed()
        if not changed:
            return None
        names = ", ".join(changed[:NAMES_MAX]) + (" …" if len(changed) > NAMES_MAX else "")
        has = "has" if len(changed) == 1 else "have"
        return f"{names} {has} changed since this program started: start it again to run the mended code"

    def remember_lines(self) -> None:
        """Has tracebacks show the lines that run, although the file may have others by then.

        Forked task processes inherit it. An entry without a time is one that `linecache` never checks.
        """
        for path in self._loaded:
            if lines := linecache.getlines(path):
                linecache.cache[path] = (sum(map(len, lines)), None, lines, path)


def _own_files(file: Path | None) -> Iterator[str]:
    """The file, and every module beneath its folder that neither Python nor an installed package owns."""
    if file is None:
        return
    yield str(file)
    folder = str(file.parent).rstrip(os.sep) + os.sep
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.startswith(folder) and _is_own(path):
            yield path


def _is_own(path: str) -> bool:
    return path.endswith(".py") and f"-packages{os.sep}" not in path and not path.startswith(_NOT_THEIRS)


def _read(path: str) -> tuple[str, tuple[tuple[int, int] | None, bytes | None]]:
    return path, (_stamp(path), _digest(path))


def _stamp(path: str) -> tuple[int, int] | None:
    """Cheap to ask for, and the same for a file that nobody has touched."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _digest(path: str) -> bytes | None:
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).digest()
    except OSError:
        return None
