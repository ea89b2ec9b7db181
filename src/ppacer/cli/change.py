"""The commands that change something: `trigger`, `cancel`, `restart`, `pause`, `unpause`."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from ppacer.cli import exits
from ppacer.cli.options import asking, param_options, params_of, print_json
from ppacer.errors import ConfigError

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.store.views import RunDetail


def _number(ctx: click.Context, param: click.Parameter, text: str) -> int:
    """The number of a run. No dag for its newest run here: a moment later that may be another one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise click.BadParameter(f"{text!r} is not the number of a run; `ppacer runs` lists them")
    return int(text)


def _time(ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:
    """A time as ISO 8601 writes it; that it has a zone the scheduler asks for."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--exec-ts {text} is not a time such as 2026-01-31T03:00:00Z") from None


@click.command("trigger")
@click.argument("dag")
@param_options
@click.option(
    "--exec-ts", metavar="TIME", callback=_time,
    help="The execution time of the run (now): a day that has no run, such as 2026-01-31T03:00:00Z.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait for the end of the run; the exit code tells how it went.")
@asking
def trigger_command(
    backend: "Backend",
    dag: str,
    pairs: tuple[str, ...],
    document: str | None,
    exec_ts: datetime | None,
    wait: bool,
    as_json: bool,
) -> int:
    """Start a run of a DAG now."""
    done = backend.trigger(dag, params_of(pairs, document), exec_ts)
    assert done.run_id is not None
    if not wait:
        _tell(as_json, done, f"run {done.run_id} of {dag} has begun: ppacer logs {done.run_id} -f")
        return exits.OK
    return _wait(backend, done.run_id, dag, as_json)


def _wait(backend: "Backend", run_id: int, dag: str, as_json: bool) -> int:
    from ppacer.cli.follow import ended_by_ctrl_c, until_ended

    with ended_by_ctrl_c(f"run {run_id} goes on; end it with ppacer cancel {run_id}"):
        if not as_json:
            click.echo(f"run {run_id} of {dag} has begun")
        detail = until_ended(backend, run_id)
    if as_json:
        print_json(detail)
    else:
        _show_end(detail)
    return exits.OK if detail.run.status == "SUCCESS" else exits.FAILED


def _show_end(detail: "RunDetail") -> None:
    from ppacer.cli.screen import Screen
    from ppacer.cli.show import show_run
    from ppacer.clock import SystemClock

    show_run(Screen(), detail, SystemClock().now().utc)


@click.command("cancel")
@click.argument("run", callback=_number)
@asking
def cancel_command(backend: "Backend", run: int, as_json: bool) -> None:
    """End the RUN with this number: waiting tasks at once, running ones are stopped."""
    done = backend.cancel(run)
    _tell(
        as_json, done, f"run {run} of {done.dag_id} ends as soon as its running tasks have: ppacer show {run}"
    )


@click.command("restart")
@click.argument("run", callback=_number)
@asking
def restart_command(backend: "Backend", run: int, as_json: bool) -> None:
    """Let the failed or cancelled RUN go on: what has succeeded stays, the rest runs again."""
    done = backend.restart(run)
    _tell(as_json, done, f"run {run} of {done.dag_id} goes on: ppacer logs {run} -f")
    if done.note and not as_json:
        click.echo(f"mind that {done.note}", err=True)


@click.command("pause")
@click.argument("dag")
@asking
def pause_command(backend: "Backend", dag: str, as_json: bool) -> None:
    """Begin no scheduled runs of a DAG until it is unpaused; open runs go on, and it can be triggered."""
    done = backend.pause(dag)
    _tell(as_json, done, f"{dag} is paused; points of its schedule are skipped until ppacer unpause {dag}")


@click.command("unpause")
@click.argument("dag")
@asking
def unpause_command(backend: "Backend", dag: str, as_json: bool) -> None:
    """Begin scheduled runs of a DAG again, from now on; also one that was disabled."""
    done = backend.unpause(dag)
    if as_json:
        print_json(done)
        return
    click.echo(backend.why_dag(dag))


def _tell(as_json: bool, done: object, words: str) -> None:
    if as_json:
        print_json(done)
    else:
        click.echo(words)
