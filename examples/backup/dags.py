"""A nightly backup of a SQLite database: copy, compress, verify, and only then delete what is too old.

What carries the final name is a verified backup. Everything else is called `….part`, can be deleted at any
time, and is overwritten when a task runs again. What to back up, where to and whom to alert: environment.
"""

import gzip
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import ppacer
from ppacer import Dag, TaskConfig, TaskContext, task
from ppacer.notify import EmailSender, LogSender, Sender, WebhookSender
from ppacer.schedule import Cron

SOURCE = Path(os.environ.get("BACKUP_SOURCE", "home.db"))
FOLDER = Path(os.environ.get("BACKUP_FOLDER", "backups"))
KEEP = 7


class BackupError(Exception):
    """The backup is not good; older ones are untouched."""


@dataclass
class Copy:
    """An uncompressed copy, and how many rows each table had when it was made."""

    path: Path
    rows: dict[str, int]


@task
def copy(ctx: TaskContext) -> Copy:
    """Copies the database while others use it; rows are counted in the transaction that is copied."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left_over in FOLDER.glob("*.part"):  # of runs that failed; max_active_runs=1: no other one is at work
        left_over.unlink()
    copied = FOLDER / f"{name_of(ctx)}.part"
    with opened(SOURCE) as source, closing(sqlite3.connect(copied)) as target:
        source.execute("BEGIN")
        rows = row_counts(source)
        source.backup(target)
    ctx.logger.info("copied %d rows, %d bytes", sum(rows.values()), copied.stat().st_size)
    return Copy(copied, rows)


@task
def compress(copied: Copy) -> Path:
    packed = copied.path.with_suffix(".gz.part")
    with open(copied.path, "rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    return packed


@task
def verify(ctx: TaskContext, copied: Copy, packed: Path) -> Path:
    """Unpacks the backup, checks it and compares its rows; only then does it get its final name."""
    final = FOLDER / f"{name_of(ctx)}.gz"
    unpacked = copied.path.with_suffix(".check.part")
    # After a crash behind the last step below, the packed file has its final name already.
    with gzip.open(packed if packed.exists() else final, "rb") as source, open(unpacked, "wb") as target:
        shutil.copyfileobj(source, target)
    with opened(unpacked) as backup:
        problems = [str(row[0]) for row in backup.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise BackupError(f"{SOURCE} or its copy is damaged: {'; '.join(problems)}")
        if (rows := row_counts(backup)) != copied.rows:
            raise BackupError(f"the backup has {rows} rows, {SOURCE} had {copied.rows}")
    if packed.exists():
        put(packed, final)
    for part in (copied.path, unpacked):
        part.unlink(missing_ok=True)
    return final


@task
def prune(ctx: TaskContext, newest: Path) -> list[str]:
    """Deletes all but the last seven; their names sort by execution time."""
    pattern = re.escape(SOURCE.stem) + r"-\d{8}T\d{6}\.\d{6}Z\.db\.gz"
    names = sorted(path.name for path in FOLDER.iterdir() if re.fullmatch(pattern, path.name))
    for old in names[:-KEEP]:
        (FOLDER / old).unlink(missing_ok=True)
    ctx.logger.info("%s is verified; %d backups, %d deleted", newest, len(names[-KEEP:]), len(names[:-KEEP]))
    return names[-KEEP:]


def name_of(ctx: TaskContext) -> str:
    """The execution time is the identity of a run, so a task that runs again writes the same file again."""
    return f"{SOURCE.stem}-{ctx.run.exec_ts:%Y%m%dT%H%M%S.%f}Z.db"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, read only; a file that is missing or damaged becomes a BackupError that names it."""
    if not path.is_file():
        raise BackupError(f"there is no database {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as db:
            yield db
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be read: {error}") from error


def row_counts(db: sqlite3.Connection) -> dict[str, int]:
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name")
    quoted = {name: name.replace('"', '""') for (name,) in names}
    return {name: db.execute(f'SELECT count(*) FROM "{quoted[name]}"').fetchone()[0] for name in quoted}


def put(part: Path, final: Path) -> None:
    """First the content is on disk, then it gets its name, then the name is on disk."""
    for step in (part, final.parent):
        descriptor = os.open(step, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        if step is part:
            os.replace(part, final)


def alerts() -> Sender:
    """Who hears of a failure: a webhook or people with e-mail, where the environment names them, or the log."""
    env = os.environ
    if url := env.get("BACKUP_WEBHOOK_URL"):
        return WebhookSender(url)
    if host := env.get("BACKUP_SMTP_HOST"):
        return EmailSender(host, sender=env["BACKUP_MAIL_FROM"], recipients=env["BACKUP_MAIL_TO"].split(","))
    return LogSender()


with Dag(
    "backup",
    schedule=Cron("15 3 * * *", tz="Europe/Warsaw"),
    max_active_runs=1,
    tags=["nightly"],
    config=TaskConfig(timeout=timedelta(hours=1), notifier=alerts()),
) as backup:
    copied = copy()
    prune(verify(copied, compress(copied)))

if __name__ == "__main__":
    ppacer.serve(backup)
