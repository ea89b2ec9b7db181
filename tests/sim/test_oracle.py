"""The judge is judged: histories that each break one invariant, and the legal ones beside them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ppacer.engine import Engine
from ppacer.engine.changes import (
    AlertKind,
    AlertTried,
    AttemptCreated,
    AttemptFound,
    AttemptLost,
    BackfillCancelled,
    BackfillCreated,
    BackfillEnded,
    BackfillMarked,
    BackfillMoved,
    Change,
    DagMarked,
    PointRecorded,
)
from ppacer.engine.model import Reason, RunRef, RunStatus, ScheduleEvent, TaskStatus, Trigger
from ppacer.engine.ready import ReadyQueue
from ppacer.protocol import Answer, End, Grant
from ppacer.schedule import Cron, Fixed
from ppacer.scheduler.requests import CancelRun, PauseDag, RestartRun, TriggerRun
from sim.dags import Breaks
from sim.oracle import Violation
from sim.oracle_calendar import next_point
from sim.oracle_story import BEGIN, LEASE, Story, chain, seconds

S, R = TaskStatus, RunStatus
MINUTE = Fixed(BEGIN + timedelta(minutes=1), timedelta(minutes=1))


def after(count: float) -> datetime:
    return BEGIN + seconds(count)


class breaks:  # noqa: N801 - reads like pytest.raises
    """The block breaks this invariant, and no other."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        assert isinstance(error, Violation), f"nothing was said, expected {self.number}: {error!r}"
        assert error.number == self.number, error
        return True


def lost(story: Story, ref: RunRef, task: str, retry: int = 0) -> AttemptLost:
    return AttemptLost(ref, task, retry, story.utc)


# -- legal histories ---------------------------------------------------------------------------------------


def test_a_chain_that_succeeds() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    story.finish(ref, "a", 0, story.created(ref, "b"))
    story.finish(ref, "b", 0, story.run(ref, R.RUNNING, R.SUCCESS))
    story.end()


def test_a_failure_a_restart_and_an_alert_that_is_delivered_at_last() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, End.FAILED)
    below = AttemptCreated(ref, "b", 0, 0, story.utc, S.UPSTREAM_FAILED)
    end = story.ended(grant, S.FAILED, Reason.FAILED, error="it broke")
    story.commit(end, story.alert(grant), below, story.run(ref, R.RUNNING, R.FAILED))
    story.commit(AlertTried(1, story.utc, "away", story.utc + seconds(5)))
    story.commit(AlertTried(1, story.utc))
    story.commit(*story.restarted(ref), story.run(ref, R.SCHEDULED, R.RUNNING), story.created(ref, "a", 1, 1))
    story.finish(ref, "a", 1, story.created(ref, "b", 1, 1))
    story.finish(ref, "b", 1, story.run(ref, R.RUNNING, R.SUCCESS))
    story.end()


def test_a_lost_attempt_is_replaced_three_times() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    for retry in range(1, 4):
        story.wait(LEASE)
        story.commit(lost(story, ref, "a", retry - 1))
        story.claim("f")
        row = story.granted(ref, "a", retry, "f")
        end = story.ended(grant, S.FAILED_PENDING_RETRY, Reason.LOST)
        story.commit(end, story.created(ref, "a", retry), row)
        grant = story.take(row)
    story.wait(LEASE)
    last = story.ended(grant, S.FAILED, Reason.LOST)
    story.commit(last, story.alert(grant), story.run(ref, R.RUNNING, R.FAILED))
    story.end()


def test_the_late_success_of_a_lost_attempt_counts() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.wait(LEASE)
    story.commit(lost(story, ref, "a"))
    story.work(grant)
    story.commit(story.ended(grant, S.SUCCESS), story.run(ref, R.RUNNING, R.SUCCESS))
    story.end()


def test_a_cancel_while_one_task_runs_and_another_waits() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.commit(story.cancel(ref), AttemptCreated(ref, "b", 0, 0, story.utc, S.CANCELLED))
    story.work(grant, End.CANCELLED)
    end = story.ended(grant, S.CANCELLED, Reason.CANCELLED)
    story.commit(end, story.run(ref, R.RUNNING, R.CANCELLED))
    story.end()


def test_points_on_time_late_and_skipped() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(60, step=30)
    done = [story.run(RunRef(1, "d", after(60)), R.RUNNING, R.SUCCESS)]
    story.commit(story.point(after(60), after(120)), *story.scheduled(1, after(60)), *done)
    story.wait(600)  # no step: 120 to 660 are missed, and 660 is not older than 60 s
    story.commit(story.point(after(120), after(660), "SKIPPED"))
    done = [story.run(RunRef(2, "d", after(660)), R.RUNNING, R.SUCCESS)]
    story.commit(story.point(after(660), after(720), "CAUGHT_UP"), *story.scheduled(2, after(660)), *done)
    story.end()


def test_points_of_a_pause_are_skipped_in_one_stretch() -> None:
    story = Story(chain(schedule=MINUTE))
    story.commit(DagMarked("d", paused_at=story.utc))
    story.wait(300, step=20)
    story.commit(story.point(after(60), after(360), "SKIPPED"), DagMarked("d"))
    story.end()


def test_a_sleep_is_not_counted_against_the_executor() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.grant(ref, "a")
    story.wait(100)
    story.oracle.slept(100)
    with breaks(14):
        story.commit(lost(story, ref, "a"))


def test_a_report_that_no_database_can_hold_is_a_failure() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, result="\ud800")
    end = story.ended(grant, S.FAILED, Reason.FAILED)
    story.commit(end, story.alert(grant), story.run(ref, R.RUNNING, R.FAILED))


def test_a_point_of_a_gap_before_clocks_were_set_back_runs_when_it_comes() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(600)
    story.step()
    story.utc -= seconds(595)
    story.step()
    story.wait(60, step=20)
    done = story.run(RunRef(1, "d", after(60)), R.RUNNING, R.SUCCESS)
    story.commit(story.point(after(60), after(120)), *story.scheduled(1, after(60)), done)


def test_a_start_in_a_stall_begins_a_lease_of_its_own() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.wait(100)
    story.oracle.up(story.now)
    story.wait(50)
    story.oracle.slept(150)
    story.grant(ref, "a")
    story.wait(LEASE)
    story.commit(lost(story, ref, "a"))


def test_a_schedule_that_raises_is_out_of_band_and_disables_its_dag() -> None:
    story = Story(chain(schedule=Breaks(BEGIN, seconds(1), 2)))  # it knows two points and no end
    story.wait(2)
    done = story.run(RunRef(1, "d", BEGIN), R.RUNNING, R.SUCCESS)
    story.commit(story.point(BEGIN, after(1)), *story.scheduled(1, BEGIN), done)
    disabled = DagMarked("d", disabled_at=story.utc, disabled_reason="no idea")
    story.commit(story.point(after(1), None, "OUT_OF_BAND"), disabled)
    story.end()


def test_7_a_sound_schedule_is_said_to_be_out_of_band() -> None:
    story = Story(chain(schedule=MINUTE))
    with breaks(7):
        story.commit(story.point(after(60), None, "OUT_OF_BAND"))


def test_every_invariant_has_a_judge_and_a_test() -> None:
    judges = "".join(path.read_text() for path in Path(__file__).parent.glob("oracle_*.py"))
    tests = Path(__file__).read_text()
    for number in range(1, 37):
        assert re.search(rf"wrong\(\s*{number}\b", judges), number
        assert f"breaks({number})" in tests or f"({number}, _" in tests, number


# -- one invariant after the other -------------------------------------------------------------------------


def test_1_two_active_attempts() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.grant(ref, "a")
    story.wait(LEASE)
    story.commit(lost(story, ref, "a"))
    with breaks(1):
        story.commit(story.created(ref, "a", 1))


def test_2_an_ended_task_gets_an_attempt() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    story.finish(ref, "a", 0, story.created(ref, "b"))
    with breaks(2):
        story.commit(story.created(ref, "a", 1))


def test_2_an_ended_run_goes_on_without_a_restart() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.fail(ref, "a")
    with breaks(2):
        story.commit(story.run(ref, R.FAILED, R.SCHEDULED))


@pytest.mark.parametrize("retry", [0, 2])
def test_3_attempt_numbers_have_a_gap(retry: int) -> None:
    story = Story(chain("a", options={"retries": 2}))
    ref = story.start()
    story.pending(ref, "a", 0, 0)
    with breaks(3):
        story.oracle.committed([story.created(ref, "a", retry)], story.now)


def test_3_one_retry_too_many_and_one_too_few() -> None:
    for retries, status in ((0, S.FAILED_PENDING_RETRY), (1, S.FAILED)):
        story = Story(chain("a", options={"retries": retries}))
        ref = story.start()
        grant = story.grant(ref, "a")
        story.work(grant, End.FAILED)
        with breaks(3):
            story.commit(story.ended(grant, status, Reason.FAILED, retry_at=story.utc))


def test_3_a_lost_attempt_is_not_granted_anew() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.wait(LEASE)
    with breaks(3):
        story.commit(story.ended(grant, S.FAILED, Reason.LOST))


def test_4_a_task_starts_before_its_parent_has_succeeded() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    with breaks(4):
        story.commit(story.created(ref, "b"))


def test_4_a_task_starts_in_a_run_that_waits() -> None:
    story = Story(chain("a"))
    ref = story.ref()
    with breaks(4):
        story.commit(*story.triggered(ref), story.created(ref, "a"))


def test_5_a_task_that_the_run_has_not_pinned() -> None:
    story = Story(chain("a"))
    ref = story.start()
    with breaks(5):
        story.commit(story.created(ref, "b"))


def test_5_a_run_pins_a_version_that_is_not_deployed() -> None:
    story = Story(chain("a"))
    old = story.dags["d"].version
    story.deploy(chain("a", "b"))
    with breaks(5):
        story.commit(*story.triggered(story.ref(), version=old))


def test_6_a_run_ends_before_its_tasks() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant)
    end = story.ended(grant, S.SUCCESS)
    with breaks(6):
        story.commit(end, story.created(ref, "b"), story.run(ref, R.RUNNING, R.SUCCESS))


def test_6_a_run_outlives_its_tasks_or_ends_otherwise() -> None:
    for more in (None, R.FAILED, R.CANCELLED):
        story = Story(chain("a"))
        ref = story.start()
        grant = story.grant(ref, "a")
        story.work(grant)
        with breaks(6):
            changes = [] if more is None else [story.run(ref, R.RUNNING, more)]
            story.commit(story.ended(grant, S.SUCCESS), *changes)


def test_7_a_point_is_left_out() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(120, step=30)
    with breaks(7):
        story.commit(story.point(after(120), after(180)), *story.scheduled(1, after(120)))


def test_7_a_point_has_neither_a_run_nor_a_reason() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(60, step=30)
    with breaks(7):
        story.commit(story.point(after(60), after(120)))


def test_7_a_run_has_no_record_and_the_cursor_misses_a_point() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(60, step=30)
    with breaks(7):
        story.commit(
            *story.scheduled(1, after(60)), story.run(RunRef(1, "d", after(60)), R.RUNNING, R.SUCCESS)
        )
    story = Story(chain(schedule=MINUTE))
    story.wait(60, step=30)
    with breaks(7):
        story.commit(story.point(after(60), after(180)), *story.scheduled(1, after(60)))


def test_8_two_runs_of_one_instant() -> None:
    story = Story(chain("a"))
    ref = story.start()
    with breaks(8):
        story.oracle.committed(story.triggered(RunRef(2, "d", ref.exec_ts)), story.now)


def test_9_a_result_with_the_token_of_another_attempt() -> None:
    story = Story(chain("a", options={"retries": 1}))
    ref = story.start()
    old = story.pending(ref, "a", 0, 0)
    story.commit(story.created(ref, "a", 1))
    grant = story.grant(ref, "a", 1)
    story.oracle.executed("e", grant)
    story.oracle.finished("e", grant, End.SUCCESS)
    story.report(msgspec.structs.replace(grant, token=old.token), End.SUCCESS)
    with breaks(9):
        story.commit(story.ended(grant, S.SUCCESS), story.run(ref, R.RUNNING, R.SUCCESS))


def test_9_a_replaced_attempt_succeeds() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.wait(LEASE)
    story.commit(lost(story, ref, "a"))
    story.work(grant)
    story.claim()
    with breaks(9):
        story.commit(story.created(ref, "a", 1), story.granted(ref, "a", 1), story.ended(grant, S.SUCCESS))


def test_9_a_token_is_used_twice() -> None:
    story = Story(chain("a"))
    first, second = story.start(1), story.start(2)
    grant = story.grant(first, "a")
    with breaks(9):
        story.commit(story.granted(second, "a", token=grant.token))


def test_10_a_run_never_ends() -> None:
    story = Story(chain("a"))
    story.start()
    with breaks(10):
        story.end()


def test_11_acknowledged_commands_without_an_effect() -> None:
    story = Story(chain("a"), chain(dag="other", schedule=MINUTE))
    ref, ended = story.start(), story.start(2)
    story.fail(ended, "a")
    for ask, reply in (
        (TriggerRun("d"), RunRef(7, "d", BEGIN)),
        (CancelRun(1), ref),
        (RestartRun(2), ended),
        (PauseDag("other"), None),
    ):
        story.oracle.asked(ask)
        with breaks(11):
            story.oracle.answered(ask, reply)


def test_11_acknowledged_commands_with_their_effect() -> None:
    story = Story(chain("a"))
    ref, ask = story.start(), CancelRun(1)
    story.oracle.asked(ask)
    cancelled = story.ended(_never_granted(ref), S.CANCELLED, was=S.SCHEDULED, token=None)
    story.commit(story.cancel(ref), cancelled, story.run(ref, R.RUNNING, R.CANCELLED))
    story.commit(*story.restarted(ref), story.run(ref, R.SCHEDULED, R.RUNNING), story.created(ref, "a", 1, 1))
    story.oracle.answered(ask, ref)


def _never_granted(ref: RunRef) -> Any:
    """As much of a grant as `Story.ended` needs, for an attempt that had none."""
    return msgspec.defstruct("NoGrant", ["run_id", "task_id", "retry", "token"])(ref.run_id, "a", 0, None)


def test_11_a_report_is_acknowledged_and_not_kept() -> None:
    story = Story(chain("a"))
    grant = story.grant(story.start(), "a")
    ask = story.report(grant, End.SUCCESS)
    with breaks(11):
        story.oracle.answered(ask, Answer(accepted=[True]))


def test_11_two_triggers_share_a_run() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.oracle.answered(TriggerRun("d"), ref)
    with breaks(11):
        story.oracle.answered(TriggerRun("d"), ref)


@pytest.mark.parametrize("spoilt", [{"token": ""}, {"executor": ""}, {"end": BEGIN}])
def test_12_running_without_owner_token_or_lease(spoilt: dict[str, Any]) -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.claim(spoilt.get("executor", "e"))
    with breaks(12):
        story.commit(story.granted(ref, "a", **spoilt))


def test_13_a_task_waits_for_nothing() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant)
    with breaks(13):
        story.commit(story.ended(grant, S.SUCCESS))


def test_13_a_retry_is_due_at_no_time() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, End.HANDED_BACK)
    with breaks(13):
        story.commit(story.ended(grant, S.FAILED_PENDING_RETRY, Reason.HANDED_BACK))


def test_13_a_run_waits_though_there_is_room() -> None:
    story = Story(chain("a"))
    with breaks(13):
        story.commit(*story.triggered(story.ref()))


def test_13_a_task_waits_in_a_cancelled_run() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    with breaks(13):
        story.commit(story.cancel(ref))


@pytest.mark.parametrize("early", [True, False])
def test_14_a_lease_ends_early(early: bool) -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.wait(20)
    story.beat(grant.token)
    story.wait(LEASE - 0.1 if early else LEASE)
    if early:
        with breaks(14):
            story.commit(lost(story, ref, "a"))
    else:
        story.commit(lost(story, ref, "a"))


@pytest.mark.parametrize("kind", ["point", "retry", "lease"])
def test_13_what_is_overdue_is_left_alone(kind: str) -> None:
    story = Story(chain("a", options={"retries": 1}, schedule=MINUTE if kind == "point" else None))
    if kind == "retry":
        story.pending(story.start(), "a", 0, 0)
    elif kind == "lease":
        story.grant(story.start(), "a")
    story.wait(70, step=5)
    scheduler = remember(story)
    with breaks(13):
        for _ in range(20):
            story.oracle.check_touched(scheduler, story.now)


def test_14_a_start_of_the_scheduler_begins_a_whole_lease() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.grant(ref, "a")
    story.oracle.down()
    story.wait(100)
    story.oracle.up(story.now)
    story.wait(LEASE / 2)
    with breaks(14):
        story.commit(lost(story, ref, "a"))


def test_14_an_attempt_that_its_executor_does_not_know_is_lost_after_a_lease() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.grant(ref, "a")
    story.wait(LEASE - 1)
    story.beat()
    story.wait(1)
    story.commit(lost(story, ref, "a"))


def test_17_more_runs_than_allowed() -> None:
    story = Story(chain("a", max_active_runs=1))
    story.start(1)
    with breaks(17):
        story.start(2)


def test_17_a_point_is_created_ahead_of_its_room() -> None:
    story = Story(chain("a", max_active_runs=1, schedule=MINUTE))
    story.start(1)
    story.wait(60, step=30)
    with breaks(17):
        story.commit(story.point(after(60), after(120)), *story.scheduled(2, after(60))[:1])


def test_17_more_attempts_than_slots() -> None:
    story = Story(chain("a"))
    first, second = story.start(1), story.start(2)
    story.claim(slots=1)
    story.commit(story.granted(first, "a"))
    with breaks(17):
        story.commit(story.granted(second, "a"))


def test_18_a_paused_dag_gets_a_run() -> None:
    story = Story(chain(schedule=MINUTE))
    story.commit(DagMarked("d", paused_at=story.utc))
    story.wait(60, step=30)
    with breaks(18):
        story.commit(story.point(after(60), after(120)), *story.scheduled(1, after(60)))


def test_18_a_removed_dag_gets_a_run() -> None:
    story = Story(chain("a"))
    dag = story.dags["d"]
    story.deploy()
    story.dags["d"] = dag
    with breaks(18):
        story.commit(*story.triggered(story.ref()))


def test_19_a_grant_after_a_cancel() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    story.claim()
    with breaks(19):
        story.commit(story.cancel(ref), story.granted(ref, "a"))


def test_20_an_execution_without_a_grant() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    with breaks(20):
        story.oracle.executed("e", msgspec.structs.replace(grant, token="made up"))
    with breaks(20):
        story.oracle.executed("another", grant)


def test_21_a_success_that_was_none() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.report(grant, End.SUCCESS)
    with breaks(21):
        story.commit(story.ended(grant, S.SUCCESS), story.run(ref, R.RUNNING, R.SUCCESS))


def test_21_another_result_than_the_task_gave() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, result="1")
    with breaks(21):
        story.commit(story.ended(grant, S.SUCCESS, result="2"), story.run(ref, R.RUNNING, R.SUCCESS))


@pytest.mark.parametrize("recorded", ["other", None])
def test_21_another_code_than_the_one_that_ran(recorded: str | None) -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, body_hash="c0de")
    with breaks(21):
        story.commit(story.ended(grant, S.SUCCESS, body_hash=recorded), story.run(ref, R.RUNNING, R.SUCCESS))


def test_22_a_grant_is_executed_twice() -> None:
    story = Story(chain("a"))
    grant = story.grant(story.start(), "a")
    story.oracle.executed("e", grant)
    with breaks(22):
        story.oracle.executed("e", grant)


def test_23_at_most_once_is_executed_twice() -> None:
    story = Story(chain("a", options={"at_most_once": True}))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, End.HANDED_BACK)
    story.commit(story.ended(grant, S.FAILED_PENDING_RETRY, Reason.HANDED_BACK, retry_at=story.utc))
    with breaks(23):
        story.commit(story.created(ref, "a", 1))


def test_24_a_row_is_missing_or_different() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.look()
    story.grant(ref, "a")
    story.fold.tables.dagruntasks[1]["a", 0]["Token"] = "another"
    with breaks(24):
        story.look()
    del story.fold.tables.dagruns[1]
    with breaks(24):
        story.look()


def test_25_a_transition_that_is_not_in_the_table() -> None:
    story = Story(chain("a"))
    ref = story.start()
    with breaks(25):
        story.oracle.committed([story.ended(_never_granted(ref), S.SUCCESS, was=S.SCHEDULED)], story.now)


def test_25_cancelled_by_nobody() -> None:
    story = Story(chain("a"))
    grant = story.grant(story.start(), "a")
    story.work(grant, End.CANCELLED)
    with breaks(25):
        story.commit(story.ended(grant, S.CANCELLED, Reason.CANCELLED))


def test_26_a_cancel_is_written_twice() -> None:
    story = Story(chain("a"))
    ref = story.start()
    story.grant(ref, "a")
    story.commit(story.cancel(ref))
    with breaks(26):
        story.commit(story.cancel(ref))


def test_26_the_same_report_is_answered_otherwise() -> None:
    story = Story(chain("a"))
    ref = story.start()
    grant = story.grant(ref, "a")
    ask = story.report(grant, End.FAILED)
    story.commit(
        story.ended(grant, S.FAILED, Reason.FAILED), story.alert(grant), story.run(ref, R.RUNNING, R.FAILED)
    )
    story.oracle.answered(ask, Answer(accepted=[True]))
    with breaks(26):
        story.oracle.answered(ask, Answer(accepted=[False]))


def test_27_a_cursor_goes_back() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(60, step=30)
    done = story.run(RunRef(1, "d", after(60)), R.RUNNING, R.SUCCESS)
    with breaks(27):
        story.commit(story.point(after(60), after(60)), *story.scheduled(1, after(60)), done)
    story = Story(chain(schedule=MINUTE))
    story.wait(60, step=30)
    story.commit(story.point(after(60), after(120)), *story.scheduled(1, after(60)), done)
    with breaks(27):
        story.commit(story.point(after(60), after(120), "SKIPPED"))


def test_28_a_scheduled_run_in_the_future() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(59, step=1)
    with breaks(28):
        story.commit(*story.scheduled(1, after(60)), story.point(after(60), after(120)))
    story = Story(chain(schedule=MINUTE))
    story.wait(59, step=1)
    with breaks(28):
        story.commit(story.point(after(60), after(120), "SKIPPED"))


@pytest.mark.parametrize("policy", [True, 2, timedelta(minutes=5), False])
def test_29_a_point_that_the_policy_wants_is_skipped(policy: Any) -> None:
    story = Story(chain(schedule=MINUTE, catch_up=policy))
    ends = {True: 120, 2: 660, False: 720}
    story.wait(690)  # missed: 60 … 660; the newest is 30 s old
    with breaks(29):
        end = 600 if isinstance(policy, timedelta) else ends[policy]
        story.commit(story.point(after(60), after(end), "SKIPPED"))


@pytest.mark.parametrize("policy", [2, timedelta(minutes=5), False])
def test_29_a_point_that_the_policy_does_not_want_has_a_run(policy: Any) -> None:
    story = Story(chain(schedule=MINUTE, catch_up=policy))
    story.wait(690)
    with breaks(29):
        story.commit(story.point(after(60), after(120), "CAUGHT_UP"), *story.scheduled(1, after(60)))


def test_29_a_late_point_is_skipped() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(150, step=30)
    with breaks(29):
        story.commit(story.point(after(60), after(120), "SKIPPED"))


def test_29_a_point_of_a_pause_has_a_run() -> None:
    story = Story(chain(schedule=MINUTE))
    story.wait(30, step=30)
    story.commit(DagMarked("d", paused_at=story.utc))
    story.wait(60, step=30)
    story.commit(DagMarked("d"))
    with breaks(29):
        story.commit(story.point(after(60), after(120)), *story.scheduled(1, after(60)))


DELAYS = {"retries": 9, "retry_delay": seconds(10), "retry_backoff": 2.0, "retry_delay_max": seconds(35)}


@pytest.mark.parametrize(("jitter", "waits"), [(0.0, (10, 20, 35, 35)), (0.5, (14.9, 29, 52, 36))])
def test_30_delays_that_are_right(jitter: float, waits: tuple[float, ...]) -> None:
    story = Story(chain("a", options=DELAYS | {"retry_jitter": jitter}))
    ref = story.start()
    for retry, wait in enumerate(waits):
        story.pending(ref, "a", retry, wait)
        story.wait(wait)
        story.commit(story.created(ref, "a", retry + 1))


@pytest.mark.parametrize(("retry", "wait"), [(0, 9.99), (0, 10.01), (1, 10), (2, 40), (2, 34)])
def test_30_a_delay_is_too_short_or_too_long(retry: int, wait: float) -> None:
    story = Story(chain("a", options=DELAYS))
    ref = story.start()
    for before in range(retry):
        due = min(10 * 2**before, 35)
        story.pending(ref, "a", before, due)
        story.wait(due)
        story.commit(story.created(ref, "a", before + 1))
    with breaks(30):
        story.pending(ref, "a", retry, wait)


def test_30_a_retry_is_not_waited_for() -> None:
    story = Story(chain("a", options=DELAYS))
    ref = story.start()
    story.pending(ref, "a", 0, 10)
    story.wait(9)
    with breaks(30):
        story.commit(story.created(ref, "a", 1))


def test_31_a_timeout_is_enforced_too_early() -> None:
    story = Story(chain("a", options={"timeout": seconds(5)}))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.wait(LEASE + 4)
    with breaks(31):
        story.commit(story.ended(grant, S.FAILED, Reason.TIMED_OUT))


def goes_on(story: Story, grant: Grant, count: float) -> None:
    """For so many seconds the executor names the attempt, in twenty steps of the scheduler."""
    for _ in range(20):
        story.wait(count / 20)
        story.beat(grant.token)
        story.commit()
        story.step()


def test_31_a_timeout_is_not_enforced() -> None:
    story = Story(chain("a", options={"timeout": seconds(5)}))
    ref = story.start()
    grant = story.grant(ref, "a")
    with breaks(31):
        goes_on(story, grant, 100)


@pytest.mark.parametrize("is_ended", [True, False])
def test_31_the_timeout_of_who_was_lost_and_found_is_counted_anew(is_ended: bool) -> None:
    story = Story(chain("a", options={"timeout": seconds(5)}))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.wait(LEASE + 10)  # silent, and its time is over as well
    story.commit(lost(story, ref, "a"))
    story.step()
    story.beat(grant.token)
    story.commit(AttemptFound(ref, "a", 0, story.utc))
    goes_on(story, grant, LEASE + 5)
    if is_ended:
        end = story.ended(grant, S.FAILED, Reason.TIMED_OUT)
        story.commit(end, story.alert(grant, AlertKind.FAILURE), story.run(ref, R.RUNNING, R.FAILED))
        story.end()
        return
    with breaks(31):
        goes_on(story, grant, 20)


def test_32_an_alert_too_many_or_too_few() -> None:
    for alerts in (0, 2):
        story = Story(chain("a"))
        ref = story.start()
        grant = story.grant(ref, "a")
        story.work(grant, End.FAILED)
        end, done = story.ended(grant, S.FAILED, Reason.FAILED), story.run(ref, R.RUNNING, R.FAILED)
        with breaks(32):
            story.oracle.committed([end, done, *[story.alert(grant)] * alerts], story.now)


def test_32_an_alert_about_nothing() -> None:
    story = Story(chain("a"))
    grant = story.grant(story.start(), "a")
    with breaks(32):
        story.commit(story.alert(grant, AlertKind.RETRY))


def test_32_an_alert_that_does_not_exist_is_tried() -> None:
    story = Story(chain("a"))
    with breaks(32):
        story.oracle.committed([AlertTried(1, story.utc)], story.now)


def test_24_a_delivered_alert_is_delivered_no_longer() -> None:
    story = Story(chain("a"))
    story.fail(story.start(), "a")
    story.commit(AlertTried(1, story.utc))
    story.oracle.committed([AlertTried(1, story.utc, "away", story.utc)], story.now)
    story.fold.tables.outbox[1] |= {"Tries": 2, "SentAt": None, "NextTryAt": story.utc}
    with breaks(24):
        story.look()


def test_33_an_upstream_failure_comes_later() -> None:
    story = Story(chain("a", "b", "c"))
    ref = story.start()
    grant = story.grant(ref, "a")
    story.work(grant, End.FAILED)
    below = AttemptCreated(ref, "b", 0, 0, story.utc, S.UPSTREAM_FAILED)
    with breaks(33):
        story.commit(story.ended(grant, S.FAILED, Reason.FAILED), story.alert(grant), below)


def test_33_upstream_failed_below_a_success() -> None:
    story = Story(chain("a", "b"))
    ref = story.start()
    with breaks(33):
        story.commit(AttemptCreated(ref, "b", 0, 0, story.utc, S.UPSTREAM_FAILED))


# -- memory ------------------------------------------------------------------------------------------------


def remember(story: Story) -> Any:
    """A scheduler that has read the rows of the story back, as far as the oracle looks at it."""
    engine = Engine()
    for row, graph, attempts in story.fold.open_runs():
        engine.restore(row, graph, attempts)
    held: dict[str, dict[str, int]] = {"e": {}}
    for state in engine.runs.values():
        for task in state.tasks:
            if task.token and not task.is_lost:
                held["e"][task.token] = 0
    cursors = {id: SimpleNamespace(next_at=row.next_at) for id, row in story.fold.dag_rows().items()}
    watcher = SimpleNamespace(cursors=cursors, _heap=[], gaps=[])
    sessions = {
        name: SimpleNamespace(held=all, ended={}, untold=[], cancels=[]) for name, all in held.items()
    }
    tasks = SimpleNamespace(sessions=sessions)
    backfills = SimpleNamespace(open={})
    memory = SimpleNamespace(engine=engine, watcher=watcher, tasks=tasks, backfills=backfills, _fresh=set())
    return SimpleNamespace(memory=memory, trouble=None)


def busy() -> Story:
    """Runs in every state: one of them waits for a retry, one runs, one is ready."""
    story = Story(chain("a", "b", options={"retries": 1}, schedule=MINUTE))
    refs = [story.start(run_id) for run_id in (1, 2, 3)]
    story.pending(refs[0], "a", 0, 0)
    story.grant(refs[1], "a")
    return story


def look(story: Story, scheduler: Any) -> None:
    story.oracle.check_everything(scheduler, story.fold.tables, story.now)
    story.oracle.check_touched(scheduler, story.now)


def test_memory_as_it_should_be() -> None:
    story = busy()
    look(story, remember(story))


def _count_wrong(scheduler: Any) -> None:
    scheduler.memory.engine.runs[3].tasks[1].unmet = 0


def _forget_ready(scheduler: Any) -> None:
    scheduler.memory.engine.ready = ReadyQueue()


def _ready_twice(scheduler: Any) -> None:
    ready = scheduler.memory.engine.ready
    ready.put(((), None), "d", *next(iter(ready)))


def _forget_retry(scheduler: Any) -> None:
    scheduler.memory.engine.retries.clear()


def _forget_run(scheduler: Any) -> None:
    del scheduler.memory.engine.runs[2]


def _other_token(scheduler: Any) -> None:
    scheduler.memory.engine.runs[2].tasks[0].token = "another"


def _no_token(scheduler: Any) -> None:
    scheduler.memory.engine.runs[2].tasks[0].token = None


def _forget_spent(scheduler: Any) -> None:
    scheduler.memory.engine.runs[1].tasks[0].spent = 0


def _forget_session(scheduler: Any) -> None:
    scheduler.memory.tasks.sessions.clear()


def _hold_for_ever(scheduler: Any) -> None:
    scheduler.memory.tasks.sessions["e"].held["ended"] = 0


def _pile_up(scheduler: Any) -> None:
    for _ in range(1000):
        scheduler.memory.engine.ready.put(((), None), "d", 1, 0, 0)


def _miscount_active(scheduler: Any) -> None:
    scheduler.memory.engine.active["d"] += 1


def _move_cursor(scheduler: Any) -> None:
    scheduler.memory.watcher.cursors["d"].next_at = after(120)


@pytest.mark.parametrize(
    ("number", "spoil"),
    [
        *((7, _move_cursor), (12, _no_token), (15, _count_wrong), (16, _forget_ready), (16, _ready_twice)),
        *((17, _miscount_active), (34, _forget_retry), (34, _forget_run), (34, _other_token)),
        *((34, _forget_spent), (34, _forget_session), (35, _hold_for_ever), (35, _pile_up)),
    ],
)
def test_memory_is_not_what_the_rows_say(number: int, spoil: Callable[[Any], None]) -> None:
    story = busy()
    scheduler = remember(story)
    spoil(scheduler)
    with breaks(number):
        look(story, scheduler)


# -- the calendar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "tz", "begin", "points"),
    [
        ("30 2 * * *", "Europe/Warsaw", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("30 2 * * *", "Europe/Warsaw", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("30 * * * *", "Europe/Warsaw", "2026-10-25T00:00", ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("*/30 2 * * *", "Europe/Warsaw", "2026-03-28T12:00", ["2026-03-30T00:00", "2026-03-30T00:30"]),
        ("15,45 2 * * *", "Europe/Warsaw", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:15"]),
        ("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", ["2026-10-03T15:30", "2026-10-04T15:10"]),
        ("0 0 13 * FRI", "UTC", "2026-11-12T12:00", ["2026-11-13T00:00", "2026-11-20T00:00"]),
        ("0 0 */13 * FRI", "UTC", "2026-11-12T12:00", ["2026-11-27T00:00", "2027-01-01T00:00"]),
        ("0 12 29 2 *", "UTC", "2026-11-12T12:00", ["2028-02-29T12:00", "2032-02-29T12:00"]),
        ("5-10/5 1 * JAN-FEB 7", "UTC", "2026-11-12T12:00", ["2027-01-03T01:05", "2027-01-03T01:10"]),
    ],
)
def test_points_of_cron(expression: str, tz: str, begin: str, points: list[str]) -> None:
    at: datetime | None = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    for expected in points:
        assert at is not None
        at = next_point(Cron(expression, tz=tz), at)
        assert at == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_points_of_fixed() -> None:
    schedule = Fixed(BEGIN, seconds(0.1))
    assert next_point(schedule, BEGIN - seconds(5)) == BEGIN
    assert next_point(schedule, BEGIN) == after(0.1)
    assert next_point(schedule, after(0.25)) == after(0.3)


def test_a_record_of_a_dag_without_schedule() -> None:
    story = Story(chain())
    record = PointRecorded("d", BEGIN, ScheduleEvent.SKIPPED, BEGIN, None)
    with breaks(7):
        story.oracle.committed([record], story.now)


# -- backfills ---------------------------------------------------------------------------------------------

PAST = [after(60.0 * minutes) for minutes in range(-65, 0, 10)]  # the points of this dag before it begins
TENTH = Fixed(PAST[0], timedelta(minutes=10))


def backfill(story: Story, points: list[datetime] = PAST) -> None:
    """A backfill of everything before the story, two at once."""
    story.commit(BackfillCreated(1, "d", PAST[0], BEGIN, False, 2, None, points, story.utc, "ann"))


def move(story: Story, position: int) -> list[Change]:
    """The point at a position gets its run."""
    ref = RunRef(position + 1, "d", PAST[position])
    made = story.triggered(ref, trigger=Trigger.BACKFILL, backfill_id=1)
    return [BackfillMoved(1, position, False), *made, *story.begun(ref)]


def test_a_backfill_that_is_as_it_should_be() -> None:
    story = Story(chain("a", schedule=TENTH))
    backfill(story)
    story.commit(*move(story, 0), *move(story, 1))
    for position in range(len(PAST)):
        ref = RunRef(position + 1, "d", PAST[position])
        story.finish(ref, "a", 0, story.run(ref, R.RUNNING, R.SUCCESS))
        if position + 2 < len(PAST):
            story.commit(*move(story, position + 2))
    story.commit(BackfillEnded(1, story.utc))
    story.end()


def test_a_run_of_a_cancelled_backfill_may_be_restarted_at_once() -> None:
    story = Story(chain("a", schedule=TENTH))
    backfill(story)
    story.commit(*move(story, 0))
    ref = RunRef(1, "d", PAST[0])
    story.fail(ref, "a")
    again = [*story.restarted(ref), story.run(ref, R.SCHEDULED, R.RUNNING), story.created(ref, "a", 1, 1)]
    story.commit(BackfillCancelled(1, story.utc), *again)
    story.finish(ref, "a", 1, story.run(ref, R.RUNNING, R.SUCCESS))
    story.commit(BackfillEnded(1, story.utc))
    story.end()


BROKEN: dict[str, Callable[[Story], list[Change]]] = {
    "out of turn": lambda story: move(story, 1),
    "too many": lambda story: [*move(story, 0), *move(story, 1), *move(story, 2)],
    "without its run": lambda story: [BackfillMoved(1, 0, False)],
    "passed over": lambda story: [BackfillMoved(1, 0, True)],
    "a run to which it has not moved": lambda story: move(story, 0)[1:],
    "paused": lambda story: [BackfillMarked(1, story.utc), *move(story, 0)],
    "cancelled": lambda story: [BackfillCancelled(1, story.utc), *move(story, 0)],
    "a cancel without its runs": lambda story: [*move(story, 0), BackfillCancelled(1, story.utc)],
    "ended too early": lambda story: [BackfillEnded(1, story.utc)],
    "ended twice": lambda story: [BackfillCancelled(1, story.utc), *[BackfillEnded(1, story.utc)] * 2],
}


@pytest.mark.parametrize("name", BROKEN)
def test_36_a_backfill_that_is_not(name: str) -> None:
    story = Story(chain("a", schedule=TENTH))
    backfill(story)
    with breaks(36):
        story.commit(*BROKEN[name](story))


@pytest.mark.parametrize("points", [PAST[1:], PAST[::-1], [*PAST, after(-1)]], ids=["few", "order", "more"])
def test_36_a_backfill_of_other_points(points: list[datetime]) -> None:
    story = Story(chain("a", schedule=TENTH))
    with breaks(36):
        backfill(story, points)


def test_36_a_backfill_goes_before_the_points_of_its_dag() -> None:
    story = Story(chain("a", schedule=TENTH))
    backfill(story)
    story.wait(360)
    with breaks(36):
        story.commit(*move(story, 0))


def test_10_a_backfill_never_ends() -> None:
    story = Story(chain("a", schedule=TENTH))
    backfill(story)
    with breaks(10):
        story.end()
