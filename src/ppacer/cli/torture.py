"""`ppacer torture`: the crash harness on the machine of whoever wants to see for himself."""

import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppacer.cli import exits
from ppacer.cli.options import json_option, print_json
from ppacer.cli.words import plural

if TYPE_CHECKING:
    from ppacer.torture import Verdict

SECONDS = 60.0
KILLS_MAX = 100_000


@click.command("torture")
@click.option("--seconds", type=click.FloatRange(1, 86_400), help="How long to go on (60, or until --kills).")
@click.option("--kills", type=click.IntRange(1, KILLS_MAX), metavar="N", help="End after N kills of ppacer.")
@click.option("--db", metavar="FOLDER", help="A new folder for the database; it is kept.")
@json_option
def torture_command(seconds: float | None, kills: int | None, db: str | None, as_json: bool) -> int:
    """Kill a ppacer on this machine again and again, and say what it has lost.

    It gets work meanwhile; its task processes are killed, too. After each kill what the tasks wrote, what was
    answered and what is in the database are compared. Everything is in a temporary folder, which is kept only
    if something is found.
    """
    from ppacer.clock import SystemClock
    from ppacer.torture import Campaign, Plan

    clock = SystemClock()
    until = math.inf if seconds is None and kills is not None else clock.now().mono + (seconds or SECONDS)
    plan = Plan(kills or KILLS_MAX, kills or KILLS_MAX, seed=int.from_bytes(os.urandom(4), "big"))
    folder = Path(tempfile.mkdtemp(prefix="ppacer-torture-")) if db is None else _new(db)
    is_kept = db is not None
    try:
        click.echo(f"torturing a ppacer of its own in {folder}", err=True)
        with Campaign(folder, plan, _progress) as campaign:
            verdict = campaign.play(lambda: clock.now().mono > until)
        is_kept |= bool(verdict.findings)
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    if sys.stderr.isatty():
        click.echo(err=True)
    print_json(_as_dict(verdict, folder)) if as_json else _tell(verdict, folder)
    return exits.FAILED if verdict.findings else exits.OK


def _new(db: str) -> Path:
    """An empty folder. Raises ConfigError where there is something in it, which stays as it is."""
    from ppacer.errors import ConfigError

    path = Path(db).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_empty = not any(path.iterdir())
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}") from error
    if not is_empty:
        raise ConfigError(f"{path} is not empty; name a new folder")
    return path


def _progress(verdict: "Verdict") -> None:
    """One line, which stays the same one on a terminal."""
    line = (
        f"{plural(verdict.kills, 'kill')} of the program, {verdict.executor_kills} of task processes; "
        f"{plural(verdict.runs, 'run')}, {verdict.ended} ended"
    )
    is_tty = sys.stderr.isatty()
    click.echo(f"\r{line}\x1b[K" if is_tty else line, nl=not is_tty, err=True)


def _tell(verdict: "Verdict", folder: Path) -> None:
    """The verdict in words."""
    from ppacer.torture.promises import Kind

    counts = ", ".join(f"{verdict.count(kind)} {kind}" for kind in Kind)
    click.echo(
        f"The program was killed {_times(verdict.kills)}, "
        f"its task processes {_times(verdict.executor_kills)}.\n"
        f"Meanwhile {plural(verdict.runs, 'run')} began with {plural(verdict.attempts, 'attempt')}, and "
        f"{plural(verdict.acknowledged, 'command')} were acknowledged.\n"
        f"Found: {counts}. The longest start took {verdict.recovery_max:.1f} s."
    )
    for finding in verdict.findings:
        click.echo(f"  {finding.kind}: {finding.words}")
    if verdict.findings:
        click.echo(f"This is a bug in ppacer. Everything is kept in {folder}")
    else:
        click.echo("Every promise was kept.")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _as_dict(verdict: "Verdict", folder: Path) -> dict[str, Any]:
    from dataclasses import asdict

    findings = [{"kind": finding.kind, "words": finding.words} for finding in verdict.findings]
    return {"ok": not findings, **asdict(verdict), "findings": findings, "folder": str(folder)}
