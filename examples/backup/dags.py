"""A nightly backup of a SQLite database: copy, compress, verify, and only then delete what is too old.

A file with the final name is a verified backup. All others are called `….part`; a task that runs again
writes them again. What to back up, where to, and whom to alert is read from the environment.
"""

import gzip
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import ppacer
from ppacer import Dag, TaskConfig, TaskContext, task
from ppacer.notify import EmailSender, Sender, WebhookSender
from ppacer.schedule import Cron

SOURCE = Path(os.environ.get("BACKUP_SOURCE", "home.db"))
FOLDER = Path(os.environ.get("BACKUP_FOLDER", "backups"))
KEEP = 7


class BackupError(Exception):
    """There is no new backup; the older ones are untouched."""


@task
def copy(ctx: TaskContext) -> dict[str, int]:
    """Copies the database, which may be in use, and counts the rows of each table in the same snapshot."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left_over in files(r"\w+\.part.*"):  # by a run that failed; max_active_runs=1, so nobody uses it
        left_over.unlink()
    with opened(SOURCE) as source, closing(sqlite3.connect(part(ctx, "db"))) as target:
        source.execute("BEGIN")
        rows = row_counts(source)
        source.backup(target)
    ctx.logger.info("copied %s: %d tables, %d rows", SOURCE, len(rows), sum(rows.values()))
    return rows


@task
def compress(ctx: TaskContext) -> None:
    with open(part(ctx, "db"), "rb") as source, gzip.open(part(ctx, "gz"), "wb") as target:
        shutil.copyfileobj(source, target)


@task
def verify(ctx: TaskContext, expected: dict[str, int]) -> Path:
    """Unpacks the backup, checks it and counts its rows; then it gets its final name."""
    packed, unpacked, final = part(ctx, "gz"), part(ctx, "check"), FOLDER / f"{name_of(ctx)}.db.gz"
    done = final.exists() and not packed.exists()  # by an attempt that died before it could say so
    with gzip.open(final if done else packed, "rb") as source, open(unpacked, "wb") as target:
        shutil.copyfileobj(source, target)
    with opened(unpacked, "immutable=1") as backup:
        problems = [str(text) for (text,) in backup.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise BackupError(f"the copy of {SOURCE} is damaged: {'; '.join(problems)}")
        if (found := row_counts(backup)) != expected:
            raise BackupError(f"rows in the backup: {found}, in {SOURCE}: {expected}")
    if not done:
        sync(packed)
        os.replace(packed, final)
        sync(FOLDER)
    return final


@task
def prune(ctx: TaskContext, newest: Path) -> list[str]:
    """Deletes all but the last seven, and what is left of the work."""
    backups = files(r"db\.gz")
    for old in [*backups[:-KEEP], *files(r"\w+\.part.*")]:
        old.unlink()
    ctx.logger.info("%s is verified; there are %d backups", newest, len(backups[-KEEP:]))
    return [backup.name for backup in backups[-KEEP:]]


def name_of(ctx: TaskContext) -> str:
    """The execution time (UTC) is the identity of a run, so running it again writes the same file again."""
    return f"{SOURCE.stem}-{ctx.run.exec_ts:%Y%m%dT%H%M%S.%f}Z"


def part(ctx: TaskContext, what: str) -> Path:
    return FOLDER / f"{name_of(ctx)}.{what}.part"


def files(ending: str) -> list[Path]:
    """The files of this database, oldest first: the names sort by time."""
    pattern = re.compile(re.escape(SOURCE.stem) + r"-\d{8}T\d{6}\.\d{6}Z\." + ending)
    return sorted(path for path in FOLDER.iterdir() if pattern.fullmatch(path.name))


@contextmanager
def opened(path: Path, how: str = "mode=ro") -> Iterator[sqlite3.Connection]:
    """A database, read-only; what is wrong with it is said with its name."""
    if not path.is_file():
        raise BackupError(f"there is no database {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=60)) as db:
            yield db
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be read: {error}") from error


def row_counts(db: sqlite3.Connection) -> dict[str, int]:
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
    count = 'SELECT count(*) FROM "{}"'
    return {name: db.execute(count.format(name.replace('"', '""'))).fetchone()[0] for (name,) in names}


def sync(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def alerts() -> Sender | None:
    """Who hears of a failure: a webhook or people with e-mail if the environment names them, else the log."""
    env = os.environ
    if url := env.get("BACKUP_WEBHOOK_URL"):
        return WebhookSender(url)
    if host := env.get("BACKUP_SMTP_HOST"):
        return EmailSender(host, sender=env["BACKUP_MAIL_FROM"], recipients=env["BACKUP_MAIL_TO"].split(","))
    return None


with Dag(
    "backup",
    schedule=Cron("15 3 * * *", tz="Europe/Warsaw"),
    max_active_runs=1,
    tags=["nightly"],
    config=TaskConfig(timeout=timedelta(hours=1), notifier=alerts()),
) as backup:
    rows = copy()
    rows >> compress() >> (verified := verify(rows))
    prune(verified)

if __name__ == "__main__":
    ppacer.serve(backup)
