"""Every state explains itself in a sentence; here all of them can be read one after the other."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ppacer.api.why import about, why_dag, why_latest, why_open, why_run, why_task
from ppacer.engine import RunStatus, TaskStatus
from ppacer.store.views import LOST, DagView, ExecutorView, RunDetail, RunView, TasksAt, TaskView

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def dag(**facts: Any) -> DagView:
    """A dag with a schedule, about to run in an hour."""
    usual: dict[str, Any] = {
        "dag_id": "etl",
        "schedule": "Cron: 0 13 * * * (UTC)",
        "tags": [],
        "next_at": at(3600),
        "paused_at": None,
        "disabled_reason": None,
        "removed_at": None,
        "version": "v",
        "catch_up": False,
        "max_active_runs": 2,
        "params_schema": None,
        "running": 0,
        "waiting": 0,
        "latest": None,
    }
    return DagView(**(usual | facts))


def task(task_id: str = "load", status: str = TaskStatus.SUCCESS, **facts: Any) -> TaskView:
    """A task at its first attempt, begun ten seconds ago."""
    none = status in (TaskStatus.NO_STATUS, TaskStatus.UPSTREAM_FAILED)
    usual: dict[str, Any] = {
        "parents": [],
        "retry": -1 if status == TaskStatus.NO_STATUS else 0,
        "retries": 2,
        "executor": None if none else "local",
        "inserted_at": None if none else at(-10),
        "started_at": None if none or status == TaskStatus.SCHEDULED else at(-10),
    }
    return TaskView(task_id=task_id, status=status, **(usual | facts))


def run(status: str, *tasks: TaskView, **facts: Any) -> RunDetail:
    """Run 7 of etl, begun a minute ago and over a second ago."""
    usual: dict[str, Any] = {
        "run_id": 7,
        "dag_id": "etl",
        "exec_ts": at(-60),
        "status": status,
        "trigger": "manual",
        "version": "v",
        "restarts": 0,
        "inserted_at": at(-60),
        "started_at": None if status == RunStatus.SCHEDULED else at(-60),
        "ended_at": at(-1) if status in ("SUCCESS", "FAILED", "CANCELLED") else None,
        "cancel_requested_at": None,
        "params": {},
    }
    return RunDetail(RunView(**(usual | facts)), list(tasks), [])


TRACEBACK = (
    "ValueError: no such table\n\nTraceback (most recent call last):\n  File …\nValueError: no such table"
)

DAGS = [
    (
        dag(),
        "etl runs next at 2026-03-02 13:00:00 UTC (in 1h), by Cron: 0 13 * * * (UTC).",
    ),
    (
        dag(running=2),
        (
            "etl runs next at 2026-03-02 13:00:00 UTC (in 1h), by Cron: 0 13 * * * (UTC). Until then "
            "one of its runs must end: 2 runs of it are running, and max_active_runs is 2; see `ppacer "
            "runs --dag etl --status RUNNING`."
        ),
    ),
    (
        dag(next_at=at(-5)),
        "etl is due since 2026-03-02 11:59:55 UTC, and its run begins at the next step of the scheduler.",
    ),
    (
        dag(next_at=at(-5), running=1, max_active_runs=1),
        (
            "etl was due at 2026-03-02 11:59:55 UTC and waits until one of its runs ends: 1 run of it "
            "is running, and max_active_runs is 1; see `ppacer runs --dag etl --status RUNNING`."
        ),
    ),
    (
        dag(schedule=None, next_at=None),
        "etl has no schedule; it runs when triggered: `ppacer trigger etl`.",
    ),
    (
        dag(schedule=None, next_at=None, running=1),
        (
            "etl has no schedule; it runs when triggered: `ppacer trigger etl`. 1 run of it is open; see "
            "`ppacer runs --dag etl`."
        ),
    ),
    (
        dag(schedule=None, next_at=None, running=1, waiting=2),
        (
            "etl has no schedule; it runs when triggered: `ppacer trigger etl`. 3 runs of it are open; see "
            "`ppacer runs --dag etl`."
        ),
    ),
    (
        dag(next_at=None),
        "etl gets no more runs by its schedule (Cron: 0 13 * * * (UTC)), which has come to its end.",
    ),
    (
        dag(paused_at=at(-60)),
        (
            "etl is paused since 2026-03-02 11:59:00 UTC, and the points of its schedule are skipped. "
            "It goes on with `ppacer unpause etl`, and runs by hand even now: `ppacer trigger etl`."
        ),
    ),
    (
        dag(paused_at=at(-60), schedule=None, next_at=None),
        (
            "etl is paused since 2026-03-02 11:59:00 UTC. It goes on with `ppacer unpause etl`, and "
            "runs by hand even now: `ppacer trigger etl`."
        ),
    ),
    (
        dag(disabled_reason="schedule 'tides' raised KeyError: 'moon'", next_at=None),
        (
            "etl is disabled, because its schedule failed: schedule 'tides' raised KeyError: 'moon'. "
            "Mend it and restart the scheduler, or try again with `ppacer unpause etl`. Meanwhile it "
            "runs only by hand: `ppacer trigger etl`."
        ),
    ),
    (
        dag(removed_at=at(-86400), disabled_reason="old", paused_at=at(-99999)),
        (
            "etl gets no runs: since 2026-03-01 12:00:00 UTC it is not among the dags that are served. "
            "To bring it back, put it into the file again and restart the scheduler."
        ),
    ),
]

FAILED = task("load", TaskStatus.FAILED, retry=2, reason="FAILED", error=TRACEBACK)

RUNS = [
    (
        run("SUCCESS", task("a"), task("b")),
        "run 7 of etl succeeded: all 2 tasks did, in 59s.",
    ),
    (run("SUCCESS", task("a")), "run 7 of etl succeeded: its only task did, in 59s."),
    (run("SUCCESS"), "run 7 of etl succeeded: its dag has no tasks."),
    (
        run("SUCCESS", task("a"), task("b"), restarts=2),
        "run 7 of etl succeeded after 2 restarts: all 2 tasks did.",
    ),
    (
        run("FAILED", task("a"), FAILED),
        (
            "run 7 of etl failed: load failed at retry 2: ValueError: no such table. Once the cause is "
            "mended, `ppacer restart 7` tries again what failed and what comes after it."
        ),
    ),
    (
        run(
            "FAILED",
            task("a", TaskStatus.FAILED, reason="TIMED_OUT", error="timed out after 10m"),
            FAILED,
            task("c", TaskStatus.FAILED, reason="LOST", error="lost"),
            restarts=1,
        ),
        (
            "run 7 of etl failed after 1 restart: a failed at its first attempt: timed out after 10m. "
            "load and c failed too. Once the cause is mended, `ppacer restart 7` tries again what "
            "failed and what comes after it."
        ),
    ),
    (
        run("CANCELLED", task("a", TaskStatus.CANCELLED), cancel_requested_at=at(-30)),
        "run 7 of etl was cancelled at 2026-03-02 11:59:30 UTC. It goes on with `ppacer restart 7`.",
    ),
    (
        run("SCHEDULED", task("a", TaskStatus.NO_STATUS)),
        "run 7 of etl begins at the next step of the scheduler.",
    ),
    (
        run(
            "RUNNING",
            task("a"),
            task("b", TaskStatus.RUNNING),
            task("c", TaskStatus.RUNNING),
            task("d", TaskStatus.SCHEDULED),
            task("e", TaskStatus.FAILED_PENDING_RETRY, retry_at=at(90)),
            task("f", TaskStatus.RUNNING, lost_at=at(-1)),
            task("g", TaskStatus.FAILED, lost_at=at(-1)),
            task("h", TaskStatus.UPSTREAM_FAILED),
            task("i", TaskStatus.NO_STATUS),
        ),
        (
            "run 7 of etl is running: 1 of 9 tasks succeeded; b and c are running; f is lost and "
            "starts anew; d waits for a free slot of an executor; e failed and is tried again at "
            "2026-03-02 12:01:30 UTC (in 1m30s); g failed."
        ),
    ),
    (
        run("RUNNING", *(task(f"t{n}", TaskStatus.RUNNING) for n in range(8))),
        "run 7 of etl is running: 0 of 8 tasks succeeded; t0, t1, t2, t3, t4 and 3 more are running.",
    ),
    (
        run(
            "RUNNING",
            task("a", TaskStatus.RUNNING),
            task("b", TaskStatus.CANCELLED),
            cancel_requested_at=at(-3),
        ),
        (
            "run 7 of etl is being cancelled since 2026-03-02 11:59:57 UTC; it ends when its running "
            "tasks have: 0 of 2 tasks succeeded; a is running."
        ),
    ),
]

SECOND = task("b", TaskStatus.NO_STATUS, parents=["a"])
ABOVE = [TaskStatus.RUNNING, TaskStatus.SCHEDULED, TaskStatus.FAILED_PENDING_RETRY, TaskStatus.NO_STATUS]

TASKS = [
    (
        run("SUCCESS", task(ended_at=at(-8.75))),
        "load in run 7 of etl succeeded at its first attempt, in 1.25s.",
    ),
    (
        run("SUCCESS", task(retry=2, ended_at=at(-9.99))),
        "load in run 7 of etl succeeded at retry 2, in 10ms.",
    ),
    (
        run("RUNNING", task(status=TaskStatus.RUNNING)),
        (
            "load in run 7 of etl is running since 2026-03-02 11:59:50 UTC (for 10s) at its first "
            "attempt, on executor local."
        ),
    ),
    (
        run("RUNNING", task(status=TaskStatus.RUNNING, retry=1), cancel_requested_at=at(-1)),
        (
            "load in run 7 of etl is running since 2026-03-02 11:59:50 UTC (for 10s) at retry 1, on "
            "executor local. It was told to end."
        ),
    ),
    (
        run("RUNNING", task(status=TaskStatus.RUNNING, lost_at=at(-1))),
        (
            "load in run 7 of etl is lost since 2026-03-02 11:59:59 UTC: its executor local was not "
            "heard of any more. It starts anew in the next free slot, which costs no retry."
        ),
    ),
    (
        run("RUNNING", task(status=TaskStatus.SCHEDULED)),
        (
            "load in run 7 of etl is ready since 2026-03-02 11:59:50 UTC and waits for a free slot of "
            "an executor."
        ),
    ),
    (
        run(
            "RUNNING",
            task(
                status=TaskStatus.FAILED_PENDING_RETRY,
                reason="FAILED",
                error=TRACEBACK,
                retry_at=at(5400),
            ),
        ),
        (
            "load in run 7 of etl failed at its first attempt: ValueError: no such table. It is tried "
            "again at 2026-03-02 13:30:00 UTC (in 1h30m)."
        ),
    ),
    (
        run(
            "RUNNING",
            task(
                status=TaskStatus.FAILED_PENDING_RETRY,
                retry=1,
                reason="HANDED_BACK",
                error="handed back unfinished: the executor is stopping",
                retry_at=at(-1),
            ),
        ),
        (
            "load in run 7 of etl was interrupted at retry 1: handed back unfinished: the executor is "
            "stopping. It is tried again now."
        ),
    ),
    (
        run("FAILED", FAILED),
        (
            "load in run 7 of etl failed at retry 2 and is not tried again: ValueError: no such table. "
            "To try again: `ppacer restart 7`."
        ),
    ),
    (
        run("RUNNING", FAILED),
        (
            "load in run 7 of etl failed at retry 2 and is not tried again: ValueError: no such table. "
            "When the run has ended: `ppacer restart 7`."
        ),
    ),
    (
        run("FAILED", task(status=TaskStatus.FAILED, reason="REFUSED", error=None)),
        (
            "load in run 7 of etl was refused at its first attempt and is not tried again: it left no "
            "text. To try again: `ppacer restart 7`."
        ),
    ),
    (
        run(
            "FAILED",
            task("c", TaskStatus.UPSTREAM_FAILED, parents=["b", "x"]),
            task("b", TaskStatus.UPSTREAM_FAILED, parents=["a"]),
            task("a", TaskStatus.FAILED),
            task("x", TaskStatus.FAILED),
        ),
        "c in run 7 of etl was not started, because x and a failed. To try again: `ppacer restart 7`.",
    ),
    (
        run("CANCELLED", task(status=TaskStatus.CANCELLED, started_at=None)),
        (
            "load in run 7 of etl was cancelled with its run before it began. To try again: `ppacer "
            "restart 7`."
        ),
    ),
    (
        run("CANCELLED", task(status=TaskStatus.CANCELLED, retry=1)),
        "load in run 7 of etl was cancelled with its run at retry 1. To try again: `ppacer restart 7`.",
    ),
    (
        run("SUCCESS", task(status=TaskStatus.SKIPPED, started_at=None)),
        "load in run 7 of etl was skipped.",
    ),
    (
        run("SCHEDULED", SECOND, task("a", TaskStatus.NO_STATUS)),
        "b in run 7 of etl waits for its run to begin; see `ppacer why 7`.",
    ),
    (
        run(
            "RUNNING",
            task("z", TaskStatus.NO_STATUS, parents=["done", "p0", "p1", "p2", "p3"]),
            task("done"),
            *(task(f"p{n}", status) for n, status in enumerate(ABOVE)),
        ),
        (
            "z in run 7 of etl waits for p0 (running), p1 (waits for a free slot), p2 (failed, to be "
            "tried again) and p3 (not started)."
        ),
    ),
    (
        run("RUNNING", SECOND, task("a")),
        "b in run 7 of etl waits for the next step of the scheduler.",
    ),
]


@pytest.mark.parametrize(
    ("view", "words"), DAGS, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_dag_says_why_it_does_or_does_not_run(view: DagView, words: str) -> None:
    assert why_dag(view, NOW, True) == words


@pytest.mark.parametrize(
    ("detail", "words"), RUNS, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_run_says_why_it_is_where_it_is(detail: RunDetail, words: str) -> None:
    assert why_run(dag(running=1), detail, NOW, True) == words


def test_a_dag_says_that_its_latest_run_has_failed() -> None:
    failed = msgspec.structs.replace(dag(), latest=run("FAILED", FAILED).run)
    assert why_latest(failed) == " Its latest run, 7, has failed; see `ppacer why 7`."
    for view in (dag(), msgspec.structs.replace(dag(), latest=run("RUNNING", task("a")).run)):
        assert why_latest(view) == ""


def test_a_run_that_waits_for_room_says_for_which() -> None:
    waiting = run("SCHEDULED", task("a", TaskStatus.NO_STATUS))
    assert why_run(dag(running=2, waiting=1), waiting, NOW, True) == (
        "run 7 of etl waits until another run ends: 2 runs of the dag are running, and max_active_runs is 2."
    )


@pytest.mark.parametrize(
    ("detail", "words"), TASKS, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_task_says_why_it_is_where_it_is(detail: RunDetail, words: str) -> None:
    assert why_task(detail, detail.tasks[0], NOW, True) == words


def test_no_status_of_a_run_or_task_is_left_out() -> None:
    assert {detail.run.status for detail, _ in RUNS} == set(RunStatus)
    assert {detail.tasks[0].status for detail, _ in TASKS} == set(TaskStatus)


def test_what_waits_for_a_scheduler_says_that_none_runs() -> None:
    """And what waits for nobody does not."""
    nobody = "But no scheduler is running; start it with `ppacer serve`."
    for view, words in DAGS:
        waits = view.next_at is not None or (view.schedule is None and view.running)
        waits = waits and view.removed_at is None and view.paused_at is None
        assert why_dag(view, NOW, False) == (f"{words} {nobody}" if waits else words)
    for detail, words in RUNS:
        waits = detail.run.ended_at is None
        assert why_run(dag(running=1), detail, NOW, False) == (f"{words} {nobody}" if waits else words)
    for detail, words in TASKS:
        final = detail.tasks[0].status in ("SUCCESS", "FAILED", "UPSTREAM_FAILED", "CANCELLED", "SKIPPED")
        assert why_task(detail, detail.tasks[0], NOW, False) == (words if final else f"{words} {nobody}")


def test_every_sentence_is_one_and_names_what_it_is_about() -> None:
    said = [words for _, words in [*DAGS, *RUNS, *TASKS]]
    for words in said:
        assert words.endswith(".")
        assert "etl" in words
        assert "\n" not in words
        assert not re.search(r"None|\.\.|  |\b1 (tasks|runs|restarts)\b|datetime|<", words), words


def test_a_long_error_is_cut_and_a_strange_one_does_not_break_the_sentence() -> None:
    long = task(status=TaskStatus.FAILED, reason="FAILED", error="x" * 10_000)
    assert len(why_task(run("FAILED", long), long, NOW, True)) < 700
    for error in ("", "\n\n", "  what? ", "ends.\nmore"):
        odd = task(status=TaskStatus.FAILED, reason="FAILED", error=error)
        words = why_task(run("FAILED", odd), odd, NOW, True)
        assert ".." not in words
        assert "\n" not in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.0000004, "0s"),
        (0.037074, "37ms"),
        (0.9996, "1s"),
        (1.2543, "1.25s"),
        (9.999, "10s"),
        (42.4, "42s"),
        (90, "1m30s"),
        (3599.6, "1h"),
        (5434, "1h31m"),
        (2 * 86400 + 4.4 * 3600, "2d4h"),
        (-5, "0s"),
    ],
)
def test_a_duration_is_told_as_exactly_as_people_want_it(seconds: float, words: str) -> None:
    assert about(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_of_another_version_says_what_a_restart_does_not_bring(status: str) -> None:
    kept = "keeps the order, timeouts and retries with which it began"
    ended = run(status, task(status=TaskStatus(status)))
    assert kept not in why_run(dag(), ended, NOW, True)
    assert kept in why_run(dag(version="w"), ended, NOW, True)


START = "`ppacer executor FILE --scheduler URL"
NONE = "none of the 2 that are up does: start one with"
DASK = "--runner dask`."
ONLY = "local, the only one, does not: start one with"


def up(
    name: str, *labels: str, runners: tuple[str, ...] = ("process",), state: str = "UP", drained: bool = False
) -> ExecutorView:
    facts = {"host": "h", "pid": 1, "version": "1", "protocol": 2, "slots": 4, "running": 0, "dags": 1}
    times = {"started_at": NOW, "heartbeat_at": NOW, "gone_at": None, "gone_reason": None}
    times |= {"drain_asked_at": NOW if drained else None}
    lists = {"labels": [*labels], "runners": [*runners], "differing": [], "differing_count": 0}
    return ExecutorView(name=name, state=state, **facts, **times, **lists)  # type: ignore[arg-type]  # mixed


DRAINED = up("b", state="DRAINING", drained=True)


@pytest.mark.parametrize(
    ("facts", "executors", "words"),
    [
        ({}, [up("a")], "a free slot of an executor."),
        ({"labels": ["gpu"]}, [up("a"), up("b", "gpu")], "a free slot of an executor that carries gpu."),
        (
            {"labels": ["big", "gpu"]},
            [up("a"), up("b", "gpu")],
            f"an executor that carries big and gpu; {NONE} {START} --label big --label gpu`.",
        ),
        (
            {"runner": "dask", "labels": ["gpu"]},
            [up("local", "gpu")],
            f"an executor that carries gpu and has the runner dask; {ONLY} {START} --label gpu {DASK}",
        ),
        (
            {},
            [up("a", state="DRAINING", drained=True)],
            "an executor; a is one, but drained: `ppacer undrain a` gives it work.",
        ),
        (
            {},
            [up("a", state="GONE")],
            "an executor, and none is up: start one with `ppacer executor FILE --scheduler URL`.",
        ),
    ],
)
def test_a_ready_task_says_which_executor_it_waits_for(
    facts: dict[str, Any], executors: list[ExecutorView], words: str
) -> None:
    waiting = task(status=TaskStatus.SCHEDULED, **facts)
    said = why_task(run(RunStatus.RUNNING, waiting), waiting, NOW, True, executors)
    assert said == f"load in run 7 of etl is ready since 2026-03-02 11:59:50 UTC and waits for {words}"


def test_a_run_says_it_of_all_that_waits() -> None:
    waiting = [task(id, TaskStatus.SCHEDULED) for id in ("a", "b")] + [
        task("c", TaskStatus.SCHEDULED, labels=["gpu"])
    ]
    executors = [up("local", state="DRAINING", drained=True), up("far", "gpu", state="GONE")]
    said = why_run(dag(), run(RunStatus.RUNNING, *waiting), NOW, True, executors)
    drained = "a and b wait for an executor; local is one, but drained: `ppacer undrain local` gives it work"
    assert drained in said
    assert "; c waits for an executor that carries gpu, and none is up: start one with" in said


@pytest.mark.parametrize(
    ("executors", "words"),
    [
        ([up("a")], "mail waits for a free slot"),
        ([up("a"), DRAINED], "mail waits for a free slot"),
        ([DRAINED], "mail waits for an executor: b is drained"),
        (
            [DRAINED, up("c", state="DRAINING", drained=True)],
            "mail waits for an executor: b and c are drained",
        ),
        ([up("a", state="GONE")], "mail waits for an executor: none is up"),
        ([], "mail waits for an executor: none is up"),
    ],
)
def test_a_list_says_when_nobody_takes_what_waits(executors: list[ExecutorView], words: str) -> None:
    assert why_open(run(RunStatus.RUNNING).run, None, [WAITING], NOW, True, executors) == words


GPU = "an executor that carries gpu"


@pytest.mark.parametrize(
    ("executors", "words"),
    [
        (None, "a free slot"),
        ([up("a"), up("b", "gpu")], "a free slot"),
        ([up("a"), up("b", "gpu", state="GONE")], f"{GPU}: none that is up does"),
        ([up("a"), up("b", "gpu", state="DRAINING", drained=True)], f"{GPU}: b is drained"),
        ([up("b", "gpu", state="DRAINING")], f"{GPU}: none is up"),
        ([DRAINED], f"{GPU}: none is up"),
    ],
)
def test_a_list_says_what_tasks_need_that_no_executor_has(
    executors: list[ExecutorView] | None, words: str
) -> None:
    at = [TasksAt("SCHEDULED", 2, "a", "b", None, ["gpu"])]
    assert why_open(run("RUNNING").run, None, at, NOW, True, executors) == f"a and b wait for {words}"
    ready = task("a", TaskStatus.SCHEDULED, labels=["gpu"])
    after = task("z", TaskStatus.NO_STATUS, parents=["a"])
    said = why_task(run("RUNNING", ready, after), after, NOW, True, executors)
    assert said == f"z in run 7 of etl waits for a (waits for {words})."
    has_slot = "waits for a free slot" in why_task(run("RUNNING", ready), ready, NOW, True, executors)
    assert has_slot == (words == "a free slot"), "the list and `why` decide the same"


RUNNING, WAITING = TasksAt("RUNNING", 2, "clean", "load", None), TasksAt("SCHEDULED", 1, "mail", "mail", None)
AGAIN = TasksAt("FAILED_PENDING_RETRY", 1, "join", "join", at(30))
DONE = TasksAt("SUCCESS", 12, "a", "z", None)
OPEN = [
    (run("RUNNING"), [RUNNING], "clean and load are running"),
    (
        run("RUNNING"),
        [DONE, WAITING, AGAIN, RUNNING],
        (
            "clean and load are running; join failed and is tried again in 30s; mail waits for a free slot; "
            "12 tasks succeeded"
        ),
    ),
    (run("RUNNING"), [TasksAt(LOST, 7, "a", "z", None)], "a, z and 5 more are lost and start anew"),
    (
        run("RUNNING"),
        [TasksAt("FAILED_PENDING_RETRY", 1, "a", "a", at(-1))],
        "a failed and is tried again now",
    ),
    (run("RUNNING"), [TasksAt("CANCELLED", 1, "a", "a", None)], "goes on at the next step of the scheduler"),
    (run("SCHEDULED"), [], "begins at the next step of the scheduler"),
    (run("RUNNING", cancel_requested_at=at(-1)), [DONE, RUNNING], "ends when clean and load have ended"),
    (run("RUNNING", cancel_requested_at=at(-1)), [DONE], "is about to end"),
]


@pytest.mark.parametrize(("detail", "tasks", "words"), OPEN)
def test_why_an_open_run_of_a_list(detail: RunDetail, tasks: list[TasksAt], words: str) -> None:
    assert why_open(detail.run, dag(), tasks, NOW, is_live=True) == words
    assert why_open(detail.run, dag(), tasks, NOW, is_live=False) == "no scheduler is running"


def test_why_a_run_of_a_list_waits_for_room() -> None:
    words = why_open(run("SCHEDULED").run, dag(running=2), [], NOW, is_live=True)
    assert words == ("waits until another run ends: 2 runs of the dag are running, and max_active_runs is 2")
    assert words in why_run(dag(running=2), run("SCHEDULED"), NOW, is_live=True)
