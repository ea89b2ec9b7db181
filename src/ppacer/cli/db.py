"""`ppacer db …`: looking after the files."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppacer.cli import exits
from ppacer.cli.options import db_option, json_option, logs_db_option, print_json

if TYPE_CHECKING:
    from ppacer.config import Settings
    from ppacer.store.copies import Progress
    from ppacer.store.stats import Stats


@click.group("db")
def db_command() -> None:
    """Check, upgrade, back up, restore and measure the database.

    All but `upgrade` and `restore` work also while a scheduler runs on it.
    """


@db_command.command("check", short_help="Say whether the files are whole.")
@db_option
@logs_db_option
@json_option
def check_command(db: str | None, logs_db: str | None, as_json: bool) -> int:
    """Say whether the files are whole and do not contradict themselves; exit code 1 when not."""
    from ppacer.config import shown
    from ppacer.errors import StoreError
    from ppacer.store import care

    settings = _settings(db, logs_db)
    care.existing(settings.db)
    found: dict[str, list[str]] = {}
    looks = {settings.logs_db: care.damage, settings.db: care.problems}  # on a server they are one
    for file, look in reversed(looks.items()):
        try:
            problems = look(file) if "://" in file or Path(file).exists() else []
        except StoreError as error:  # not even readable
            problems = [str(error)]
        found[shown(file)] = problems
    if as_json:
        print_json({"ok": not any(found.values()), "files": found})
    else:
        for file, problems in found.items():
            for problem in problems or [_fine(file)]:
                click.echo(f"{file}: {problem}")
    return exits.FAILED if any(found.values()) else exits.OK


def _fine(file: str) -> str:
    return "ok" if "://" in file or Path(file).exists() else "not there yet"


@db_command.command("upgrade", short_help="Bring the database to the revision of this ppacer.")
@db_option
@json_option
def upgrade_command(db: str | None, as_json: bool) -> None:
    """Bring the database to the revision of this ppacer, after a backup; `serve` does so as well."""
    from ppacer.store import care

    settings = _settings(db, None)
    done = care.upgrade(settings.db)
    if as_json:
        print_json(done)
    elif done.before == done.after:
        click.echo(f"{settings.db_shown} has the newest revision, {done.after}, already")
    else:
        backup = f"; a backup is in {done.backup}" if done.backup else ""
        click.echo(
            f"{settings.db_shown} was upgraded from {done.before or 'nothing'} to {done.after}{backup}"
        )


@db_command.command("backup", short_help="Copy the database to a new file.")
@click.argument("target", type=click.Path(path_type=Path))
@db_option
@json_option
def backup_command(target: Path, db: str | None, as_json: bool) -> None:
    """Copy the database to the new file TARGET (or into a folder), also while a scheduler writes to it."""
    from ppacer.cli.words import size
    from ppacer.store import care

    settings = _settings(db, None)
    if target.is_dir():
        target /= Path(settings.db).name
    written = care.copy(settings.db, target, _progress())
    if as_json:
        print_json({"file": str(target), "bytes": written})
    else:
        click.echo(f"{settings.db} is copied to {target} ({size(written)}), and the copy is checked")


@db_command.command("restore", short_help="Put a backup in the place of the database.")
@click.argument("backup", type=click.Path(path_type=Path))
@db_option
@json_option
def restore_command(backup: Path, db: str | None, as_json: bool) -> None:
    """Put the copy BACKUP in the place of the database, which is kept beside it; no scheduler may run.

    The copy is checked first. One of an older ppacer is upgraded by the next start.
    """
    from ppacer.cli.words import size
    from ppacer.clock import SystemClock
    from ppacer.store import copies

    settings = _settings(db, None)
    done = copies.restore(settings.db, backup, SystemClock().now().utc, _progress())
    if as_json:
        print_json(done)
    else:
        kept = f"; what was there is now {done.replaced}" if done.replaced else ""
        click.echo(f"{settings.db} is what {backup} was ({size(done.bytes)}){kept}")


def _progress() -> "Progress":
    """Shows on a terminal how much is copied."""
    from ppacer.store import copies

    if not sys.stderr.isatty():
        return copies.silent

    def show(done: int, total: int) -> None:
        is_done = done >= total
        click.echo(
            f"\r{100 * done // max(total, 1)} % copied{', checking' if is_done else ''}", nl=is_done, err=True
        )

    return show


@db_command.command("stats", short_help="Print what is in the files, and how large they are.")
@db_option
@logs_db_option
@json_option
def stats_command(db: str | None, logs_db: str | None, as_json: bool) -> None:
    """Print how much there is in each table, how large the files are, and what retention will delete.

    When runs are old is said by ppacer.toml and PPACER_*, as for `ppacer serve`.
    """
    from ppacer.clock import SystemClock
    from ppacer.store import stats
    from ppacer.tasklog import LogReader

    settings = _settings(db, logs_db)
    before = settings.retention_before(SystemClock().now().utc)
    found = stats.stats(settings.db, before, settings.retention_runs)
    with closing(LogReader(settings.logs_db)) as logs:
        logs_bytes = logs.bytes()
    if as_json:
        import msgspec

        print_json({**msgspec.structs.asdict(found), "logs_bytes": logs_bytes})
    else:
        _show(settings, found, logs_bytes)


def _show(settings: "Settings", stats: "Stats", logs_bytes: int | None) -> None:
    from ppacer.cli.words import exact, size
    from ppacer.config import shown

    runs = ", ".join(f"{count:,} {status}" for status, count in stats.runs.items())
    oldest = f", the oldest of {exact(stats.oldest_run_at)[:19]} UTC" if stats.oldest_run_at else ""
    large = "" if stats.bytes is None else f", {size(stats.bytes)}"
    free = f" ({size(stats.free_bytes)} free)" if stats.free_bytes else ""
    for name, value in (
        ("database", f"{settings.db_shown}{large}{free}, revision {stats.revision}"),
        ("logs", f"{shown(settings.logs_db)}, {'not there yet' if logs_bytes is None else size(logs_bytes)}"),
        ("dags", f"{stats.dags:,}"),
        ("runs", f"{sum(stats.runs.values()):,}{f' ({runs})' if runs else ''}{oldest}"),
        ("attempts", f"{stats.attempts:,}"),
        ("retention", _retention(settings, stats.expired_runs)),
    ):
        click.echo(f"{name:<9} {value}")
    click.echo(f"\n{'table':<14} {'rows':>12} {'size':>10}")
    for table in stats.tables:
        large = "" if table.bytes is None else size(table.bytes)
        click.echo(f"{table.name:<14} {table.rows:>12,} {large:>10}")


def _retention(settings: "Settings", expired: int | None) -> str:
    if expired is None:
        return "everything is kept for ever"
    days, runs = settings.retention_days, settings.retention_runs
    return f"{expired:,} runs are to go: ended {days:g} days ago, not among the newest {runs:,} of their dag"


def _settings(db: str | None, logs_db: str | None) -> "Settings":
    import os

    from ppacer.config import load

    return load({}, {"db": db, "logs_db": logs_db}, os.environ, Path.cwd())
