"""The scheduler's database: schema, migrations, one writer, read models. The only SQL beside `tasklog`."""

from ppacer.store.lock import FileLock, owner_of
from ppacer.store.store import DagRow, StaleWrite, Store
from ppacer.store.sync import sync

__all__ = ["DagRow", "FileLock", "StaleWrite", "Store", "owner_of", "sync"]
