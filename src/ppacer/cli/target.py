"""FILE[:NAME] on the command line: a file of dags, and which of them."""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from ppacer.dag import Dag, Registry
from ppacer.errors import DagError, LoadError
from ppacer.load import load_registry


def load_target(target: str, is_quiet: bool = False) -> tuple[Path, Registry]:
    """The file, and the dags in it that are meant: all, those of a variable, or the one with an id.

    `is_quiet`: what the file prints meanwhile goes to stderr. Raises LoadError, also for a name that the file
    does not have.
    """
    file, name = split_target(target)
    with redirect_stdout(sys.stderr) if is_quiet else nullcontext():
        registry = load_registry(file)
    path = Path(file).absolute()
    return path, registry if name is None else _named(path, registry, name)


def one_dag(target: str, registry: Registry) -> Dag:
    """The only dag. Raises DagError naming all when there are several."""
    if len(registry) > 1:
        names = ", ".join(list(registry)[:10]) + (" …" if len(registry) > 10 else "")
        file = split_target(target)[0]
        raise DagError(f"{file} has {len(registry)} dags ({names}); say which: {file}:{next(iter(registry))}")
    return next(iter(registry.values()))


def split_target(target: str) -> tuple[str, str | None]:
    """The file and the name; a colon in the name of a file that exists belongs to it."""
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name or "/" in name or Path(target).exists():
        return target, None
    return file, name


def _named(file: Path, registry: Registry, name: str) -> Registry:
    if name in registry:
        return Registry([registry[name]])
    found = _variable(file, name)
    if isinstance(found, Dag):
        return Registry([found])
    if isinstance(found, Registry) and found:
        return found
    from difflib import get_close_matches

    near = get_close_matches(name, registry, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(list(registry)[:10])}"
    raise LoadError(f"{file} has no dag and no registry {name!r}; {hint}")


def _variable(file: Path, name: str) -> object:
    """A global variable of the file that `load_registry` has just imported."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(file) and module.__name__.startswith("ppacer_file_"):
            return getattr(module, name, None)
    return None
