"""`ppacer logs`."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import click

from ppacer.choices import LEVELS
from ppacer.cli.options import asking, json_text, run_id_of

if TYPE_CHECKING:
    from ppacer.api.wire import LogQuestion
    from ppacer.cli.backend import Backend
    from ppacer.cli.screen import Screen
    from ppacer.tasklog import LogRow

LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
TAIL_MAX = 1_000
OURS = ("stream", "end")  # attributes that ppacer adds, and that the line shows anyway


@click.command("logs")
@click.argument("run")
@click.argument("task", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until the run has ended.")
@click.option("--retry", type=click.IntRange(0), help="Only this attempt: 0 is the first one.")
@click.option(
    "--level", type=click.Choice(LEVELS, case_sensitive=False), metavar="LEVEL",
    help=f"Only records of this level and above: {', '.join(LEVELS)}.",
)  # fmt: skip
@click.option("--tail", type=click.IntRange(1, TAIL_MAX), metavar="N", help="Only the last N records.")
@asking
def logs_command(
    backend: "Backend",
    run: str,
    task: str | None,
    follow: bool,
    retry: int | None,
    level: str | None,
    tail: int | None,
    as_json: bool,
) -> None:
    """Print what the tasks of a RUN have said, or one TASK of it: stdout, stderr and logging.

    RUN is the number of a run, or a dag: then its newest run.
    """
    from ppacer.api.wire import LogQuestion
    from ppacer.cli.follow import ended_by_ctrl_c

    wanted = LogQuestion(run_id_of(backend, run), task, retry, level, tail=tail)
    with ended_by_ctrl_c() if follow else nullcontext():
        _print_all(backend, wanted, follow, as_json)


def _print_all(backend: "Backend", wanted: "LogQuestion", follow: bool, as_json: bool) -> None:
    rows = _rows(backend, wanted, follow)
    first = next(rows, None)  # an error comes before anything is printed
    if as_json:
        _print_json(first, rows, follow)
    elif first is not None:
        _print(first, rows)
    if follow:
        _tell_end(backend, wanted.run_id)
    elif first is None:
        _tell_nothing(backend, wanted)


def _rows(backend: "Backend", wanted: "LogQuestion", follow: bool) -> "Iterator[LogRow]":
    """The records in their order; with `follow` also those that come."""
    from msgspec.structs import replace

    from ppacer.cli.follow import WAIT_SECONDS, patiently

    while True:
        question = replace(wanted, wait=WAIT_SECONDS if follow and wanted.tail is None else 0.0)
        ask = partial(backend.logs, question)
        page = patiently(ask) if follow else ask()
        yield from page.records
        if follow and backend.is_live:
            if page.ended and (wanted.tail is None or not page.records):
                return
        elif wanted.tail is not None or len(page.records) < wanted.limit:
            return
        after = page.records[-1].log_id if page.records else wanted.after
        wanted = replace(wanted, after=after, tail=None)


def _print(first: "LogRow", rows: "Iterator[LogRow]") -> None:
    from ppacer.cli.screen import Screen
    from ppacer.clock import SystemClock

    screen = Screen()
    today = SystemClock().now().utc.date() if screen.is_tty else None  # a program gets whole times
    for row in chain((first,), rows):
        for line in lines_of(screen, row, today):
            screen.line(line)
        screen.flush()


def lines_of(screen: "Screen", row: "LogRow", today: date | None) -> Iterator[str]:
    """A record as lines: time, task, level unless it is INFO, message, attributes. `today` needs no date."""
    who = f"{row.task_id}#{row.retry}" if row.retry else row.task_id
    day = "" if row.at.date() == today else f"{row.at:%Y-%m-%d} "
    clock = screen.paint(f"{day}{row.at:%H:%M:%S}.{row.at.microsecond // 1000:03d}Z", "dim")
    head, style = f"{clock} {screen.paint(who, 'cyan')} |", LEVEL_STYLES.get(row.level, "")
    level = "" if row.level == "INFO" or _is_stderr(row) else f" {screen.paint(row.level, style)}"
    more = _attributes(row)
    for line in row.message.split("\n"):
        yield f"{head}{level} {screen.clean(line)}{screen.paint(screen.clean(more), 'dim')}".rstrip()
        level = more = ""  # once is enough


def _is_stderr(row: "LogRow") -> bool:
    """A line of stderr has the level WARNING, which says nothing about it."""
    return (row.attributes or {}).get("stream") == "stderr"


def _attributes(row: "LogRow") -> str:
    return "".join(f" {name}={value}" for name, value in (row.attributes or {}).items() if name not in OURS)


def _print_json(first: "LogRow | None", rows: "Iterator[LogRow]", as_lines: bool) -> None:
    """One document, or one record a line while following: nobody waits for the end of an array."""
    texts = () if first is None else map(json_text, chain((first,), rows))
    if as_lines:
        for text in texts:
            click.echo(text)
        return
    click.echo('{"records":[', nl=False)
    for at, text in enumerate(texts):
        click.echo(f",{text}" if at else text, nl=False)
    click.echo("]}")


def _tell_end(backend: "Backend", run_id: int) -> None:
    from ppacer.cli.follow import FINAL, patiently
    from ppacer.errors import SchedulerUnavailable

    detail = patiently(lambda: backend.run(run_id))
    if backend.is_live:
        click.echo(f"run {run_id} of {detail.run.dag_id} has ended: {detail.run.status}", err=True)
    elif detail.run.status in FINAL:
        click.echo(f"run {run_id} is {detail.run.status}, and no scheduler is running: that is all", err=True)
    else:
        raise SchedulerUnavailable(
            f"run {run_id} is {detail.run.status} and goes on with `ppacer serve FILE`: no scheduler runs"
        )


def _tell_nothing(backend: "Backend", wanted: "LogQuestion") -> None:
    """Why there is nothing to print: no such task, or nothing said."""
    from ppacer.errors import NotFoundError

    detail = backend.run(wanted.run_id)
    if wanted.task_id is not None and all(task.task_id != wanted.task_id for task in detail.tasks):
        raise NotFoundError(f"run {wanted.run_id} of {detail.run.dag_id} has no task {wanted.task_id!r}")
    click.echo(
        f"run {wanted.run_id} of {detail.run.dag_id} ({detail.run.status}) has no such log records", err=True
    )
