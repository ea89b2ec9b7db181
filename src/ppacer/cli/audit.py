"""`ppacer audit`: the commands that were given, carried out or refused."""

from typing import TYPE_CHECKING

import click

from ppacer.cli.options import asking, print_json

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.store.views import AuditView


@click.command("audit")
@click.option("--dag", "dag_id", help="Only what was about this dag.")
@click.option("--run", "run_id", type=click.IntRange(0), help="Only what was about the run of this number.")
@click.option("--actor", help="Only what this token did; local: who needed none.")
@click.option("--command", help="Only this command, such as trigger.")
@click.option("--before", type=click.IntRange(0), help="Only rows with a lower number: the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="How many (20).")
@asking
def audit_command(
    backend: "Backend",
    dag_id: str | None,
    run_id: int | None,
    actor: str | None,
    command: str | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the commands that were given, newest first: who, from where, what, and what became of it."""
    page = backend.audit(
        dag_id=dag_id, run_id=run_id, actor=actor, command=command, before=before, limit=limit
    )
    if as_json:
        print_json(page)
        return
    if not page.audit:
        click.echo("no such command was given")
        return
    from ppacer.cli.screen import Column, Screen

    screen = Screen()
    names = ("NUMBER", "TIME (UTC)", "ACTOR", "ADDRESS", "COMMAND", "DAG", "RUN", "OUTCOME")
    columns = [Column(name, right=name in ("NUMBER", "RUN")) for name in names]
    rows = [
        [
            str(one.audit_id),
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            one.actor,
            one.address or "",
            one.command,
            one.dag_id or "",
            "" if one.run_id is None else str(one.run_id),
            one.outcome,
            screen.clean(_about(one)),
        ]
        for one in page.audit
    ]
    screen.table([*columns, Column("ABOUT", keep=3, flexible=True)], rows)
    if page.next is not None and page.next > 1:
        click.echo(f"older ones: --before {page.next}", err=True)


def _about(one: "AuditView") -> str:
    """Why it was refused, and what it was given besides a dag and a run."""
    given = [f"{name}={value}" for name, value in one.details.items() if value not in (None, {}, [])]
    return "; ".join([*([one.error] if one.error else []), *given])
