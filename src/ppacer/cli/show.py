"""`ppacer show`, and the parts of it that other commands end with."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from ppacer.cli.options import asking, json_text, print_json, run_id_of
from ppacer.cli.runs import run_state, tell_if_stuck

if TYPE_CHECKING:
    from ppacer.cli.backend import Backend
    from ppacer.cli.screen import Screen
    from ppacer.store.views import AttemptView, ExecutorView, RunDetail, TaskView

ERROR_LINES_MAX = 20  # of the text of an error; the log has the rest
ERRORS_MAX = 5
RESULT_CHARS_MAX = 2_000
HASH_DIGITS = 8
ENDS = {"TIMED_OUT": "timed out", "LOST": "was lost too often", "REFUSED": "was refused too often"}
LOSSES = {"LOST": "lost", "HANDED_BACK": "handed back", "REFUSED": "refused"}


@click.command("show")
@click.argument("run")
@click.argument("task", required=False)
@asking
def show_command(backend: "Backend", run: str, task: str | None, as_json: bool) -> None:
    """Show a run with its tasks, or one TASK with its attempts.

    RUN is the number of a run, or a dag: then its newest run.
    """
    from ppacer.cli.screen import Screen
    from ppacer.clock import SystemClock

    detail = backend.run(run_id_of(backend, run))
    screen, now = Screen(), SystemClock().now().utc
    if task is not None:
        _show_task(backend, screen, detail, task, now, as_json)
    elif as_json:
        print_json(detail)
    else:
        show_run(screen, detail, now, _executors(backend, detail))
    if not as_json:
        tell_if_stuck(screen, backend, [detail.run])


def _executors(backend: "Backend", detail: "RunDetail") -> "list[ExecutorView] | None":
    """Those that could take what waits for a slot; None when nothing does, or nobody would give it."""
    from ppacer.store.views import PAGE_MAX

    is_waiting = backend.is_live and any(task.status == "SCHEDULED" for task in detail.tasks)
    return backend.executors(limit=PAGE_MAX) if is_waiting else None


def show_run(
    screen: "Screen", detail: "RunDetail", now: datetime, executors: "Sequence[ExecutorView] | None" = None
) -> None:
    """The run, its tasks, and the errors of those that failed; `executors`: that may take what is ready."""
    _show_head(screen, detail, now)
    if not detail.tasks:
        screen.line("the dag has no tasks")
        return
    screen.line()
    show_tasks(screen, detail, now, executors)
    show_errors(screen, detail)


def _show_head(screen: "Screen", detail: "RunDetail", now: datetime) -> None:
    from ppacer.cli.words import exact, relative, span

    run = detail.run
    screen.line(
        f"run {run.run_id} of {screen.paint(run.dag_id, 'bold')}  {screen.painted(run_state(screen, run))}"
    )
    facts = [("exec ts", f"{exact(run.exec_ts)} UTC, by {run.trigger}")]
    if run.started_at is None:
        facts.append(("created", f"{exact(run.inserted_at)} UTC, {relative(run.inserted_at, now)}"))
    else:
        facts.append(("started", f"{exact(run.started_at)} UTC, {relative(run.started_at, now)}"))
        facts.append(
            ("took", span((run.ended_at or now) - run.started_at) + ("" if run.ended_at else " so far"))
        )
    if run.params:
        facts.append(("params", screen.clean(json_text(run.params))))
    if run.restarts:
        facts.append(("restarts", str(run.restarts)))
    for name, value in facts:
        screen.line(f"  {screen.paint(f'{name:<8}', 'dim')}  {value}")


def show_tasks(
    screen: "Screen", detail: "RunDetail", now: datetime, executors: "Sequence[ExecutorView] | None" = None
) -> None:
    """The table of tasks; `executors` as for a run."""
    from ppacer.cli.screen import Column, Row
    from ppacer.cli.words import relative, took

    columns = [
        Column("TASK", flexible=True),
        Column("STATE"),
        Column("RETRY", keep=5),
        Column("STARTED", keep=6),
        Column("TOOK", keep=7, right=True),
        Column("NOTE", keep=8, flexible=True),
    ]
    states = {task.task_id: task.status for task in detail.tasks}
    losses = _losses(detail)
    rows: list[Row] = [
        [
            task.task_id,
            screen.state(task.status),
            _retry(task),
            relative(task.started_at, now) if task.started_at else "",
            took(task.started_at, task.ended_at, now),
            screen.clean(
                "; ".join(filter(None, (_note(task, states, now, executors), losses.get(task.task_id))))
            ),
        ]
        for task in detail.tasks
    ]
    screen.table(columns, rows)


def _retry(task: "TaskView") -> str:
    """Which retry it is at, of how many; lost attempts count as well, so it may be more than that."""
    if task.retry <= 0:
        return ""
    return f"{task.retry} of {task.retries}" if task.retry <= task.retries else str(task.retry)


def _losses(detail: "RunDetail") -> dict[str, str]:
    """Attempts that came to nothing without a fault of the task, in words, by task."""
    counts: dict[str, Counter[str]] = {}
    for attempt in detail.attempts:
        if attempt.reason in LOSSES:
            counts.setdefault(attempt.task_id, Counter())[LOSSES[attempt.reason]] += 1
    return {
        task_id: ", ".join(f"{count} attempt{'s' * (count > 1)} {word}" for word, count in words.items())
        for task_id, words in counts.items()
    }


def _note(
    task: "TaskView", states: dict[str, str], now: datetime, executors: "Sequence[ExecutorView] | None"
) -> str:
    from ppacer.cli.words import relative

    match task.status:
        case "FAILED_PENDING_RETRY":
            again = relative(task.retry_at, now) if task.retry_at and task.retry_at > now else "now"
            return f"again {again}; {first_line(task.error)}"
        case "FAILED":
            return first_line(task.error)
        case "RUNNING":
            return "lost, starts anew" if task.lost_at else ""
        case "NO_STATUS":
            waiting = [parent for parent in task.parents if states.get(parent) != "SUCCESS"]
            return f"for {', '.join(waiting[:3])}{' …' if len(waiting) > 3 else ''}" if waiting else ""
        case "SCHEDULED":
            from ppacer.api.why import short_slot

            return f"for {short_slot(task, executors)}"
    return ""


def show_errors(screen: "Screen", detail: "RunDetail") -> None:
    """The text of the errors of the tasks that failed, as far as it fits a screen."""
    failed = [task for task in detail.tasks if task.status == "FAILED" and task.error]
    for task in failed[:ERRORS_MAX]:
        screen.line()
        how = ENDS.get(task.reason or "", "failed")
        screen.line(screen.paint(f"{task.task_id} {how}:", "red"))
        show_text(screen, task.error or "")
    if len(failed) > ERRORS_MAX:
        screen.line(f"\n… and {len(failed) - ERRORS_MAX} more; ppacer logs {detail.run.run_id} --level ERROR")


def show_text(screen: "Screen", text: str) -> None:
    """The end of a long text, indented."""
    lines = screen.clean(text.rstrip()).splitlines()
    if len(lines) > ERROR_LINES_MAX:
        screen.line(f"  … {len(lines) - ERROR_LINES_MAX} lines before")
    for line in lines[-ERROR_LINES_MAX:]:
        screen.line(f"  {line}".rstrip())


def _show_task(
    backend: "Backend", screen: "Screen", detail: "RunDetail", task_id: str, now: datetime, as_json: bool
) -> None:
    from ppacer.errors import NotFoundError

    task = next((task for task in detail.tasks if task.task_id == task_id), None)
    if task is None:
        raise NotFoundError(f"run {detail.run.run_id} of {detail.run.dag_id} has no task {task_id!r}")
    attempts = [attempt for attempt in detail.attempts if attempt.task_id == task_id]
    result = backend.result(detail.run.run_id, task_id) if task.status == "SUCCESS" else "null"
    if as_json:
        import msgspec

        print_json({"task": task, "attempts": attempts, "result": msgspec.Raw(result.encode())})
        return
    run = detail.run
    state = screen.painted(screen.state(task.status))
    screen.line(f"{screen.paint(task_id, 'bold')} in run {run.run_id} of {run.dag_id}  {state}")
    if task.parents:
        screen.line(f"  {screen.paint('after', 'dim')}  {', '.join(task.parents)}")
    if attempts:
        screen.line()
        _show_attempts(screen, attempts, now)
    if result != "null":
        screen.line(f"\nreturned {screen.clean(_shortened(result))}")


def _show_attempts(screen: "Screen", attempts: "list[AttemptView]", now: datetime) -> None:
    from ppacer.cli.screen import Column, Row
    from ppacer.cli.words import exact, span, took

    columns = [
        Column("RETRY", right=True),
        Column("STATE"),
        Column("REASON", keep=8),
        Column("STARTED (UTC)", keep=6),
        Column("TOOK", keep=7, right=True),
        Column("MEMORY", keep=4, right=True),
        Column("CPU", keep=2, right=True),
        Column("CODE", keep=5),
        Column("EXECUTOR", keep=3, flexible=True),
    ]
    is_mixed = len({attempt.body_hash for attempt in attempts} - {None}) > 1  # else nobody needs to compare
    rows: list[Row] = [
        [
            str(attempt.retry),
            screen.state(attempt.status),
            attempt.reason or "",
            exact(attempt.started_at)[:19] if attempt.started_at else "",
            took(attempt.started_at, attempt.ended_at, now),
            f"{attempt.peak_memory / 2**20:.0f} MB" if attempt.peak_memory else "",
            "" if attempt.cpu_seconds is None else span(timedelta(seconds=attempt.cpu_seconds)),
            (attempt.body_hash or "")[:HASH_DIGITS] if is_mixed else "",
            attempt.executor or "",
        ]
        for attempt in attempts
    ]
    screen.table(columns, rows)
    for attempt in attempts:
        if attempt.error:
            screen.line()
            which = f"retry {attempt.retry}" if attempt.retry else "first attempt"
            screen.line(screen.paint(f"{which}:", "red"))
            show_text(screen, attempt.error)


def first_line(text: str | None) -> str:
    """The first line of an error, which says what happened; the rest is details."""
    lines = (text or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def _shortened(text: str) -> str:
    if len(text) <= RESULT_CHARS_MAX:
        return text
    return f"{text[:RESULT_CHARS_MAX]} … ({len(text):,} characters; --json has all)"
