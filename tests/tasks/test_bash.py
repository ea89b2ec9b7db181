"""Bash against real processes; a process is gone when the kernel says so, not when some time has passed."""

import contextlib
import inspect
import logging
import os
import pickle
import shlex
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppacer.errors import DagError
from ppacer.tasks import Bash, BashError
from ppacer.tasks import bash as bash_module
from ppacer.tasks import output as output_module
from ppacer.tasks import session as session_module
from tasks.context import WAIT, Context, is_alive

linux_only = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks into /proc")


def run(ctx: Context, command: Any, **options: Any) -> None:
    context: Any = ctx
    Bash("load", command, **options).execute(context)


def failure(ctx: Context, command: Any, **options: Any) -> BashError:
    with pytest.raises(BashError) as caught:
        run(ctx, command, **options)
    return caught.value


def eventually(fact: Any) -> None:
    """Waits for a fact that nobody announces."""
    until = time.monotonic() + WAIT
    while not fact():
        assert time.monotonic() < until, inspect.getsource(fact)
        time.sleep(0.005)


def children() -> list[int]:
    """Our children, zombies included."""
    return [process.pid for process in session_module._processes() if process.parent == os.getpid()]


def pipes() -> set[str]:
    """All that a command has of this process; a thread of another test may open files meanwhile."""
    found = set()
    for path in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return {name for name in found if name.startswith("pipe:")}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No child, zombie or pipe is left by any of these tests."""
    before = children(), pipes()
    yield
    assert children() == before[0]
    assert pipes() <= before[1]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short times for what has to wait."""
    monkeypatch.setattr(session_module, "GRACE", 0.3)
    monkeypatch.setattr(bash_module, "DRAIN", 0.2)
    monkeypatch.setattr(bash_module, "TICK", 0.02)


# How commands are started


def test_a_list_is_started_without_a_shell(ctx: Context) -> None:
    run(ctx, ["printf", "%s|", "$HOME", "a b", "*", Path("/tmp")])
    assert ctx.stdout == ["$HOME|a b|*|/tmp|"]


def test_a_string_is_a_script_for_bash(ctx: Context) -> None:
    run(ctx, "x=(1 2 3)\nfor i in ${x[@]}; do echo $i; done | tac\n[[ $BASH_VERSION ]] && echo bash")
    assert ctx.stdout == ["3", "2", "1", "bash"]


def test_the_failure_of_any_part_of_a_pipe_counts(ctx: Context) -> None:
    assert failure(ctx, "exit 3 | cat").returncode == 3
    run(ctx, "set +o pipefail; exit 3 | cat")


def test_another_shell_can_be_named(ctx: Context) -> None:
    run(ctx, 'echo "[$BASH_VERSION]"', shell="/bin/sh")
    assert ctx.stdout[0].startswith("[")


def test_sh_does_where_there_is_no_bash(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    run(ctx, "echo $0")
    assert ctx.stdout == ["/bin/sh"]


def test_stdin_is_empty(ctx: Context) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"not for the task\n")
    os.close(writer)
    ours = os.dup(0)
    os.dup2(reader, 0)
    try:
        run(ctx, "cat; echo end")
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(reader)
    assert ctx.stdout == ["end"]


def test_the_directory_is_the_one_asked_for(ctx: Context, tmp_path: Path) -> None:
    run(ctx, "pwd -P", cwd=tmp_path)
    assert ctx.stdout == [str(tmp_path.resolve())]
    assert Bash("load", "pwd", cwd=tmp_path).cwd == str(tmp_path)


def test_the_environment_is_inherited_and_added_to(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "a")
    monkeypatch.setenv("REPLACED", "b")
    run(ctx, "echo $FROM_OUTSIDE $REPLACED $OWN", env={"REPLACED": "c", "OWN": "ż"})
    assert ctx.stdout == ["a c ż"]
    assert os.environ["REPLACED"] == "b"


def test_the_environment_is_shown_nowhere(ctx: Context) -> None:
    task = Bash("load", "exit 3", env={"TOKEN": "hunter2"})
    error = failure(ctx, "exit 3", env={"TOKEN": "hunter2"})
    missing = failure(ctx, ["no-such-command"], env={"TOKEN": "hunter2"})
    for shown in (
        repr(task),
        task.source,
        str(error),
        repr(error),
        str(missing),
        repr(missing),
        str(ctx.logged),
    ):
        assert "hunter2" not in shown
        assert "TOKEN" not in shown


# Output


def test_streams_have_their_levels_and_the_attribute(ctx: Context) -> None:
    run(ctx, "echo out; echo; echo err >&2; printf 'no newline'")
    assert ctx.stdout == ["out", "", "no newline"]
    assert ctx.stderr == ["err"]
    assert {(logged.level, logged.stream) for logged in ctx.logged} == {
        (logging.INFO, "stdout"),
        (logging.WARNING, "stderr"),
    }


def test_a_percent_sign_is_text(ctx: Context) -> None:
    run(ctx, ["echo", "%s %d 100%"])
    assert ctx.stdout == ["%s %d 100%"]


def test_lines_are_logged_while_the_command_runs(ctx: Context, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    os.mkfifo(answer)

    def reply(line: str) -> None:
        if line == "question":
            answer.write_text("seen\n")  # opening it waits for the reader: the command still runs

    ctx.on_line = reply
    run(ctx, f"echo question; cat {answer}")
    assert ctx.stdout == ["question", "seen"]


def test_bytes_that_are_no_text_are_replaced(ctx: Context) -> None:
    run(ctx, r"printf 'a\xffb\0c\n'")
    assert ctx.stdout == ["a\ufffdb\0c"]


def test_fifty_megabytes_pass_in_bounded_memory() -> None:
    ctx, size = Context(), 0

    def count(line: str) -> None:
        nonlocal size
        size += len(line) + 1
        ctx.logged.clear()

    ctx.on_line = count
    tracemalloc.start()
    try:
        run(ctx, f"head -c 50000000 <(yes {'x' * 999})")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 50_000_000
    assert peak < 3_000_000


def test_a_huge_line_without_end_passes_in_bounded_memory() -> None:
    ctx, sizes = Context(), set[int]()

    def count(line: str) -> None:
        sizes.add(len(line))
        ctx.logged.clear()

    ctx.on_line = count
    tracemalloc.start()
    try:
        run(ctx, "head -c 20000000 /dev/zero")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(sizes) == 65_536
    assert peak < 3_000_000


def test_floods_on_both_streams_do_not_block_each_other(ctx: Context) -> None:
    big = "head -c 3000000 /dev/zero | tr '\\0' x"
    run(ctx, f"{big} >&2; {big}; {big} >&2; {big}")
    assert sum(map(len, ctx.stdout)) == sum(map(len, ctx.stderr)) == 6_000_000


# How commands end


def test_success_returns_nothing(ctx: Context) -> None:
    context: Any = ctx
    assert Bash("load", "true").execute(context) is None  # type: ignore[func-returns-value]


def test_an_exit_code_is_a_failure_with_the_end_of_stderr(ctx: Context) -> None:
    error = failure(ctx, "for i in {1..50}; do echo line $i >&2; done; echo fine; exit 3")
    assert (error.reason, error.returncode) == ("exit", 3)
    assert str(error).splitlines()[0] == "the command ended with exit code 3; the end of its stderr:"
    assert str(error).splitlines()[1:] == [f"  line {i}" for i in range(41, 51)]


def test_a_silent_failure_is_one_sentence(ctx: Context) -> None:
    assert str(failure(ctx, ["false"])) == "the command ended with exit code 1"


def test_the_message_is_bounded(ctx: Context) -> None:
    error = failure(ctx, "head -c 9000000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert len(str(error)) < 4_000


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
def test_a_signal_is_told_by_name(ctx: Context, name: str) -> None:
    error = failure(ctx, f"ulimit -c 0; kill -{name[3:]} $$")
    assert str(error) == f"the command was killed by {name}"
    assert error.returncode == -signal.Signals[name]


def test_a_signal_that_a_shell_reports_is_told_by_name(ctx: Context) -> None:
    error = failure(ctx, "sh -c 'kill -KILL $$'; exit $?")
    assert str(error).startswith("the command ended with exit code 137, a shell's way to say SIGKILL")


@pytest.mark.parametrize("code", [126, 127, 129, 200, 255])
def test_high_exit_codes_are_told(ctx: Context, code: int) -> None:
    assert str(failure(ctx, f"exit {code}")).startswith(f"the command ended with exit code {code}")
    assert str(failure(ctx, ["sh", "-c", f"exit {code}"])) == f"the command ended with exit code {code}"


def test_an_error_survives_a_pipe(ctx: Context) -> None:
    error = failure(ctx, "echo oh >&2; exit 3")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.returncode, copy.stderr) == (str(error), "exit", 3, ("oh",))


def test_a_command_that_closes_its_output_is_waited_for(ctx: Context, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    opener = threading.Thread(target=gate.write_text, args=("go",))
    opener.start()
    error = failure(ctx, f"exec >&- 2>&-; read x < {gate}; exit 7")
    opener.join()
    assert error.returncode == 7


# What cannot be started


def test_what_is_not_there_is_told_in_a_sentence(ctx: Context, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    for command, options, words in (
        (["no-such-command", "x"], {}, "'no-such-command' was not found"),
        ("true", {"cwd": tmp_path / "gone"}, f"there is no directory '{tmp_path}/gone'"),
        ("true", {"cwd": plain}, f"there is no directory '{plain}'"),
        ("true", {"shell": "/no/shell"}, "'/no/shell' was not found"),
        ([str(plain)], {}, f"'{plain}': permission denied"),
        (["echo", "x" * 5_000_000], {}, "'echo': argument list too long"),
    ):
        error = failure(ctx, command, **options)
        assert str(error) == f"the command was not started: {words}"
        assert (error.reason, error.returncode) == ("not started", None)


def test_a_command_unknown_to_the_shell_is_told_by_the_shell(ctx: Context) -> None:
    error = failure(ctx, "no-such-command")
    assert error.returncode == 127
    assert "command not found" in str(error)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("", {}),
        (" \n", {}),
        ([], {}),
        ([""], {}),
        ("a\0b", {}),
        (["a", "b\0"], {}),
        (["a", 1], {}),
        (["a", b"b"], {}),
        (None, {}),
        ("a", {"env": {"A=B": "hunter2"}}),
        ("a", {"env": {"": "hunter2"}}),
        ("a", {"env": {"A": "hunter2\0"}}),
        ("a", {"env": {"A": 5}}),
    ],
)
def test_an_impossible_command_is_refused_when_it_is_written(command: Any, options: Any) -> None:
    with pytest.raises(DagError, match="task 'load'") as error:
        Bash("load", command, **options)
    assert "hunter2" not in str(error.value)


def test_the_source_is_what_is_run() -> None:
    assert Bash("a", "echo 1 | cat").source == "echo 1 | cat"
    assert shlex.split(Bash("a", ["echo", "a b", "$x"]).source) == ["echo", "a b", "$x"]


# Timeout, cancellation, exceptions

LONER = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(1000)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
# Each prints the pid of a grandchild that would live for ever.
TREES = {
    "background": "sleep 1000 & echo $!; wait",
    "deep": "bash -c 'bash -c \"sleep 1000 & echo \\$!; wait\"; true'; true",
    "own group": "set -m; sleep 1000 & echo $!; wait",
    "own session": f"{sys.executable} -c '{LONER}'; true",
    "own session, ignores TERM": f"{sys.executable} -c '{DEAF}; {LONER}'; true",
    "orphan in its own group": "set -m; (sleep 1000 & echo $!); sleep 1000; true",
    "ignores TERM": "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000",
    "stopped": "sleep 1000 & echo $!; kill -STOP $!; wait",
    "closed output": "sleep 1000 >&- 2>&- & echo $!; exec >&- 2>&-; wait",
}


@linux_only
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
@pytest.mark.usefixtures("short")
def test_at_the_timeout_everything_is_killed(ctx: Context, tree: str) -> None:
    def time_is_up(line: str) -> None:
        ctx.left = 0.0

    ctx.on_line = time_is_up
    error = failure(ctx, tree)
    assert str(error).startswith("the command was killed, because it still ran at the timeout of its task")
    assert error.reason == "timed out"
    assert not is_alive(int(ctx.stdout[0]))


@linux_only
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
@pytest.mark.usefixtures("short")
def test_a_cancelled_command_is_killed_with_its_children(ctx: Context, tree: str) -> None:
    def cancel(line: str) -> None:
        ctx.cancelled = True

    ctx.on_line = cancel
    error = failure(ctx, tree)
    assert str(error).startswith("the command was killed, because its task was cancelled")
    assert error.reason == "cancelled"
    assert not is_alive(int(ctx.stdout[0]))


class Interrupt(BaseException):
    """Something from outside."""


@linux_only
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
@pytest.mark.usefixtures("short")
def test_any_exception_kills_the_command_with_its_children(ctx: Context, tree: str) -> None:
    def interrupt(line: str) -> None:
        raise Interrupt

    ctx.on_line = interrupt
    with pytest.raises(Interrupt):
        run(ctx, tree)
    assert not is_alive(int(ctx.stdout[0]))


@linux_only
@pytest.mark.usefixtures("short")
def test_a_second_exception_while_killing_kills_at_once(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupt

    monkeypatch.setattr(session_module, "GRACE", 1_000.0)
    monkeypatch.setattr(output_module.Output, "pump", interrupt)
    ctx.left = 0.0
    with pytest.raises(Interrupt):
        run(ctx, "trap '' TERM; echo; sleep 1000; sleep 1000")


def test_a_timeout_before_the_first_line_counts(ctx: Context) -> None:
    ctx.left = 0.0
    assert failure(ctx, "sleep 1000").reason == "timed out"


def test_a_deadline_ends_a_silent_command() -> None:
    class Ticking(Context):
        end = time.monotonic() + 0.2

        def remaining(self) -> float:
            return self.end - time.monotonic()

    assert failure(Ticking(), "sleep 1000").reason == "timed out"


def test_a_command_may_clean_up_and_say_goodbye(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GRACE", WAIT)

    def time_is_up(line: str) -> None:
        ctx.left = 0.0

    ctx.on_line = time_is_up
    script = "trap 'echo bye; echo sorry >&2; exit 5' TERM; echo hello; while :; do sleep 0.01; done"
    error = failure(ctx, script)
    assert ctx.stdout == ["hello", "bye"]
    assert error.returncode == 5
    assert error.stderr[-1] == "sorry"


def test_a_command_that_floods_while_it_is_killed_does_not_hang(ctx: Context, short: None) -> None:
    def time_is_up(line: str) -> None:
        ctx.left = 0.0
        ctx.logged.clear()

    ctx.on_line = time_is_up
    assert failure(ctx, "trap '' TERM; yes").reason == "timed out"


# What is left in the background


@linux_only
@pytest.mark.usefixtures("short")
def test_a_child_in_the_background_of_a_success_is_left_alone_and_not_waited_for(ctx: Context) -> None:
    run(ctx, "sleep 1000 & echo $!; printf 'no newline'")
    pid = int(ctx.stdout[0])
    try:
        assert ctx.stdout[1:] == ["no newline"]
        assert is_alive(pid)
        assert ctx.lines(None) == [
            "the command has ended, but something it left running holds its output open"
        ]
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_last_words_of_a_child_in_the_background_are_logged(ctx: Context) -> None:
    run(ctx, "echo a; (sleep 0.1; echo b) & exit 0")
    assert ctx.stdout == ["a", "b"]
    assert ctx.lines(None) == []


@linux_only
@pytest.mark.usefixtures("short")
def test_a_failure_leaves_nothing_in_the_background(ctx: Context) -> None:
    failure(ctx, "sleep 1000 & echo $!; exit 1")
    assert not is_alive(int(ctx.stdout[0]))


@pytest.mark.usefixtures("short")
def test_without_proc_the_group_is_killed(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session_module, "PROC", str(tmp_path))

    def time_is_up(line: str) -> None:
        ctx.left = 0.0

    ctx.on_line = time_is_up
    assert failure(ctx, "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000").reason == "timed out"
    eventually(lambda: not is_alive(int(ctx.stdout[0])))


# Where it runs


def in_a_fork(work: Any) -> int:
    """Exit code of a forked child that runs `work`; 99 after an exception."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_it_works_in_a_forked_child(ctx: Context) -> None:
    def work() -> None:
        run(ctx, "echo hello")
        assert ctx.stdout == ["hello"]
        assert failure(ctx, "exit 3").returncode == 3

    assert in_a_fork(work) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_an_exit_code_that_somebody_else_took_is_never_success(ctx: Context) -> None:
    def work() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        error = failure(ctx, "exit 3")
        assert error.returncode is None
        assert "not known" in str(error)

    assert in_a_fork(work) == 0


def test_many_threads_run_commands_at_once() -> None:
    contexts = [Context() for _ in range(12)]
    threads = [
        threading.Thread(target=run, args=(ctx, f"for i in {{1..20}}; do echo {n} $i; done"))
        for n, ctx in enumerate(contexts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    for n, ctx in enumerate(contexts):
        assert ctx.stdout == [f"{n} {i}" for i in range(1, 21)]


def test_the_command_has_a_session_of_its_own(ctx: Context) -> None:
    run(ctx, [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"])
    assert ctx.stdout == ["True"]
