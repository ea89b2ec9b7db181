"""What holds for every attempt in a child process, and mostly in a thread, too."""

import json
import os
import threading
from itertools import count
from pathlib import Path

import pytest

from executor.conftest import SHORT
from executor.world import (
    EXEC_TS,
    FAILED,
    PATIENCE,
    SUCCESS,
    TIMED_OUT,
    Memory,
    eventually,
    grant,
    is_running,
    messages,
)
from ppacer.executor import children as children_module
from ppacer.executor.children import Children, ChildRunner
from ppacer.executor.memory import OOM_SCORE
from ppacer.executor.posix import IS_LINUX
from ppacer.executor.runner import Runner
from ppacer.protocol import End


@pytest.mark.parametrize(
    "value", [None, 0, "日本 😀 \x00 \u2028", {"ü": [1.5, None, {"a": []}]}, "x" * 1_000_000]
)
def test_results_make_the_round_trip(runner: Runner, memory: Memory, value: object) -> None:
    outcome, _ = memory.run(runner, "echo", value=value)
    assert outcome.end is SUCCESS
    assert (None if outcome.result is None else json.loads(outcome.result)) == value
    if value is not None:
        results = {"left": "41", "nothing": "1"}
        assert memory.run(runner, "add", results=results)[0].result == "42"


def test_the_context_is_the_same_everywhere(runner: Runner, memory: Memory) -> None:
    started = memory.start(runner, grant("about", timeout=50, results={"nothing": '{"a": 1}'}, x=[1]))
    result = json.loads(memory.end_of(started).result or "")
    assert 0 < result.pop("remaining") <= 50
    is_main = result.pop("thread")
    assert is_main == isinstance(runner, ChildRunner)
    assert result == {
        "dag": "cases",
        "exec_ts": EXEC_TS.isoformat().replace("+00:00", "Z"),
        "run": 1,
        "trigger": "manual",
        "task": "about",
        "retry": started.retry,
        "token": started.token,
        "params": {"x": [1]},
        "cancelled": False,
        "parent": {"a": 1},
    }


def test_large_parents_results_arrive(child: Runner, memory: Memory) -> None:
    results = {f"p{n}": json.dumps("x" * 1_000_000) for n in range(5)}  # far more than a socket takes at once
    results["nothing"] = "7"
    assert json.loads(memory.run(child, "about", results=results)[0].result or "")["parent"] == 7


def test_refusals_come_from_the_child(child: Runner, memory: Memory) -> None:
    assert memory.run(child, "gone")[0].end is End.REFUSED


def test_output_and_errors_are_in_the_log(runner: Runner, memory: Memory) -> None:
    _, log = memory.run(runner, "shout", word="wörd")
    assert messages(log, "stdout") == ["wörd 0", "wörd 1", "wörd 2"]
    assert messages(log, "stderr") == ["problem 0", "problem 1", "problem 2"]
    assert {r.level for r in log} == {"INFO", "WARNING"}
    assert {(r.dag_id, r.exec_ts, r.task_id) for r in log} == {("cases", EXEC_TS, "shout")}
    assert all(r.at.tzinfo is not None for r in log)


def test_an_unfinished_line_is_in_the_log(runner: Runner, memory: Memory) -> None:
    assert messages(memory.run(runner, "mutter")[1]) == ["begun", "no newline"]


def test_records_of_logging_are_in_the_log(runner: Runner, memory: Memory) -> None:
    outcome, log = memory.run(runner, "speak")
    assert outcome.end is SUCCESS
    assert [r.level for r in log] == ["INFO", "WARNING", "INFO", "ERROR"]
    assert log[0].message == "hello world"
    assert log[0].attributes == {"rows": 3, "path": "/tmp/x", "zoë": ["ü", 1.5]}
    assert log[1].message == "from a library"
    assert "not a number" in log[2].message
    assert log[3].message.startswith("caught\nTraceback")
    assert log[3].message.endswith("LookupError: lost")


def test_programs_and_c_code_are_in_the_log(child: Runner, memory: Memory) -> None:
    _, log = memory.run(child, "subprocesses")
    assert messages(log, "stdout") == ["from sh", "from a descriptor", "from C"]
    assert messages(log, "stderr") == ["bad from sh"]


def test_processes_that_a_task_forks_do_not_disturb(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "forks_workers")
    assert (outcome.end, outcome.result) == (SUCCESS, "[0,1,4,9,16]")
    assert sorted(messages(log, "stderr")) == [f"WARNING worker: square of {n}" for n in range(5)]
    assert memory.run(child, "returns_twice")[0].result == '"parent"'
    assert memory.run(child, "echo", value=1)[0].result == "1"


def test_a_process_that_a_task_forks_ends_by_sigterm_from_its_first_moment(
    child: Runner, memory: Memory
) -> None:
    """As the workers of a pool of `multiprocessing` must, or who closes the pool waits for them for ever."""
    assert memory.run(child, "ends_what_it_forks")[0].result == str([-15] * 20).replace(" ", "")


def test_bytes_that_are_no_text_are_in_the_log(child: Runner, memory: Memory) -> None:
    assert messages(memory.run(child, "bytes_out")[1]) == ["\ufffd\ufffd broken \ufffd", "\x00nul"]


def test_coroutines_run_everywhere(runner: Runner, memory: Memory) -> None:
    outcome, log = memory.run(runner, "dreams")
    assert (outcome.result, messages(log)) == ('"dreamt"', ["dreaming"])
    assert str(memory.run(runner, "fails_async")[0].error).startswith("ValueError: async boom")


def test_a_failure_is_in_the_log_and_in_the_outcome(runner: Runner, memory: Memory) -> None:
    outcome, log = memory.run(runner, "fails")
    assert outcome.end is FAILED
    assert str(outcome.error).startswith("ValueError: boom ü\n")
    assert [(r.level, r.message) for r in log] == [("ERROR", outcome.error)]


@pytest.mark.parametrize("kind", ["exit", "rude", "mute", "recursion", "group", "interrupt", "long"])
def test_no_exception_is_too_strange(runner: Runner, memory: Memory, kind: str) -> None:
    assert memory.run(runner, "fails_as", kind=kind)[0].end is FAILED


@pytest.mark.parametrize(("task_id", "what"), [("large", "limit"), ("not_json", "JSON")])
def test_results_that_cannot_be_passed_on(runner: Runner, memory: Memory, task_id: str, what: str) -> None:
    outcome, _ = memory.run(runner, task_id, size=2_000_000, what="nan")
    assert outcome.end is FAILED
    assert what in str(outcome.error)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"how": "segfault"}, "was killed by SIGSEGV (segmentation fault)"),
        ({"how": "abort"}, "was killed by SIGABRT (abort)"),
        ({"how": "kill"}, "was killed by SIGKILL"),
        ({"how": "exit", "code": 3}, "exited with code 3 without a result"),
        ({"how": "exit", "code": 0}, "exited with code 0 without a result"),
    ],
)
def test_a_death_is_told_in_words_and_harms_nobody(
    child: Runner, memory: Memory, how: dict[str, object], words: str
) -> None:
    neighbour = memory.start(child, grant("sleeps", seconds=0.3))
    memory.wait_for(neighbour, "sleeping")
    outcome, log = memory.run(child, "dies", **how)
    assert outcome.end is FAILED
    assert f"the process of the task {words}" in str(outcome.error)
    assert "peak memory" in str(outcome.error)
    assert (outcome.peak_memory or 0) > 1_000_000
    assert "last words" in messages(log, "stdout")
    assert log[-1].message == outcome.error
    if how["how"] == "segfault":
        assert any("Segmentation fault" in m for m in messages(log, "stderr"))
    assert memory.end_of(neighbour).result == '"woke up"'
    assert memory.run(child, "echo", value=1)[0].result == "1"


@pytest.mark.parametrize(
    ("how", "words"), [("close", "without a result|descriptor"), ("garbage", "frame|sent")]
)
def test_a_task_that_meddles_with_our_descriptors_only_harms_itself(
    child: Runner, memory: Memory, how: str, words: str
) -> None:
    outcome, _ = memory.run(child, "dies", how=how)
    assert outcome.end is FAILED
    assert any(word in str(outcome.error) for word in words.split("|"))
    assert memory.run(child, "echo", value=1)[0].result == "1"


@pytest.mark.parametrize("how", ["term", "hard term"])
def test_a_stray_sigterm_is_a_failure(
    child: Runner, memory: Memory, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "STRAY_SECONDS", 0.01)
    outcome, _ = memory.run(child, "dies", how=how)
    assert outcome.end is FAILED
    assert str(outcome.error).startswith("ended by SIGTERM, which ppacer has not sent")
    assert memory.run(child, "echo", value=1)[0].result == "1"


@pytest.mark.parametrize("how", ["term", "hard term"])
@pytest.mark.parametrize("first", ["program", "task"])
def test_a_sigterm_to_all_processes_of_the_program_hands_back_what_runs(
    children: Children, child: Runner, memory: Memory, how: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "STRAY_SECONDS", PATIENCE)
    if first == "program":
        children.hand_back()
    started = memory.start(child, grant("dies", how=how))
    if first == "task":
        eventually(lambda: children._terminated, "the end of the task")
        children.expect_end()
        memory.run(child, "nothing")
        assert started.token not in memory.ends  # it could be granted again to this very program
        children.hand_back()
    assert memory.end_of(started).end is End.HANDED_BACK


def test_an_attempt_that_sigterm_has_ended_is_handed_back_at_the_close(
    children: Children, process: Runner, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "STRAY_SECONDS", PATIENCE)
    started = memory.start(process, grant("dies", how="term"))
    eventually(lambda: children._terminated, "the end of the task")
    children.close()
    assert memory.end_of(started).end is End.HANDED_BACK


def test_what_a_task_that_was_ended_has_started_is_ended_too(
    process: Runner, memory: Memory, tmp_path: Path
) -> None:
    """Even if it had no time to take note of it, and returns well."""
    started = memory.start(process, grant("forgets", folder=str(tmp_path)))
    pid = int(eventually(lambda: (tmp_path / "forgotten").exists() and (tmp_path / "forgotten").read_text()))
    process.cancel(started.token, End.CANCELLED)
    memory.end_of(started)
    assert not is_running(pid)


def test_memory_of_a_task_is_limited_by_what_it_sets(process: Runner, memory: Memory) -> None:
    outcome, _ = memory.run(process, "hungry")
    assert str(outcome.error).startswith("MemoryError")


def test_ten_timeouts_at_once_are_exact_and_told(runner: Runner, memory: Memory) -> None:
    count = 10 if isinstance(runner, ChildRunner) else 4  # slots
    grants = [memory.start(runner, grant("cooperative", timeout=0.2)) for _ in range(count)]
    for started in grants:
        outcome = memory.end_of(started)
        assert outcome.end is TIMED_OUT
        assert str(outcome.error).splitlines()[0] == "timed out after 200ms"
        assert memory.log_of(started)[-1].message == outcome.error
        assert memory.log_of(started)[-1].level == "ERROR"


def test_no_record_comes_before_what_was_printed_before_it(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "counts")
    assert outcome.end is SUCCESS
    texts = messages(log)
    for number in range(100):
        assert texts.index(f"{number} before") < texts.index(f"{number} said")


def test_at_a_timeout_finally_blocks_run_and_the_place_is_told(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "cleans_up", timeout=2.0)
    assert outcome.end is TIMED_OUT
    assert messages(log, "stdout") == ["sleeping", "cleaned up True"]
    assert "in cleans_up" in str(outcome.error)
    assert "child.py" not in str(outcome.error)  # only what the user has written is of use


def test_a_coroutine_is_ended_at_its_timeout(child: Runner, memory: Memory) -> None:
    assert memory.run(child, "dreams", timeout=0.2, seconds=600)[0].end is TIMED_OUT


def test_sigterm_does_not_tear_the_event_loop(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "torn")
    assert outcome.end is FAILED
    assert messages(log, "stdout") == ["cleaned up"]


def test_a_coroutine_is_cancelled_once_at_its_timeout(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "tidies", timeout=1.0)
    assert outcome.end is TIMED_OUT
    assert messages(log, "stdout") in (["sleeping", "cleaned up"], [])  # unless it came before it could begin
    if messages(log, "stdout"):
        assert str(outcome.error).splitlines()[3].endswith("in tidies")  # where it waited


@pytest.mark.parametrize(
    ("task_id", "says"),
    [
        ("blocks", "blocking"),  # a coroutine that holds up its event loop
        ("misses_sigterm", "sleeping"),  # SIGTERM in the last moment before a system call
    ],
)
def test_what_waits_in_a_system_call_is_ended(child: Runner, memory: Memory, task_id: str, says: str) -> None:
    started = memory.start(child, grant(task_id))
    memory.wait_for(started, says)
    child.cancel(started.token, End.CANCELLED)
    assert memory.end_of(started).end is End.CANCELLED
    assert messages(memory.log_of(started), "stdout") == [says, "cleaned up"]


def test_sigterm_is_not_lost_with_an_event_loop_that_ends(child: Runner, memory: Memory) -> None:
    outcome, log = memory.run(child, "goes_on")
    assert outcome.end is FAILED
    assert messages(log, "stdout") == ["goes on"]


def test_who_missed_sigterm_and_ends_by_itself_is_not_waited_for(child: Runner, memory: Memory) -> None:
    started = memory.start(child, grant("takes_sigterm"))
    memory.wait_for(started, "waiting")
    child.cancel(started.token, End.CANCELLED)
    assert memory.end_of(started).end is End.CANCELLED  # at once: the grace time is as long as all patience


@SHORT
def test_a_process_that_ignores_sigterm_is_killed_with_its_descendants(
    child: Runner, memory: Memory, tmp_path: Path
) -> None:
    started = memory.start(child, grant("stubborn", folder=str(tmp_path)))
    pids = [int(_text_of(tmp_path / name)) for name in ("task", "child", "grandchild")]
    assert all(map(is_running, pids))
    child.cancel(started.token, TIMED_OUT)  # as the timer does, once all of them are there
    assert memory.end_of(started).end is TIMED_OUT
    assert not any(map(is_running, pids))  # the attempt has ended when its group is gone


def _text_of(path: Path) -> str:
    eventually(path.exists, str(path))
    return path.read_text()


def test_what_left_the_group_of_a_crashed_task_is_killed(
    child: Runner, memory: Memory, tmp_path: Path
) -> None:
    outcome, _ = memory.run(child, "daemons", folder=str(tmp_path), then="die")
    assert outcome.end is FAILED
    assert not any(is_running(int(_text_of(tmp_path / f"daemon{n}"))) for n in range(3))


def test_a_daemon_of_a_task_that_returned_lives_on(process: Runner, memory: Memory, tmp_path: Path) -> None:
    outcome, _ = memory.run(process, "daemons", folder=str(tmp_path), then="return")
    assert outcome.end is SUCCESS
    pids = [int(_text_of(tmp_path / f"daemon{n}")) for n in range(3)]
    assert all(map(is_running, pids))
    process.close()  # but not longer than the program
    assert not any(map(is_running, [*pids, int(_text_of(tmp_path / "forked"))]))


@pytest.mark.parametrize("escapes", [True, False])
def test_a_process_that_holds_the_pipe_delays_nothing(child: Runner, memory: Memory, escapes: bool) -> None:
    assert memory.run(child, "holds_pipe", escapes=escapes)[0].end is SUCCESS
    assert memory.run(child, "echo", value=1)[0].result == "1"


def test_what_a_task_leaves_in_its_group_goes_with_it(process: Runner, memory: Memory) -> None:
    outcome, _ = memory.run(process, "holds_pipe", escapes=False, is_quiet=True)
    assert outcome.end is SUCCESS
    eventually(lambda: not is_running(int(outcome.result or 0)), "its end")


@pytest.mark.parametrize("end", [End.CANCELLED, End.HANDED_BACK])
def test_a_running_task_is_ended_when_somebody_wants(child: Runner, memory: Memory, end: End) -> None:
    started = memory.start(child, grant("cleans_up"))
    memory.wait_for(started, "sleeping")
    child.cancel(started.token, end)
    child.cancel(started.token, End.CANCELLED)
    outcome = memory.end_of(started)
    assert outcome.end is end
    assert "cleaned up True" in messages(memory.log_of(started))
    assert memory.log_of(started)[-1].level == "WARNING"


def test_success_after_being_told_to_end_does_not_count(child: Runner, memory: Memory) -> None:
    started = memory.start(child, grant("cooperative"))
    memory.wait_for(started, "working")
    child.cancel(started.token, End.HANDED_BACK)
    outcome = memory.end_of(started)
    assert (outcome.end, outcome.result, outcome.begun) == (End.HANDED_BACK, None, True)


def test_cancelling_before_it_begins_or_after_it_ended(child: Runner, memory: Memory) -> None:
    grants = [memory.start(child, grant("nothing")) for _ in range(20)]
    for started in grants:
        child.cancel(started.token, End.CANCELLED)
    assert {memory.end_of(g).end for g in grants} <= {SUCCESS, End.CANCELLED}
    for started in grants:
        child.cancel(started.token, End.CANCELLED)
    assert memory.run(child, "nothing")[0].end is SUCCESS


def test_chance_differs_from_child_to_child(process: Runner, memory: Memory) -> None:
    assert len({memory.run(process, "chance")[0].result for _ in range(4)}) == 4


def test_a_thread_left_behind_does_not_keep_the_process(process: Runner, memory: Memory) -> None:
    assert memory.run(process, "background")[0].end is SUCCESS


def test_starting_and_cancelling_is_safe_from_many_threads(child: Runner, memory: Memory) -> None:
    def work() -> None:
        for number in range(25):
            started = memory.start(child, grant("nothing"))
            if number % 5 == 0:
                child.cancel(started.token, End.CANCELLED)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.started) == 100
    assert {memory.end_of(g).end for g in memory.started} <= {SUCCESS, End.CANCELLED}


def test_every_process_attempt_has_a_process(process: Runner, memory: Memory) -> None:
    pids = [memory.run(process, "who")[0].result for _ in range(10)]
    assert len(set(pids)) == 10
    assert str(os.getpid()) not in pids


@pytest.mark.skipif(not IS_LINUX, reason="a score of Linux's")
def test_when_memory_is_short_task_processes_go_before_the_program(child: Runner, memory: Memory) -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(memory.run(child, "score")[0].result or "") == min(1000, ours + OOM_SCORE)


@pytest.mark.skipif(not IS_LINUX, reason="counts of Linux's")
def test_who_was_killed_for_want_of_memory_is_accused_of_nothing(
    child: Runner, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When memory is short all is slow: a connection was seen to end long before its process was."""
    monkeypatch.setattr("ppacer.executor.memory.oom_kills", count(10**9).__next__)
    assert "out of memory" in str(memory.run(child, "dies", how="close and stay")[0].error)
