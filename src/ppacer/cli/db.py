"""`ppacer db …`: looking after the files."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppacer.cli import exits
from ppacer.cli.options import db_option, json_option, logs_db_option, print_json

if TYPE_CHECKING:
    from ppacer.config import Settings
    from ppacer.store.care import Stats


@click.group("db")
def db_command() -> None:
    """Check, upgrade, back up and measure the database.

    All but `upgrade` work also while a scheduler runs on it.
    """


@db_command.command("check")
@db_option
@logs_db_option
@json_option
def check_command(db: str | None, logs_db: str | None, as_json: bool) -> int:
    """Say whether the files are whole and do not contradict themselves; exit code 1 when not."""
    from ppacer.errors import StoreError
    from ppacer.store import care

    settings = _settings(db, logs_db)
    care.existing(settings.db)
    found: dict[str, list[str]] = {}
    for file, look in ((settings.db, care.problems), (settings.logs_db, care.damage)):
        try:
            found[file] = look(file) if "://" in file or Path(file).exists() else []
        except StoreError as error:  # not even readable
            found[file] = [str(error)]
    if as_json:
        print_json({"ok": not any(found.values()), "files": found})
    else:
        for file, problems in found.items():
            for problem in problems or [_fine(file)]:
                click.echo(f"{file}: {problem}")
    return exits.FAILED if any(found.values()) else exits.OK


def _fine(file: str) -> str:
    return "ok" if "://" in file or Path(file).exists() else "not there yet"


@db_command.command("upgrade")
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
        click.echo(f"{settings.db} has the newest revision, {done.after}, already")
    else:
        backup = f"; a backup is in {done.backup}" if done.backup else ""
        click.echo(f"{settings.db} was upgraded from {done.before or 'nothing'} to {done.after}{backup}")


@db_command.command("backup")
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
    written = care.copy(settings.db, target)
    if as_json:
        print_json({"file": str(target), "bytes": written})
    else:
        click.echo(f"{settings.db} is copied to {target} ({size(written)}), and the copy is checked")


@db_command.command("stats")
@db_option
@logs_db_option
@json_option
def stats_command(db: str | None, logs_db: str | None, as_json: bool) -> None:
    """Print how many dags, runs and attempts there are, and how large the files are."""
    from ppacer.store import care

    settings = _settings(db, logs_db)
    stats = care.stats(settings.db)
    logs_bytes = care.size_of(Path(settings.logs_db))
    if as_json:
        import msgspec

        print_json({**msgspec.structs.asdict(stats), "logs_bytes": logs_bytes})
    else:
        _show(settings, stats, logs_bytes)


def _show(settings: "Settings", stats: "Stats", logs_bytes: int | None) -> None:
    from ppacer.cli.words import exact, size

    runs = ", ".join(f"{count:,} {status}" for status, count in stats.runs.items())
    oldest = f", the oldest of {exact(stats.oldest_run_at)[:19]} UTC" if stats.oldest_run_at else ""
    large = "" if stats.bytes is None else f", {size(stats.bytes)}"
    for name, value in (
        ("database", f"{settings.db}{large}, revision {stats.revision}"),
        ("logs", f"{settings.logs_db}, {'not there yet' if logs_bytes is None else size(logs_bytes)}"),
        ("dags", f"{stats.dags:,}"),
        ("runs", f"{sum(stats.runs.values()):,}{f' ({runs})' if runs else ''}{oldest}"),
        ("attempts", f"{stats.attempts:,}"),
    ):
        click.echo(f"{name:<9} {value}")


def _settings(db: str | None, logs_db: str | None) -> "Settings":
    import os

    from ppacer.config import load

    return load({}, {"db": db, "logs_db": logs_db}, os.environ, Path.cwd())
