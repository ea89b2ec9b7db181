"""`ppacer backfill`: run the points of the past that have no run, and look after that as one thing."""

from typing import TYPE_CHECKING, Any

import click

from ppacer.cli import exits
from ppacer.cli.options import asking, json_text, param_options, params_of, print_json

if TYPE_CHECKING:
    from ppacer.api.wire import BackfillDone, BackfillPlan
    from ppacer.cli.backend import Backend
    from ppacer.cli.screen import Cell, Screen
    from ppacer.store.views import BackfillDetail, BackfillView

SHAPES = {"RUNNING": "RUNNING", "DONE": "SUCCESS", "CANCELLED": "CANCELLED", "CANCELLING": "CANCELLED"}
"""States of backfills with the state of a run whose look they have; PAUSED looks as SCHEDULED does."""


@click.group("backfill")
def backfill_command() -> None:
    """Run the points of a range of the past that have no run: start, list, show, pause, unpause, cancel."""


def _number(ctx: click.Context, param: click.Parameter, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise click.BadParameter(
            f"{text!r} is not the number of a backfill; `ppacer backfill list` lists them"
        )
    return int(text)


numbered = click.argument("backfill_id", metavar="NUMBER", callback=_number)


@backfill_command.command("start")
@click.argument("dag")
@click.option(
    "--from", "begin", required=True, metavar="TIME",
    help="The begin of the range, such as 2026-01-01 or 2026-01-01T03:00Z.",
)  # fmt: skip
@click.option("--to", "end", metavar="TIME", help="Its end, which does not belong to it (now).")
@click.option(
    "--at-once", type=click.IntRange(1, 1_000), default=4, show_default=True, help="How many runs at once."
)
@click.option(
    "--newest-first", is_flag=True, help="Begin with the newest point; the oldest is first otherwise."
)
@param_options
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option(
    "--wait", is_flag=True, help="Wait for its end; the exit code tells whether every run succeeded."
)
@asking
def start_command(
    backend: "Backend",
    dag: str,
    begin: str,
    end: str | None,
    at_once: int,
    newest_first: bool,
    pairs: tuple[str, ...],
    document: str | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Start a backfill: the points of a DAG's schedule in a range get their runs, unless they have one.

    Times without a zone are on the clock of the schedule.
    """
    from ppacer.api.wire import BackfillWanted

    params = params_of(pairs, document)
    if dry_run:
        plan = backend.plan_backfill(dag, begin, end)
        _tell(as_json, plan, _plan_in_words(plan, at_once))
        return exits.OK
    done = backend.start_backfill(dag, BackfillWanted(begin, end, at_once, newest_first, params))
    if wait:
        return _wait(backend, done, as_json)
    _tell(as_json, done, f"backfill {done.backfill_id} of {dag} has begun: {_show_it(done.backfill_id)}")
    return exits.OK


def _plan_in_words(plan: "BackfillPlan", at_once: int) -> str:
    from ppacer.cli.words import exact, plural

    words = (
        f"{plan.dag_id} has {plural(plan.points, 'point')} from {exact(plan.from_ts)} "
        f"to {exact(plan.to_ts)} UTC, {plan.with_run:,} of them with a run"
    )
    if plan.first_ts is None or plan.last_ts is None:
        return f"{words}; there is nothing to do"
    which = f"from {exact(plan.first_ts)} to {exact(plan.last_ts)}" if plan.runs > 1 else exact(plan.first_ts)
    return f"{words}; a backfill would begin {plural(plan.runs, 'run')} ({which}), {at_once} at once"


def _wait(backend: "Backend", done: "BackfillDone", as_json: bool) -> int:
    from ppacer.cli.follow import WAIT_SECONDS, ended_by_ctrl_c, patiently

    number = done.backfill_id
    with ended_by_ctrl_c(f"backfill {number} goes on; end it with ppacer backfill cancel {number}"):
        if not as_json:
            click.echo(f"backfill {number} of {done.dag_id} has begun")
        detail = patiently(lambda: backend.backfill(number, wait=WAIT_SECONDS))
        while detail.backfill.ended_at is None:
            detail = patiently(lambda: backend.backfill(number, wait=WAIT_SECONDS))
    if as_json:
        print_json(detail)
    else:
        _show(detail, "")
    has_succeeded = detail.backfill.state == "DONE" and set(detail.runs) <= {"SUCCESS"}
    return exits.OK if has_succeeded else exits.FAILED


@backfill_command.command("list")
@click.option("--dag", "dag_id", metavar="DAG", help="Only backfills of this dag.")
@click.option("--before", type=click.IntRange(0), help="Only those with a lower number: the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many (20).")
@asking
def list_command(
    backend: "Backend", dag_id: str | None, before: int | None, limit: int, as_json: bool
) -> None:
    """List the backfills, newest first."""
    found = backend.backfills(dag_id=dag_id, before=before, limit=limit)
    if as_json:
        print_json({"backfills": found})
        return
    if not found:
        click.echo("no backfill yet: ppacer backfill start DAG --from TIME")
        return
    from ppacer.cli.screen import Column, Screen

    screen = Screen()
    columns = [
        Column("BACKFILL", right=True),
        Column("DAG", flexible=True),
        Column("STATE"),
        Column("POINTS", right=True),
        Column("AT ONCE", keep=4, right=True),
        Column("FROM (UTC)", keep=6),
        Column("TO (UTC)", keep=6),
        Column("BY", keep=5),
    ]
    screen.table(columns, [_row(screen, one) for one in found])


def _row(screen: "Screen", one: "BackfillView") -> "list[Cell | str]":
    return [
        str(one.backfill_id),
        one.dag_id,
        _state(screen, one),
        f"{one.position:,}/{one.points:,}",
        str(one.max_active_runs),
        f"{one.from_ts:%Y-%m-%d %H:%M}",
        f"{one.to_ts:%Y-%m-%d %H:%M}",
        one.created_by,
    ]


def _state(screen: "Screen", one: "BackfillView") -> "Cell":
    status = SHAPES.get(one.state, "SCHEDULED")
    return screen.state(status)._replace(text=f"{screen.shape(status)} {one.state}")


@backfill_command.command("show")
@numbered
@asking
def show_command(backend: "Backend", backfill_id: int, as_json: bool) -> None:
    """Show the backfill with this NUMBER: how far it is, how its runs went, what it waits for."""
    detail = backend.backfill(backfill_id)
    if as_json:
        print_json(detail)
    else:
        _show(detail, backend.why_backfill(backfill_id))


def _show(detail: "BackfillDetail", why: str) -> None:
    from ppacer.cli.screen import Screen
    from ppacer.cli.words import exact

    screen, one = Screen(), detail.backfill
    state = screen.painted(_state(screen, one))
    screen.line(f"backfill {one.backfill_id} of {screen.paint(one.dag_id, 'bold')}  {state}")
    order = "newest" if one.newest_first else "oldest"
    passed = f", {one.passed:,} of them had a run by then" if one.passed else ""
    facts = [
        ("range", f"{exact(one.from_ts)} to {exact(one.to_ts)} UTC"),
        ("started", f"{exact(one.created_at)} UTC by {one.created_by}"),
        (
            "points",
            f"{one.position:,} of {one.points:,}{passed}, {order} first, {one.max_active_runs} at once",
        ),
        ("runs", ", ".join(f"{count:,} {status}" for status, count in sorted(detail.runs.items())) or "none"),
    ]
    if one.params:
        facts.append(("params", screen.clean(json_text(one.params))))
    for name, value in facts:
        screen.line(f"  {screen.paint(f'{name:<8}', 'dim')}  {value}")
    if why:
        screen.line(f"\n{screen.clean(why)}")


@backfill_command.command("pause")
@numbered
@asking
def pause_command(backend: "Backend", backfill_id: int, as_json: bool) -> None:
    """Begin no more runs of a backfill until it is unpaused; its open runs go on."""
    done = backend.pause_backfill(backfill_id)
    again = f"it goes on with ppacer backfill unpause {backfill_id}"
    _tell(as_json, done, f"backfill {backfill_id} of {done.dag_id} is paused; {again}")


@backfill_command.command("unpause")
@numbered
@asking
def unpause_command(backend: "Backend", backfill_id: int, as_json: bool) -> None:
    """Let a backfill go on."""
    done = backend.unpause_backfill(backfill_id)
    _tell(as_json, done, f"backfill {backfill_id} of {done.dag_id} goes on: {_show_it(backfill_id)}")


@backfill_command.command("cancel")
@numbered
@asking
def cancel_command(backend: "Backend", backfill_id: int, as_json: bool) -> None:
    """End a backfill: it begins no more runs, and its open runs are cancelled."""
    done = backend.cancel_backfill(backfill_id)
    words = f"backfill {backfill_id} of {done.dag_id} ends as soon as its running tasks have"
    _tell(as_json, done, f"{words}: {_show_it(backfill_id)}")


def _show_it(backfill_id: int) -> str:
    return f"ppacer backfill show {backfill_id}"


def _tell(as_json: bool, value: Any, words: str) -> None:
    if as_json:
        print_json(value)
    else:
        click.echo(words)
