"""A scheduler and executors as programs of their own: what happens when one of them goes away."""

import os

from remote.world import World, until


def is_running(pid: str) -> bool:
    """Whether there is such a process, zombies not counted."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_executor_elsewhere_runs_what_the_scheduler_grants_and_its_logs_are_whole(w: World) -> None:
    scheduler = w.scheduler()
    executor = w.executor("one", "--slots", "2")
    run_id = w.trigger("quick")
    detail = w.succeeds(run_id)
    assert {attempt["executor"] for attempt in detail["attempts"]} == {"one"}
    assert {a["task_id"]: a["body_hash"] for a in detail["attempts"]} == w.codes("quick", "quick", "after")
    assert all(attempt["cpu_seconds"] > 0 for attempt in detail["attempts"])
    assert w.said(run_id) == ["quick it is"]
    assert w.get(f"/api/v1/runs/{run_id}/tasks/after/result") == "DONE"
    assert executor.stop() == 0
    until(lambda: w.rows("one")[0][1] == "it has stopped", "the goodbye")
    assert scheduler.stop() == 0


def test_what_a_killed_executor_ran_runs_again_on_another_one_and_nothing_is_left_of_it(w: World) -> None:
    w.scheduler()
    first = w.executor("one")
    run_id = w.trigger("gated")
    (pid,) = w.begun()
    w.executor("two")
    first.kill()
    until(lambda: not is_running(pid), "the end of its task")
    w.begun(2)
    w.open()
    detail = w.succeeds(run_id)
    assert [a["executor"] for a in detail["attempts"] if a["task_id"] == "gate"] == ["one", "two"]
    assert w.rows("one")[0][1] == "not heard of for 2 s"


def test_a_scheduler_that_is_killed_loses_nothing_of_what_ends_while_it_is_away(w: World) -> None:
    scheduler = w.scheduler()
    executor = w.executor("one")
    run_id = w.trigger("gated")
    w.begun()
    scheduler.kill()
    w.open()
    until(lambda: w.lines[-1][0] == "end", "the end of the task")
    executor.says("no scheduler answers")
    w.scheduler()
    detail = w.succeeds(run_id)
    assert [a["retry"] for a in detail["attempts"]] == [0, 0]  # nothing ran twice
    assert w.said(run_id) == ["the gate is open"]
    executor.says("the scheduler answers again")
    assert os.path.getsize(executor.folder / "ppacer-executor" / "reports.jsonl") == 0


def test_a_killed_executor_delivers_after_its_restart_what_it_could_not_report(w: World) -> None:
    scheduler = w.scheduler(PPACER_LEASE="30")
    executor = w.executor("one")
    run_id = w.trigger("gated")
    w.begun()
    scheduler.kill()
    w.open()
    reports = executor.folder / "ppacer-executor" / "reports.jsonl"
    until(lambda: reports.stat().st_size, "the report on disk")
    executor.kill()
    w.scheduler(PPACER_LEASE="30")
    w.executor("one")
    detail = w.succeeds(run_id)
    assert [(a["task_id"], a["retry"]) for a in detail["attempts"]] == [("gate", 0), ("after", 0)]


def test_what_a_killed_executor_had_not_ended_is_lost_as_soon_as_it_is_back(w: World) -> None:
    w.scheduler(PPACER_LEASE="600")
    executor = w.executor("one")
    run_id = w.trigger("gated")
    w.begun()
    executor.kill()
    w.executor("one")
    w.begun(2)
    w.open()
    w.succeeds(run_id)


def test_a_drain_hands_back_what_does_not_end_in_time_and_the_second_signal_does_not_wait(w: World) -> None:
    w.scheduler()
    executor = w.executor("one", "--drain", "0.2")
    run_id = w.trigger("gated")
    w.begun()
    assert executor.stop() == 0
    second = w.executor("two", "--drain", "600")
    w.begun(2)
    second.process.terminate()
    second.says("once more to stop at once")
    assert second.stop() == 0
    w.executor("three")
    w.begun(3)
    w.open()
    attempts = [a for a in w.succeeds(run_id)["attempts"] if a["task_id"] == "gate"]
    assert [a["reason"] for a in attempts] == ["HANDED_BACK", "HANDED_BACK", None]


def test_a_name_belongs_to_one_folder_as_long_as_its_executor_lives(w: World) -> None:
    w.scheduler()
    w.executor("one")
    other = w.launch("one", folder="other")
    assert other.process.wait(40) == 5
    assert "there is an executor one already" in other.log
    same = w.launch("two", folder="one")
    assert same.process.wait(40) == 2
    assert "another executor runs in the folder" in same.log


def test_an_executor_with_newer_code_tells_which_code_it_ran(w: World) -> None:
    scheduler = w.scheduler()
    before = w.codes("quick", "quick", "after")
    w.dags.write_text(w.dags.read_text().replace("word.upper()", "word.lower()"))
    w.executor("one")
    run_id = w.trigger("quick")
    ran = {attempt["task_id"]: attempt["body_hash"] for attempt in w.succeeds(run_id)["attempts"]}
    assert ran["quick"] == before["quick"]
    assert ran["after"] != before["after"]  # of which the scheduler knows the hash alone, until it reads it
    scheduler.stop()
    w.scheduler()
    assert ran == w.codes("quick", "quick", "after")
