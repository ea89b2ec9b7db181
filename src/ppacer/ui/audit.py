"""The audit: who asked for what, from where, and what became of it."""

from datetime import datetime
from typing import Any

from ppacer.api.access import Permission
from ppacer.api.door import AUDIT, Door
from ppacer.api.parameters import choice, text, whole
from ppacer.scheduler.audit import DONE, NAMES
from ppacer.store.audits import AuditSearch
from ppacer.ui.addresses import address
from ppacer.ui.page import Page

ROWS_MAX = 50  # on one page
OUTCOMES = (DONE, "refused")


def show(
    door: Door,
    now: datetime,
    *,
    actor: str | None,
    command: str | None,
    dag: str | None,
    run: int | None,
    outcome: str | None,
    before: int | None,
) -> dict[str, Any]:
    """A page of what was asked for, newest first."""
    refused = None if outcome is None else outcome != DONE
    search = AuditSearch(dag or None, run, actor or None, command or None, refused, before)
    found = door.reads.find_audit(search, limit=ROWS_MAX)
    asked = {"actor": actor, "command": command, "dag": dag, "run": run, "outcome": outcome}
    named = {row.run_id for row in found.rows if row.run_id is not None}
    return {
        "rows": found.rows,
        "there": {run.run_id for run in door.reads.runs_of([*named])},  # the others are gone, or never were
        "looked": found.looked,
        "asked": asked,
        "is_asked": any(value is not None and value != "" for value in asked.values()),
        "commands": [*NAMES.values()],
        "outcomes": OUTCOMES,
        "first": url_of(asked) if before else None,
        "next": url_of({**asked, "before": found.before}) if found.before else None,
        "url_of": lambda **more: url_of({**asked, **more}),
    }


def url_of(asked: dict[str, Any]) -> str:
    """The address of a list of commands."""
    return address("/audit", **asked)


PAGE = Page(
    "/audit",
    "audit.html",
    show,
    lambda **_: (AUDIT,),
    query=(
        text("actor", "Only what this actor asked for."),
        text("command", "Only this command."),
        text("dag", "Only what concerned this dag."),
        whole("run", "Only what concerned this run."),
        choice("outcome", "Only what was done, or refused.", OUTCOMES),
        whole("before", "Only rows with a lower number: the page behind the last one."),
    ),
    tab="Audit",
    permission=Permission.ADMIN,
)
