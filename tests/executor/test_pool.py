"""What holds for the runner `pool`: children that take one job after the other."""

import pytest

from executor.world import FAILED, SUCCESS, Memory, eventually, fork, grant, is_running, messages
from ppacer.dag import Registry
from ppacer.executor.children import Children
from ppacer.executor.runner import Runner


def test_a_child_is_used_again(pool: Runner, memory: Memory) -> None:
    assert len({memory.run(pool, "who")[0].result for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("task_id", "options"),
    [
        ("dies", {"how": "segfault"}),
        ("dies", {"how": "exit", "code": 0}),
        ("sleeps", {"timeout": 0.1}),
        ("takes", {"megabytes": 300, "keeps": True}),
    ],
)
def test_a_child_that_crashed_timed_out_or_grew_is_replaced(
    pool: Runner, memory: Memory, task_id: str, options: dict[str, object]
) -> None:
    before = memory.run(pool, "who")[0].result
    memory.run(pool, task_id, **options)
    after = memory.run(pool, "who")[0].result
    assert before != after
    eventually(lambda: not is_running(int(before or 0)), "the end of the child")


def test_a_child_that_failed_is_used_again(pool: Runner, memory: Memory) -> None:
    before = memory.run(pool, "who")[0].result
    assert memory.run(pool, "fails")[0].end is FAILED
    assert memory.run(pool, "takes", megabytes=300)[0].end is SUCCESS  # and gives it back
    assert memory.run(pool, "who")[0].result == before


def test_peak_memory_is_that_of_the_attempt(pool: Runner, memory: Memory) -> None:
    small = memory.run(pool, "nothing")[0].peak_memory or 0
    large = memory.run(pool, "takes", megabytes=100)[0].peak_memory or 0
    again = memory.run(pool, "nothing")[0].peak_memory or 0
    assert large > small + 90 * 2**20
    assert again < small + 50 * 2**20


def test_every_byte_belongs_to_its_attempt(pool: Runner, memory: Memory) -> None:
    grants = [memory.start(pool, grant("shout", word=f"w{n}", count=20)) for n in range(100)]
    for number, started in enumerate(grants):
        memory.end_of(started)
        assert messages(memory.log_of(started), "stdout") == [f"w{number} {n}" for n in range(20)]
        assert messages(memory.log_of(started), "stderr") == [f"problem {n}" for n in range(20)]


def test_unfinished_lines_do_not_run_into_the_next_attempt(pool: Runner, memory: Memory) -> None:
    for _ in range(5):
        assert messages(memory.run(pool, "mutter")[1]) == ["begun", "no newline"]


def test_a_task_that_replaces_stdout_does_not_silence_the_next(pool: Runner, memory: Memory) -> None:
    before = memory.run(pool, "who")[0].result
    assert messages(memory.run(pool, "replaces_stdout")[1]) == ["before"]
    assert messages(memory.run(pool, "mutter")[1]) == ["begun", "no newline"]
    assert memory.run(pool, "who")[0].result == before


def test_what_was_printed_before_the_pipe_was_replaced_is_kept(pool: Runner, memory: Memory) -> None:
    for _ in range(20):
        assert messages(memory.run(pool, "redirects")[1]) == ["before"]


def test_state_of_the_process_stays_as_documented(pool: Runner, memory: Memory) -> None:
    memory.run(pool, "remembers", word="a")
    assert memory.run(pool, "remembers", word="b")[0].result == '["a","b"]'


def test_a_process_attempt_never_gets_a_used_child(children: Children, memory: Memory) -> None:
    for _ in range(3):
        memory.run(children.pool, "remembers", word="a")
        assert memory.run(children.process, "remembers", word="b")[0].result == '["b"]'


def test_idle_children_leave(registry: Registry, memory: Memory) -> None:
    children = Children(fork(registry), memory, idle_seconds=0.1)
    pids = [
        int(memory.end_of(g).result or 0)
        for g in [memory.start(children.pool, grant("who")) for _ in range(8)]
    ]
    eventually(lambda: not any(map(is_running, pids)), "the end of idle children")
    assert memory.run(children.pool, "nothing")[0].end is SUCCESS
    children.close()
