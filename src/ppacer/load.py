"""Importing a file of dags: what it defines at top level, or a sentence and the user's own traceback."""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from hashlib import blake2b
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from ppacer.dag import Dag, Registry
from ppacer.errors import DagError, LoadError, PpacerError

_HERE = os.path.dirname(__file__) + os.sep
_loading: list[str] = []


class _Source(SourceFileLoader):
    """Reads the file and neither reads nor writes bytecode, where two edits within a second look alike."""

    def path_stats(self, path: object) -> NoReturn:
        """Says that there is nothing to compare bytecode with: see `importlib.abc.SourceLoader`."""
        raise OSError


def load_registry(path: str | Path) -> Registry:
    """The dags of a file: all objects at its top level that are a Dag, or in a Registry.

    The folder of the file comes first in `sys.path` and stays there, because tasks may import from it when
    they run. Raises LoadError with a sentence, and for a file that raises with its traceback as text.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise LoadError(
            f"{path} is a directory; name a file" if file.is_dir() else f"there is no file {path}"
        )
    dags = list(_dags_in(_import(file)))
    if not dags:
        raise LoadError(f"{path} defines no dag: there is no Dag among its global variables")
    try:
        return Registry(dags)
    except DagError as error:
        raise LoadError(f"{path}: {error}") from error


def is_loading() -> bool:
    """Whether a file of dags is being imported: what starts a program must not happen then."""
    return bool(_loading)


def _import(file: Path) -> ModuleType:
    name = f"ppacer_file_{blake2b(str(file).encode(), digest_size=6).hexdigest()}_{file.stem}"
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file, loader=_Source(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and annotations look their module up there
    _loading.append(name)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # SystemExit, too: a file of dags that exits does not import
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise LoadError(f"{file} does not import: {_summary(error)}", _own_traceback(error, file)) from error
    finally:
        _loading.pop()
    return module


def _dags_in(module: ModuleType) -> Iterator[Dag]:
    """Every dag once, in the order of the file, however many names it has."""
    seen: set[int] = set()
    for value in list(vars(module).values()):
        for dag in (
            (value,) if isinstance(value, Dag) else value.values() if isinstance(value, Registry) else ()
        ):
            if id(dag) not in seen:
                seen.add(id(dag))
                yield dag


def _summary(error: BaseException) -> str:
    if isinstance(error, PpacerError):  # our own sentences need no name in front
        return str(error)
    lines = [line for line in traceback.format_exception_only(error) if not line.startswith(" ")]
    return lines[0].strip() if lines else type(error).__name__


def _own_traceback(error: BaseException, file: Path) -> str:
    """The traceback without frames of ppacer and of the import system."""
    shown = traceback.TracebackException.from_exception(error, compact=True)
    todo = [shown]
    while todo:
        part = todo.pop()
        own = [
            frame for frame in part.stack if frame.filename == str(file) or not _is_machinery(frame.filename)
        ]
        part.stack = traceback.StackSummary.from_list(own)
        todo += [other for other in (part.__cause__, part.__context__, *(part.exceptions or ())) if other]
    return "".join(shown.format())


def _is_machinery(filename: str) -> bool:
    return filename.startswith((_HERE, "<frozen importlib", "<string>"))  # made by dataclasses
