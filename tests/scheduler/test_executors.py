"""What executors are given and told: slots, long polls, tokens, leases, cancellations."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ppacer.dag import TaskConfig
from ppacer.errors import ExecutorRefusedError, UnknownExecutorError
from ppacer.protocol import Answer, End, Hello, Report
from ppacer.scheduler import CancelRun, DrainExecutor, TriggerRun, UndrainExecutor, grants
from ppacer.scheduler.requests import Claim, Goodbye, Greeting, Heartbeat, Reports, Request
from ppacer.scheduler.task_scheduler import Session, shares
from ppacer.store import StaleWrite
from scheduler.harness import T0, Executor, World, at, dag, failing, seconds

Make = Callable[..., World]


def wide(id: str = "d", width: int = 10, **configs: object) -> object:
    return dag(id, *(f"t{n}" for n in range(width)), configs={f"t{n}": dict(configs) for n in range(width)})


def ids(ex: Executor) -> list[str]:
    return [grant.task_id for grant in ex.seen]


# -- slots ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [0, 1, 3, 9, 10, 11])
def test_a_claim_gives_at_most_the_slots(world: Make, slots: int) -> None:
    w = world(wide())
    w.trigger()
    assert len(w.executor(slots=slots).claim()) == min(slots, 10)


def test_a_claim_gives_at_most_the_slots_minus_what_is_held(world: Make) -> None:
    w = world(wide())
    ex = w.executor(slots=4)
    w.trigger()
    assert len(ex.claim()) == 4
    assert ex.claim() == []
    assert ex.claim() == []  # asking again and again changes nothing
    ex.report(next(iter(ex.held.values())))  # its answer brings the next one
    assert len(ex.held) == 4
    assert ex.claim() == []


def test_fewer_slots_than_before_give_nothing_until_enough_has_ended(world: Make) -> None:
    w = world(wide())
    ex = w.executor(slots=4)
    w.trigger()
    ex.claim()
    ex.slots = 2
    assert ex.claim() == []
    for held in (3, 2, 2, 2):
        ex.report(next(iter(ex.held.values())))
        assert len(ex.held) == held


def test_a_draining_executor_gets_nothing_more(world: Make) -> None:
    w = world(wide())
    ex = w.executor(slots=4)
    w.trigger()
    ex.claim()
    ex.claim(wait=0.0, slots=0)
    ex.report(next(iter(ex.held.values())))
    assert len(ex.held) == 3


def test_an_attempt_handed_back_goes_to_another_executor_and_costs_no_retry(world: Make) -> None:
    w = world(dag("d", "a"))
    ex, other = w.executor("one"), w.executor("two")
    run = w.trigger()
    ex.claim()
    other.claim()
    ex.claim(wait=0.0, slots=0)
    ex.report(ex.holding("a"), End.HANDED_BACK)
    assert ex.held == {}
    assert other.holding("a").retry == 1
    other.finish()
    assert w.attempts(run) == [("a", 0, "FAILED_PENDING_RETRY", "HANDED_BACK"), ("a", 1, "SUCCESS", None)]


def test_an_executor_that_only_reports_has_no_slots(world: Make) -> None:
    w = world(wide())
    w.trigger()
    assert w.do(Heartbeat("one", [])).grants == []
    assert w.do(Reports("one", [])).grants == []


def test_what_two_executors_get_is_not_the_same(world: Make) -> None:
    w = world(wide())
    one, two = w.executor("one", slots=6), w.executor("two", slots=6)
    w.trigger()
    assert len(one.claim()) == 6
    assert len(two.claim()) == 4
    assert set(ids(one)).isdisjoint(ids(two))


def test_a_report_in_the_same_step_makes_room_for_a_claim(world: Make) -> None:
    w = world(wide(width=2))
    ex = w.executor(slots=1)
    w.trigger()
    ex.claim()
    w.send(ex.claims(), ex.ask(ex.reports((ex.held.pop(ex.holding("t0").token), End.SUCCESS))))
    assert list(ex.held.values()) == [ex.holding("t1")]
    assert w.attempts(1, "t0")[0][2] == "SUCCESS"


def test_work_goes_to_who_has_the_most_free_slots(world: Make) -> None:
    w = world(wide(width=6))
    one, two, three = w.executor("one", slots=8), w.executor("two", slots=4), w.executor("three", slots=4)
    for ex in (one, two, three):
        ex.claim()
    w.trigger()
    assert [len(ex.held) for ex in (one, two, three)] == [4, 1, 1]
    for ex in (one, two, three):
        ex.claim()
    w.trigger()
    assert sorted(len(ex.held) for ex in (one, two, three)) == [3, 3, 6]


def test_what_the_freest_cannot_take_goes_to_the_others(world: Make) -> None:
    w = world(wide(width=4, labels=["gpu"]))
    w.do(hello("gpu", labels=["gpu"]))
    w.do(hello("plain", labels=[]))
    polls = w.send(Claim("gpu", 4, 20.0, "l"), Claim("plain", 100, 20.0, "l"))
    w.trigger()
    assert [len(poll.future.result(0).grants) if poll.future.done() else 0 for poll in polls] == [4, 0]


@pytest.mark.parametrize(
    ("free", "count", "expected"),
    [
        ([4], 0, [0]),
        ([4], 3, [3]),
        ([4], 9, [4]),
        ([1, 10], 5, [0, 5]),
        ([3, 3, 3], 3, [1, 1, 1]),
        ([1, 2, 9], 11, [1, 2, 8]),
        ([0, 5], 9, [0, 5]),
    ],
)
def test_shares_are_as_if_given_one_by_one(free: list[int], count: int, expected: list[int]) -> None:
    sessions = [Session(str(slots)) for slots in free]
    for session, slots in zip(sessions, free, strict=True):
        session.slots = slots
    assert [share for _, share, _ in shares(sessions, count)] == expected


# -- long polls ----------------------------------------------------------------------------------------------


def test_a_long_poll_is_answered_as_soon_as_there_is_work(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    assert ex.claim(wait=20.0) == []
    w.run(10)
    assert len(ex.polls) == 1
    w.trigger()
    assert ids(ex) == ["a"]
    assert ex.polls == []


def test_a_long_poll_is_answered_in_the_step_of_its_retry(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 1, "retry_delay": seconds(7)}}))
    ex = w.executor()
    w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), End.FAILED)
    ex.claim(wait=20.0)
    w.run(6)
    assert len(ex.seen) == 1
    w.run(1)
    assert [(grant.task_id, grant.retry) for grant in ex.seen] == [("a", 0), ("a", 1)]


def test_a_long_poll_without_work_is_answered_with_nothing_at_its_end(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    ex.claim(wait=20.0)
    [poll] = ex.polls
    w.run(19.9)
    assert not poll.future.done()
    w.run(0.1)
    assert poll.future.result(0) == Answer()


def test_a_poll_without_patience_is_answered_in_its_step(world: Make) -> None:
    w = world(dag("d", "a"))
    assert w.do(Claim("one", 4, 0.0)) == Answer()


def test_a_newer_long_poll_replaces_the_one_before(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    ex.claim()
    [first] = ex.polls
    ex.claim()
    assert first.future.result(0) == Answer()
    [second] = ex.polls
    w.trigger()
    assert [grant.task_id for grant in second.future.result(0).grants] == ["a"]


def test_two_polls_in_one_step_give_the_work_to_one_of_them(world: Make) -> None:
    w = world(wide(width=3))
    ex = w.executor(slots=2)
    w.trigger()
    first, second = w.send(ex.claims(), ex.claims())
    assert first.future.done()
    assert second.future.done()
    assert len(ex.held) == 2


def test_an_answer_that_nobody_waits_for_any_more_loses_no_grant(world: Make) -> None:
    """A client that has given up cancels its future; what it would have been told is in the next answer."""
    w = world(dag("d", "a"))
    ex = w.executor()
    ex.claim()
    assert ex.polls[0].future.cancel()
    w.trigger()
    assert ex.held == {}
    ex.claim()
    assert ids(ex) == ["a"]
    ex.finish()
    assert w.runs()[0][1] == "SUCCESS"


def test_a_report_that_nobody_waits_for_any_more_counts_and_loses_no_grant(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    from ppacer.scheduler.requests import Request

    request = Request(ex.reports((ex.holding("a"), End.SUCCESS)))
    assert request.future.cancel()
    w.send(request)
    ex.held.clear()
    ex.claim()
    assert ids(ex) == ["a", "b"]
    ex.finish()
    assert w.status(run) == "SUCCESS"


# -- reports -------------------------------------------------------------------------------------------------


def test_a_chain_needs_one_commit_per_hop(world: Make) -> None:
    """Success, the ready child and its grant are one transaction; the answer carries the grant."""
    w = world(dag("d", "a", "b: a", "c: b", "e: c"))
    ex = w.executor(slots=1)
    run = w.trigger()
    ex.claim()
    for task_id, after in zip("abce", ["b", "c", "e", None], strict=True):
        commits = w.store.commits
        answer = ex.report(ex.holding(task_id))
        assert w.store.commits == commits + 1
        assert answer.accepted == [True]
        assert [grant.task_id for grant in answer.grants] == ([] if after is None else [after])
    assert w.status(run) == "SUCCESS"


def test_a_batch_of_requests_is_one_commit(world: Make) -> None:
    w = world(wide(), dag("e", "a"))
    ex, other = w.executor("one", slots=5), w.executor("two", slots=5)
    w.trigger()
    ex.claim()
    other.claim()
    commits = w.store.commits
    w.send(
        ex.reports(*((grant, End.SUCCESS) for grant in ex.held.values())),
        other.reports(*((grant, End.FAILED) for grant in other.held.values())),
        TriggerRun("e"),
        TriggerRun("e"),
        ex.claims(),
    )
    assert w.store.commits == commits + 1


def test_a_step_without_anything_to_do_commits_nothing(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    commits = w.store.commits
    w.run(600, beat=[ex])
    assert w.store.commits == commits


@pytest.mark.parametrize(("begun", "status"), [(True, "FAILED"), (False, "FAILED_PENDING_RETRY")])
def test_what_was_handed_back_before_it_began_is_granted_again(world: Make, begun: bool, status: str) -> None:
    w = world(dag("d", "a", configs={"a": {"at_most_once": True}}))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), End.HANDED_BACK, begun=begun)
    assert w.attempts(run)[0] == ("a", 0, status, "HANDED_BACK")


@pytest.fixture
def small_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task takes 100 bytes at most."""
    monkeypatch.setattr(grants, "INPUTS_BYTES_MAX", 100)


@pytest.mark.parametrize(("chars", "fits"), [(37, True), (38, False)])  # and "a", the quotes, the framing
def test_a_task_with_too_large_inputs_is_granted_with_the_words_why_it_fails(
    world: Make, small_inputs: None, chars: int, fits: bool
) -> None:
    w = world(dag("d", "a", "b", "c: a b"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), result='"' + "x" * 37 + '"')
    ex.report(ex.holding("b"), result='"' + "x" * chars + '"')
    grant = ex.holding("c")
    if fits:
        assert (len(grant.results), grant.problem) == (2, None)
    else:
        assert grant.results == {}
        assert "the results that task 'c' takes from its 2 parents have more than 100 bytes" in str(
            grant.problem
        )


def test_grants_with_large_inputs_are_told_a_few_at_a_time(world: Make, small_inputs: None) -> None:
    w = world(dag("d", "a", *(f"t{n}: a" for n in range(5))))
    ex = w.executor()
    w.trigger()
    ex.claim()
    poll = ex.claims()
    w.send(poll)
    told = [len(ex.report(ex.holding("a"), result='"' + "x" * 60 + '"').grants)]
    told += [len(poll.future.result(0).grants)]
    w.run(60, beat=[ex])  # nothing that waits to be told is lost meanwhile
    assert told == [2, 2]
    assert sorted(ids(ex)) == ["a", "t0", "t1", "t2", "t3", "t4"]


def test_results_of_parents_are_in_the_grant(world: Make) -> None:
    w = world(dag("d", "a", "b", "x", "c: a b", "e: c"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    ex.report(ex.holding("a"), result='{"rows": [1, 2]}')
    ex.report(ex.holding("b"))  # returns nothing
    assert ex.holding("c").results == {"a": '{"rows": [1, 2]}'}
    ex.report(ex.holding("c"), result="7")
    assert ex.holding("e").results == {"c": "7"}


def test_the_configuration_of_the_task_is_in_the_grant(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"timeout": timedelta(seconds=0.25), "runner": "thread"}}))
    ex = w.executor()
    w.trigger()
    ex.claim()
    grant = ex.holding("a")
    assert (grant.timeout, grant.runner, grant.params) == (0.25, "thread", {})


def test_a_report_without_the_token_changes_nothing(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    before = w.everything()
    for report in (
        Report(run, "a", 0, "another token", End.SUCCESS),
        Report(run, "a", 0, "", End.FAILED),
        Report(run, "nobody", 0, ex.holding("a").token, End.SUCCESS),
        Report(run + 1, "a", 0, ex.holding("a").token, End.SUCCESS),
        Report(2**62, "a", 0, ex.holding("a").token, End.SUCCESS),
    ):
        assert w.do(Reports("remote", [report])).accepted == [False]
        assert w.everything() == before
    assert ex.report(ex.holding("a")).accepted == [True]


def test_the_report_of_a_replaced_attempt_is_refused_and_changes_nothing(world: Make) -> None:
    w = world(dag("d", "a"))
    slow, quick = w.executor("slow"), w.executor("quick")
    run = w.trigger()
    slow.claim()
    w.run(35, beat=[quick])  # slow is not heard of
    assert quick.holding("a").retry == 1
    before = w.everything()
    assert slow.report(slow.holding("a"), result="1").accepted == [False]
    assert w.everything() == before
    quick.finish()
    assert w.attempts(run) == [("a", 0, "FAILED_PENDING_RETRY", "LOST"), ("a", 1, "SUCCESS", None)]


@pytest.mark.parametrize("end", [End.SUCCESS, End.FAILED, End.TIMED_OUT])
def test_a_report_repeated_gets_the_same_answer_and_has_no_second_effect(world: Make, end: End) -> None:
    """The reply may be lost: 26, the same request twice gives the same answer and no second event."""
    w = world(dag("d", "a", "b: a", configs={"a": {"retries": 1}}))
    ex = w.executor(slots=1)
    w.trigger()
    ex.claim()
    message = ex.reports((ex.holding("a"), end))
    assert ex.absorb(w.do(message)).accepted == [True]
    before = w.everything()
    assert w.do(message).accepted == [True]
    assert w.do(message).accepted == [True]
    assert w.everything() == before


def test_the_same_report_twice_in_one_message_counts_once(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 3}}))
    ex = w.executor()
    w.trigger()
    ex.claim()
    grant = ex.holding("a")
    w.do(ex.reports((grant, End.FAILED), (grant, End.FAILED)))
    assert len(w.attempts(1)) == 2


def test_a_report_with_another_token_is_refused_also_after_the_end(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.trigger()
    ex.finish()
    assert w.do(Reports("remote", [Report(1, "a", 0, "another token", End.SUCCESS)])).accepted == [False]


def test_another_end_of_an_attempt_that_has_ended_is_refused(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    grant = ex.holding("a")
    ex.report(grant)
    before = w.everything()
    assert ex.report(grant, End.FAILED).accepted == [False]
    assert w.everything() == before


def test_one_message_about_many_ends_has_a_flag_for_each(world: Make) -> None:
    w = world(wide(width=3))
    ex = w.executor()
    w.trigger()
    ex.claim()
    good = list(ex.held.values())
    bad = Report(1, "t0", 0, "no token", End.SUCCESS)
    message = ex.reports(*((grant, End.SUCCESS) for grant in good))
    answer = w.do(Reports("remote", [message.reports[0], bad, *message.reports[1:]]))
    assert answer.accepted == [True, False, True, True]


def test_the_report_of_an_attempt_by_an_executor_of_another_name_counts_and_frees_its_slot(
    world: Make,
) -> None:
    """An executor that was started again under a new name still has what the old one left behind."""
    w = world(wide(width=2))
    old, new = w.executor("old", slots=1), w.executor("new", slots=1)
    w.trigger()
    old.claim()
    assert new.report(old.holding("t0")).accepted == [True]
    old.held.clear()
    old.claim()
    assert ids(old) == ["t0", "t1"]


# -- leases --------------------------------------------------------------------------------------------------


def lost(w: World, run: int = 1) -> bool:
    return bool(w.rows("SELECT 1 FROM dagruntasks WHERE LostAt IS NOT NULL"))


def test_a_lease_ends_after_30_seconds_without_a_word_and_not_before(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    w.run(29.9, step=1)
    assert not lost(w)
    w.run(1.1, step=0.1)
    assert lost(w)


def test_any_word_of_the_executor_renews_its_lease(world: Make) -> None:
    w = world(wide(width=2))
    ex = w.executor(slots=2)
    w.trigger()
    ex.claim()
    w.run(25)
    ex.beat()
    w.run(25)
    ex.claim()
    w.run(25)
    ex.report(ex.holding("t0"))
    w.run(25)
    assert not lost(w)
    w.run(10)
    assert lost(w)


def test_an_open_long_poll_is_not_a_sign_of_life(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    ex.claim(wait=600)
    [poll] = ex.polls
    w.run(32, step=1)
    assert lost(w)
    assert poll.future.result(0) == Answer()  # and it does not hang for ever


def test_a_lost_attempt_is_granted_anew_and_the_old_one_is_closed_as_lost(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    dead, ex = w.executor("dead"), w.executor("alive")
    run = w.trigger()
    dead.claim()
    w.run(31, step=1, beat=[ex])
    assert ex.holding("a").retry == 1
    assert w.attempts(run, "a") == [("a", 0, "FAILED_PENDING_RETRY", "LOST"), ("a", 1, "RUNNING", None)]
    ex.finish()
    assert w.status(run) == "SUCCESS"


def test_a_late_success_counts_as_long_as_no_newer_attempt_was_granted(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.run(35)
    assert lost(w)
    assert ex.report(ex.holding("a")).accepted == [True]
    ex.finish()
    assert w.attempts(run) == [("a", 0, "SUCCESS", None), ("b", 0, "SUCCESS", None)]


def test_three_losses_are_granted_anew_and_the_fourth_is_the_end(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    run = w.trigger()
    for n in range(4):
        assert w.status(run) == "RUNNING"
        [grant] = w.executor(f"victim-{n}").claim()
        assert grant.retry == n
        w.run(35)
    assert w.status(run) == "FAILED"
    assert [row[2:] for row in w.attempts(run, "a")] == [
        *[("FAILED_PENDING_RETRY", "LOST")] * 3,
        ("FAILED", "LOST"),
    ]
    assert w.attempts(run, "b") == [("b", 0, "UPSTREAM_FAILED", None)]
    [alert] = w.rows("SELECT * FROM outbox")
    assert alert["Kind"] == "FAILURE"


def test_losses_use_up_no_retries(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"retries": 1}}))
    run = w.trigger()
    for n in range(3):
        w.executor(f"victim-{n}").claim()
        w.run(35)
    ex = w.executor("alive")
    ex.claim()
    ex.report(ex.holding("a"), End.FAILED)
    assert ex.holding("a").retry == 4
    ex.finish()
    assert w.status(run) == "SUCCESS"


def test_a_task_that_may_run_once_only_is_never_granted_anew(world: Make) -> None:
    w = world(dag("d", "a", configs={"a": {"at_most_once": True}}))
    run = w.trigger()
    w.executor().claim()
    w.run(35)
    assert w.status(run) == "FAILED"
    assert w.attempts(run) == [("a", 0, "FAILED", "LOST")]


def test_a_cancelled_run_ends_when_the_lease_of_its_dead_executor_does(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.executor().claim()
    w.run(5)
    w.do(CancelRun(run))
    assert w.status(run) == "RUNNING"
    w.run(31)
    assert w.status(run) == "CANCELLED"


@pytest.mark.parametrize("gap", [15.5, 20, 24.9, 25, 30, 31, 59, 120, 8 * 3600])
def test_no_attempt_is_lost_because_the_whole_program_was_stopped(world: Make, gap: float) -> None:
    """The executor is heard of every 10 s, something else keeps the scheduler busy; then all is stopped."""
    w = world(dag("d", "a"), dag("busy", "x"))
    ex, other = w.executor(), w.executor("other")
    run = w.trigger()
    ex.claim()
    ex.beat()
    w.run(9.5, step=0.5, beat=[other])
    w.jump(gap)
    w.send()
    w.jump(0.5)
    w.send()
    assert not lost(w)
    ex.beat()
    w.run(60, beat=[ex, other])
    ex.report(ex.holding("a"))
    assert w.attempts(run) == [("a", 0, "SUCCESS", None)]


def test_a_program_stopped_again_and_again_still_notices_a_dead_executor(world: Make) -> None:
    w = world(dag("d", "a"))
    w.executor().claim()
    w.trigger()
    for _ in range(10):
        w.jump(100)
        w.run(10, step=1)
    assert lost(w)


def test_an_idle_scheduler_wakes_often_enough_to_see_a_lease_end(world: Make) -> None:
    """Driven by its own idea of when to wake, with an executor that has died."""
    w = world(dag("d", "a"))
    w.trigger()
    w.executor().claim(wait=0.0)
    begin = w.mono
    while not lost(w):
        pause = w.scheduler._pause(w.now())
        assert pause > 0
        w.jump(pause)
        w.send()
        assert w.mono - begin < 32


def test_a_heartbeat_in_the_inbox_saves_the_lease_however_slow_the_step_was(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    w.run(20, step=10)
    w.jump(12)  # a slow commit; the heartbeat came meanwhile
    ex.beat()
    assert not lost(w)


def test_a_short_lease_is_kept_too(world: Make) -> None:
    w = world(dag("d", "a"), lease=1.0)
    ex = w.executor()
    w.trigger()
    ex.claim()
    w.run(0.95, step=0.1)
    assert not lost(w)
    w.run(0.5, step=0.1)
    assert lost(w)


def test_the_stored_end_of_the_lease_is_for_the_reader(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.executor().claim()
    [row] = w.rows("SELECT * FROM dagruntasks")
    assert (row["Executor"], row["LeaseEndAt"]) == ("remote", "2026-03-02T12:00:30.000000Z")


def test_the_scheduler_gives_a_task_up_one_lease_after_its_timeout(world: Make) -> None:
    """The executor lives, but does not end the attempt: its own timer has failed."""
    w = world(dag("d", "a", default=TaskConfig(timeout=timedelta(seconds=60))))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.run(89, beat=[ex])
    assert w.status(run) == "RUNNING"
    w.run(3, step=1, beat=[ex])
    assert w.attempts(run) == [("a", 0, "FAILED", "TIMED_OUT")]
    assert set(ex.cancelled) == {grant.token for grant in ex.seen}  # as often as it says that it has it
    assert ex.report(ex.holding("a")).accepted == [False]


def test_a_task_without_timeout_is_never_given_up(world: Make) -> None:
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    ex.claim()
    w.run(3600 * 5, step=10, beat=[ex])
    assert w.status(run) == "RUNNING"


def test_a_grant_that_never_arrived_is_noticed_by_the_heartbeats(world: Make) -> None:
    """The answer was lost on its way: the executor lives and does not have the attempt."""
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    w.send(Claim("remote", 100, 0.0))  # nobody reads the answer
    assert ex.held == {}
    w.run(25, beat=[ex])
    assert not lost(w)
    w.run(20, beat=[ex])
    assert ex.holding("a").retry == 1
    ex.finish()
    assert w.attempts(run) == [("a", 0, "FAILED_PENDING_RETRY", "LOST"), ("a", 1, "SUCCESS", None)]


def test_an_attempt_that_is_named_by_heartbeats_is_kept_for_ever(world: Make) -> None:
    w = world(dag("d", "a", "b: a"))
    ex = w.executor()
    w.trigger()
    ex.claim()
    w.run(300, beat=[ex])
    assert not lost(w)


def test_an_executor_forgotten_is_taken_in_again(world: Make) -> None:
    w = world(wide(width=3))
    ex = w.executor(slots=1)
    w.trigger()
    ex.claim()
    w.run(60)
    ex.held.clear()
    assert len(ex.claim()) == 1
    ex.finish()
    assert w.runs()[0][1] == "SUCCESS"


def test_the_trigger_is_in_the_grant(world: Make) -> None:
    from ppacer.schedule import Fixed

    w = world(dag("d", "a", schedule=Fixed(at(10), timedelta(days=1))))
    ex = w.executor()
    w.trigger()
    w.run(10)
    ex.claim()
    assert [grant.trigger for grant in ex.seen] == ["manual", "schedule"]
    assert [grant.exec_ts for grant in ex.seen] == [T0, at(10)]


def test_what_was_given_to_somebody_else_is_to_be_ended(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    late, other = w.executor("late"), w.executor("other")
    [grant] = late.claim()
    w.run(31)
    [newer] = other.claim()
    assert newer.retry == grant.retry + 1
    late.beat()
    assert late.cancelled == [grant.token]


def test_who_comes_back_before_anybody_else_was_given_its_attempt_goes_on_with_it(world: Make) -> None:
    """A laptop that slept for a minute does not begin a task of ten hours anew."""
    w = world(dag("d", "a"))
    late, other = w.executor("late"), w.executor("other")
    run = w.trigger()
    late.claim()
    w.run(35)
    assert lost(w)
    assert late.beat().cancel == []
    assert not lost(w)
    assert other.claim() == []
    w.run(100, beat=[late, other])
    assert late.report(late.holding("a")).accepted == [True]
    assert w.attempts(run) == [("a", 0, "SUCCESS", None)]


def test_who_names_a_lost_attempt_in_the_step_in_which_another_one_claims_keeps_it(world: Make) -> None:
    w = world(dag("d", "a"))
    late, other = w.executor("late"), w.executor("other")
    w.trigger()
    late.claim()
    w.run(35)
    w.send(other.claims(), late.ask(Heartbeat("late", list(late.held))))
    assert (len(late.held), len(other.held), late.cancelled) == (1, 0, [])


def test_what_was_taken_back_and_is_lost_again_is_granted_anew(world: Make) -> None:
    w = world(dag("d", "a"))
    late, other = w.executor("late"), w.executor("other")
    run = w.trigger()
    late.claim()
    for _ in range(5):
        w.run(35)
        late.beat()
    w.run(35, beat=[other])
    assert w.attempts(run) == [("a", 0, "FAILED_PENDING_RETRY", "LOST"), ("a", 1, "RUNNING", None)]


def test_nobody_takes_back_what_was_granted_to_another_one(world: Make) -> None:
    w = world(dag("d", "a"))
    late, other = w.executor("late"), w.executor("other")
    w.trigger()
    [grant] = late.claim()
    w.run(35)
    assert w.do(Heartbeat("other", [grant.token])).cancel == []
    assert lost(w)
    w.send(late.ask(Heartbeat("late", [grant.token])), Goodbye("late"))
    assert lost(w)  # it was its own again for a moment
    assert len(other.claim()) == 1


class NotWalked(dict[int, Any]):
    """Open runs that may be looked up, but not all of them."""

    def values(self) -> Any:
        pytest.fail("all open runs were looked at")

    __iter__ = items = values


def test_what_a_stranger_costs_does_not_grow_with_what_is_open(world: Make) -> None:
    """An executor that comes back after its lease names all it has, with each heartbeat."""
    w = world(dag("d", "a", "b", "c"))
    late, other = w.executor("late"), w.executor("other", slots=1)
    w.trigger()
    late.claim()
    w.run(35)
    assert len(other.claim()) == 1
    w.checks, engine = False, w.scheduler.memory.engine  # the checks look at all
    engine.runs = NotWalked(engine.runs)
    assert len(w.do(Heartbeat("late", list(late.held))).cancel) == 1
    assert len(w.scheduler.memory.tasks.sessions["late"].held) == 2  # taken back


def test_a_hello_takes_back_what_is_only_lost(world: Make) -> None:
    w = world(dag("d", "a"))
    run = w.trigger()
    w.do(hello())
    [grant] = w.do(Claim("one", 4, 1.0, "l")).grants
    w.run(40)
    with pytest.raises(UnknownExecutorError):
        w.do(Claim("one", 4, 1.0, "l"))
    w.do(hello(tokens=[grant.token]))
    assert w.do(Claim("one", 4, 0.0, "l")) == Answer()
    assert not lost(w)
    report = Report(run, "a", 0, grant.token, End.SUCCESS)
    assert w.do(Reports("one", [report])).accepted == [True]
    assert w.attempts(run) == [("a", 0, "SUCCESS", None)]


def test_a_cancel_whose_answer_was_lost_is_told_with_every_heartbeat(world: Make) -> None:
    """Half-open sockets swallow answers: what an executor still names it has not been told to end."""
    w = world(dag("d", "a"))
    ex = w.executor()
    run = w.trigger()
    [grant] = ex.claim()
    w.do(CancelRun(run))
    w.do(Heartbeat("remote", [grant.token]))  # nobody reads the answer
    for _ in range(3):
        w.run(10)
        assert ex.beat().cancel == [grant.token]
    ex.report(grant, End.CANCELLED)
    assert w.status(run) == "CANCELLED"
    assert ex.beat().cancel == []


# -- hello and goodbye ---------------------------------------------------------------------------------------


def hello(name: str = "one", identity: str = "i", life: str = "l", **facts: Any) -> Greeting:
    return Greeting(Hello(name, identity=identity, life=life, slots=4, **facts))


def test_a_hello_is_a_row_and_a_claim_of_another_life_is_not_known(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.do(hello(labels=["gpu"]))
    [row] = w.rows("SELECT * FROM executors")
    assert (row["Name"], row["Labels"], row["GoneAt"]) == ("one", '["gpu"]', None)
    with pytest.raises(UnknownExecutorError):
        w.do(Claim("one", 4, 0.0, "another"))
    assert len(w.do(Claim("one", 4, 1.0, "l")).grants) == 1


def test_a_new_life_begins_at_once_what_the_one_before_it_had(world: Make) -> None:
    w = world(dag("d", "a", "b"))
    run = w.trigger()
    w.do(hello())
    first, second = w.do(Claim("one", 4, 1.0, "l")).grants
    w.do(hello(life="m", tokens=[first.token]))
    assert [row[1:3] for row in w.attempts(run) if row[0] == first.task_id] == [(0, "RUNNING")]
    again = w.do(Claim("one", 4, 1.0, "m")).grants
    assert [(grant.task_id, grant.retry) for grant in again] == [(second.task_id, 1)]


def test_the_same_hello_again_takes_nothing_away(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.do(hello())
    [grant] = w.do(Claim("one", 4, 1.0, "l")).grants
    w.do(hello())
    assert w.do(Heartbeat("one", [grant.token])) == Answer()
    assert w.do(Claim("one", 4, 0.0, "l")).grants == []


def test_a_name_is_free_when_its_executor_is_gone(world: Make) -> None:
    w = world()
    w.do(hello())
    with pytest.raises(ExecutorRefusedError, match="there is an executor one already"):
        w.do(hello(identity="j"))
    w.run(31)
    [row] = w.rows("SELECT * FROM executors")
    assert row["GoneReason"] == "not heard of for 30 s"
    w.do(hello(identity="j"))
    [row] = w.rows("SELECT * FROM executors")
    assert (row["Identity"], row["GoneAt"]) == ("j", None)


def test_a_name_is_kept_for_its_executor_over_a_restart_of_the_scheduler(world: Make) -> None:
    w = world()
    w.do(hello())
    w.start()
    with pytest.raises(ExecutorRefusedError):
        w.do(hello(identity="j"))
    w.run(31)
    assert w.rows("SELECT GoneAt FROM executors")[0]["GoneAt"] is not None


def test_a_heartbeat_is_written_once_in_a_lease(world: Make) -> None:
    w = world()
    w.do(hello())
    written = set()
    for _ in range(120):
        w.jump(1.0)
        w.do(Heartbeat("one", []))
        written.add(w.rows("SELECT HeartbeatAt FROM executors")[0]["HeartbeatAt"])
    assert len(written) == 5  # hello, and after 30, 60, 90, 120 s


def test_a_goodbye_ends_the_lease_at_once(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.do(hello())
    w.do(Claim("one", 4, 1.0, "l"))
    w.do(Claim("one", 0, 0.0, "l"))
    assert w.rows("SELECT DrainingAt FROM executors")[0]["DrainingAt"] is not None
    w.do(Goodbye("one"))
    [row] = w.rows("SELECT * FROM executors")
    assert row["GoneReason"] == "it has stopped"
    assert len(w.executor("other").claim()) == 1


def test_the_long_poll_of_a_life_that_is_over_is_given_nothing(world: Make) -> None:
    """Its connection may be half open: what it is told nobody hears, and a lease would go by."""
    w = world(dag("d", "a"))
    w.do(hello())
    [poll] = w.send(Claim("one", 4, 20.0, "l"))
    run = Request(TriggerRun("d"))
    w.send(hello(life="m"), run, Claim("one", 4, 20.0, "l"))
    assert poll.future.result(0) == Answer()
    assert run.future.result(0)
    assert len(w.do(Claim("one", 4, 1.0, "m")).grants) == 1


def test_a_hello_of_a_new_life_that_fails_leaves_nobody_to_be_given_work(world: Make) -> None:
    w = world(dag("d", "a"))
    w.do(hello())
    [poll] = w.send(Claim("one", 4, 20.0, "l"))
    w.store.away = True
    w.refused(hello(life="m"))
    w.store.away = False
    w.run(5, step=1)
    w.trigger()
    assert poll.future.result(0) == Answer()
    with pytest.raises(UnknownExecutorError):
        w.do(Claim("one", 4, 20.0, "l"))
    w.do(hello(life="m"))
    assert len(w.do(Claim("one", 4, 1.0, "m")).grants) == 1


def test_a_report_of_a_life_that_is_over_counts_and_is_given_no_work(world: Make) -> None:
    """Nobody would hear of it; a task that is to run once at most would fail without having run."""
    w = world(dag("d", "a", "b:a"))
    run = w.trigger()
    w.do(hello())
    [grant] = w.do(Claim("one", 4, 1.0, "l")).grants
    w.send(hello(life="m", tokens=[grant.token]), Claim("one", 4, 0.0, "m"))
    w.do(Claim("one", 4, 0.0, "m"))
    report = Report(run, "a", 0, grant.token, End.SUCCESS)
    assert w.do(Reports("one", [report], "l")) == Answer(accepted=[True])
    [grant] = w.do(Claim("one", 4, 1.0, "m")).grants
    assert grant.task_id == "b"
    report = Report(run, "b", 0, grant.token, End.SUCCESS)
    assert w.do(Reports("one", [report], "m")).accepted == [True]


def test_a_heartbeat_of_a_life_that_is_over_is_passed_over(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.do(hello())
    [grant] = w.do(Claim("one", 4, 1.0, "l")).grants
    w.do(hello(life="m"))
    assert lost(w)
    assert w.do(Heartbeat("one", [grant.token], "l")) == Answer()
    assert lost(w)  # the new life does not have it
    assert len(w.executor("other").claim()) == 1
    assert w.do(Heartbeat("one", [grant.token], "l")).cancel == [grant.token]  # should it be there yet
    w.run(25)
    w.do(Heartbeat("one", [], "l"))
    w.run(10)
    with pytest.raises(UnknownExecutorError):
        w.do(Claim("one", 4, 1.0, "m"))  # nothing was heard of it for a lease


def test_a_goodbye_that_comes_after_the_hello_of_the_next_life_ends_nothing(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.do(hello(life="m"))
    [grant] = w.do(Claim("one", 4, 1.0, "m")).grants
    w.do(Goodbye("one", "l"))
    assert w.rows("SELECT GoneAt FROM executors")[0]["GoneAt"] is None
    assert w.do(Heartbeat("one", [grant.token])).cancel == []
    w.do(Goodbye("one", "m"))
    assert w.rows("SELECT GoneAt FROM executors")[0]["GoneAt"] is not None


def test_a_goodbye_and_the_hello_of_the_next_life_in_one_step_leave_it_living(world: Make) -> None:
    w = world(dag("d", "a"))
    w.trigger()
    w.do(hello())
    w.send(Goodbye("one", "l"), hello(life="m"))
    assert w.rows("SELECT GoneAt FROM executors")[0]["GoneAt"] is None
    assert len(w.do(Claim("one", 4, 1.0, "m")).grants) == 1


def test_the_same_hello_twice_in_one_step_is_one_row(world: Make) -> None:
    w = world()
    commits = w.store.commits
    w.send(hello(), hello())
    assert w.store.commits == commits + 1
    assert w.rows("SELECT Name FROM executors") == [{"Name": "one"}]


def test_a_claim_and_a_goodbye_behind_a_goodbye_are_no_surprise_when_each_is_decided_alone(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    w = world()
    w.do(hello())
    w.store.faults = list(failing("before", StaleWrite("no")))
    goodbye, again, claim = w.send(Goodbye("one", "l"), Goodbye("one", "l"), Claim("one", 4, 0.0, "l"))
    assert goodbye.future.result(0) is None
    assert again.future.result(0) is None
    assert claim.future.result(0) == Answer()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_restart_of_the_scheduler_changes_nothing_of_the_rows_of_executors(world: Make) -> None:
    w = world()
    w.do(hello())
    before = w.rows("SELECT * FROM executors")
    w.jump(100)
    w.start()
    w.run(20)  # not a word of it
    assert w.rows("SELECT * FROM executors") == before


def test_an_executor_whose_row_was_deleted_does_not_stop_the_others(world: Make) -> None:
    w = world(dag("d", "a"))
    w.do(hello())
    w.write("DELETE FROM executors")
    for _ in range(4):
        w.jump(20)
        w.do(Heartbeat("one", []))
    commits = w.store.commits
    w.trigger()
    assert w.store.commits == commits + 1  # and not once more, after a batch that failed
    w.do(hello())
    assert len(w.rows("SELECT * FROM executors")) == 1


# -- drains --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last"), [(DrainExecutor, UndrainExecutor), (UndrainExecutor, DrainExecutor)]
)
def test_of_commands_in_one_round_the_last_one_holds(world: Make, first: Any, last: Any) -> None:
    w = world(wide())
    w.do(hello())
    w.do(last("one"))
    w.send(first("one"), last("one"))
    w.trigger()
    assert len(w.do(Claim("one", 4, 0.0, "l")).grants) == (0 if last is DrainExecutor else 4)


def test_the_round_that_drains_an_executor_gives_it_nothing(world: Make) -> None:
    w = world(wide())
    w.do(hello())
    [poll] = w.send(Claim("one", 4, 20.0, "l"))
    w.send(DrainExecutor("one"), TriggerRun("d", {}))
    w.run(1)
    assert not poll.is_answered
