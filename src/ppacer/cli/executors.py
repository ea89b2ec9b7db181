"""`ppacer executors`, `ppacer drain` and `ppacer undrain`."""

from typing import TYPE_CHECKING

import click

from ppacer.cli.options import asking, print_json

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.cli.screen import Cell
    from ppacer.store.views import ExecutorView

COLORS = {"UP": "green", "DRAINING": "yellow", "GONE": "dim"}


@click.command("executors")
@asking
def executors_command(backend: "Backend", as_json: bool) -> None:
    """List the executors: their slots, what they run, whether their code is that of the scheduler."""
    executors = _all(backend)
    if as_json:
        print_json({"executors": executors})
        return
    from ppacer.cli.screen import Column, Row, Screen
    from ppacer.cli.words import relative
    from ppacer.clock import SystemClock

    screen, now = Screen(), SystemClock().now().utc
    if not executors:
        screen.line("no executor yet: ppacer executor FILE --scheduler URL")
        return
    columns = [
        Column("EXECUTOR", flexible=True),
        Column("STATE"),
        Column("RUNS", keep=8, right=True),
        Column("LABELS", keep=6, flexible=True),
        Column("CODE", keep=5),
        Column("HEARD OF", keep=7),
        Column("HOST", keep=4),
        Column("NOTE", keep=3, flexible=True),
    ]
    rows: list[Row] = [
        [
            executor.name,
            _state(executor),
            f"{executor.running}/{executor.slots}",
            ", ".join(executor.labels),
            _code(executor),
            relative(executor.gone_at or executor.heartbeat_at, now),
            f"{executor.host}:{executor.pid}",
            screen.clean(executor.gone_reason or ""),
        ]
        for executor in executors
    ]
    screen.table(columns, rows)
    if not backend.is_live:
        screen.line(screen.paint("No scheduler is running: this is what the last one wrote down", "yellow"))


@click.command("drain")
@click.argument("executor")
@asking
def drain_command(backend: "Backend", executor: str, as_json: bool) -> None:
    """Give an EXECUTOR nothing new until it is undrained; what it runs it finishes."""
    done = backend.drain(executor)
    if as_json:
        print_json(done)
        return
    click.echo(f"{executor} is given nothing new until ppacer undrain {executor}; what it runs it finishes")


@click.command("undrain")
@click.argument("executor")
@asking
def undrain_command(backend: "Backend", executor: str, as_json: bool) -> None:
    """Give an EXECUTOR work again."""
    done = backend.undrain(executor)
    if as_json:
        print_json(done)
        return
    click.echo(f"{executor} is given work again")


def _state(executor: "ExecutorView") -> "Cell":
    from ppacer.cli.screen import Cell

    return Cell(executor.state, COLORS[executor.state])


def _code(executor: "ExecutorView") -> "Cell":
    """Whether it has loaded what the scheduler has."""
    from ppacer.cli.screen import Cell

    if not executor.differing_count:
        return Cell("same")
    return Cell(f"{executor.differing_count} differ", "yellow")


def _all(backend: "Backend") -> "list[ExecutorView]":
    from ppacer.store.views import PAGE_MAX

    executors = page = backend.executors(limit=PAGE_MAX)
    while len(page) == PAGE_MAX:
        page = backend.executors(after=page[-1].name, limit=PAGE_MAX)
        executors += page
    return executors
