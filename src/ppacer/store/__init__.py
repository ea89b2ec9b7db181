"""The scheduler's database: schema, migrations, one writer, read models. The only SQL beside `tasklog`.

`sync` has its own module, `ppacer.store.sync`.
"""

from typing import TYPE_CHECKING, Any

from ppacer.store.lock import FileLock, owner_of

if TYPE_CHECKING:
    from ppacer.store.store import DagRow, StaleWrite, Store

__all__ = ["DagRow", "FileLock", "StaleWrite", "Store", "owner_of"]


def __getattr__(name: str) -> Any:
    """Import SQLAlchemy (0.2 s) only for those who open a database: commands mostly ask over HTTP."""
    if name not in ("DagRow", "StaleWrite", "Store"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ppacer.store import store

    return getattr(store, name)
