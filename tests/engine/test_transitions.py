"""The table of legal transitions: complete, as the documents have it, every line reachable."""

from typing import get_args

import pytest

from engine.oracle import TASK_MOVES
from engine.world import World, chain, graph
from ppacer.engine import RUN_FINAL, TASK_FINAL, Reason, RunStatus, TaskStatus
from ppacer.engine.engine import _HANDLERS
from ppacer.engine.events import Event
from ppacer.engine.model import TRANSITIONS

MOVES = {(old, new) for old, targets in TRANSITIONS.items() for new in targets}
LOST = (
    TaskStatus.RUNNING,
    TaskStatus.RUNNING,
)  # a lost attempt and its successor: two rows, one step of the task
RESERVED = (TaskStatus.SKIPPED, TaskStatus.NO_STATUS)  # for branching, which comes later


def test_every_status_has_its_line() -> None:
    assert set(TRANSITIONS) == set(TaskStatus)


def test_the_table_says_what_the_documents_say() -> None:
    assert MOVES - {LOST, RESERVED} == TASK_MOVES


def test_only_a_restart_leaves_a_final_status_and_never_success() -> None:
    for status in TASK_FINAL:
        assert TRANSITIONS[status] <= {TaskStatus.NO_STATUS}
    assert TRANSITIONS[TaskStatus.SUCCESS] == frozenset()
    assert {RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED} == RUN_FINAL


def test_a_status_that_is_not_final_can_reach_every_end_that_concerns_it() -> None:
    reach = {status: set(targets) for status, targets in TRANSITIONS.items()}
    for _ in TaskStatus:
        for targets in reach.values():
            targets.update(*(reach[status] for status in list(targets)))
    for status in set(TaskStatus) - TASK_FINAL:
        assert {TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED} <= reach[status]


def test_every_line_of_the_table_occurs() -> None:
    seen = set()
    world = World()
    world.trigger(graph("a", "b: a", "c", "d: c", a={"retries": 9, "retry_delay": 5.0}))
    world.claim(2)
    world.fail("a")
    world.wait(5)
    world.fail("c")
    world.cancel()
    world.restart()
    world.claim(2)
    world.succeed("c")
    world.fail("a")
    world.cancel()
    seen |= world.rows.task_moves
    world = World()
    world.trigger(graph("a"))
    world.claim()
    world.cancel()
    world.fail("a", Reason.CANCELLED)
    seen |= world.rows.task_moves
    assert seen == TASK_MOVES


def test_the_engine_refuses_a_move_that_is_not_in_the_table() -> None:
    world = World()
    world.trigger(chain(1))
    task = world.engine.runs[1].tasks[0]
    for status in set(TaskStatus) - TRANSITIONS[task.status]:
        with pytest.raises(AssertionError):
            world.engine._move(task, status)
    assert task.status is TaskStatus.SCHEDULED


def test_every_event_has_a_handler() -> None:
    assert set(_HANDLERS) == set(get_args(Event))
