"""Dags for the tests of the runners, good and bad; their parameters come from the grant."""

import asyncio
import ctypes
import logging
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

from ppacer.dag import Dag, Node, TaskContext, task
from ppacer.executor.child import REMINDER

log = logging.getLogger("some.library")
seen: list[Any] = []  # what a child of the pool remembers


class Rude(BaseException):
    """Not an Exception."""


class MuteError(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled")


def _endless() -> None:
    while True:
        time.sleep(0.01)


def _write_pid(ctx: TaskContext, name: str, pid: int | None = None) -> None:
    path = Path(ctx.run.params["folder"], name)
    path.with_suffix(".new").write_text(str(os.getpid() if pid is None else pid))
    path.with_suffix(".new").rename(path)


@task
def nothing() -> None:
    pass


@task
def echo(ctx: TaskContext) -> Any:
    return ctx.run.params["value"]


@task
def add(left: int, right: int = 1) -> int:
    return left + right


@task
def who() -> int:
    return os.getpid()


@task
def chance() -> float:
    return random.random()


@task
def about(ctx: TaskContext) -> dict[str, Any]:
    return {
        "dag": ctx.run.dag_id,
        "exec_ts": ctx.run.exec_ts,
        "run": ctx.run.run_id,
        "trigger": ctx.run.trigger,
        "task": ctx.task_id,
        "retry": ctx.retry,
        "token": ctx.attempt_token,
        "params": ctx.run.params,
        "remaining": ctx.remaining(),
        "cancelled": ctx.cancelled,
        "parent": ctx.result("nothing"),
        "thread": threading.current_thread() is threading.main_thread(),
    }


@task
def score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


@task
def shout(ctx: TaskContext) -> None:
    for number in range(ctx.run.params.get("count", 3)):
        print(ctx.run.params["word"], number)
        print("problem", number, file=sys.stderr)


@task
def mutter(ctx: TaskContext) -> None:
    print("begun", flush=True)
    sys.stdout.write("no newline")


@task
def speak(ctx: TaskContext) -> None:
    ctx.logger.info("hello %s", "world", extra={"rows": 3, "path": Path("/tmp/x"), "zoë": ["ü", 1.5]})
    log.warning("from a library")
    log.debug("too quiet")
    log.info("%d rows", "not a number")
    try:
        raise LookupError("lost")
    except LookupError:
        ctx.logger.exception("caught")


@task
def subprocesses() -> None:
    subprocess.run(["sh", "-c", "echo from sh; echo bad from sh >&2"], check=True)
    os.write(1, b"from a descriptor\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"from C")


@task
def forks_workers() -> list[int]:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        return sorted(pool.map(_square, range(5)))


def _square(number: int) -> int:
    logging.getLogger("worker").warning("square of %d", number)
    return number * number


@task
def returns_twice() -> str:
    return "child" if os.fork() == 0 else "parent"


@task
def ends_what_it_forks() -> list[int]:
    """Tells each process that it forks to end, mostly before that has run a line of Python."""
    codes: list[int] = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            time.sleep(1)
            os._exit(1)
        os.kill(pid, signal.SIGTERM)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return codes


@task
def fails() -> None:
    _deeper(3)


def _deeper(levels: int) -> None:
    if levels:
        _deeper(levels - 1)
    raise ValueError("boom ü")


@task
def fails_as(ctx: TaskContext) -> None:
    match ctx.run.params["kind"]:
        case "exit":
            sys.exit(ctx.run.params.get("code"))
        case "interrupt":
            raise KeyboardInterrupt
        case "generator":
            raise GeneratorExit
        case "rude":
            raise Rude("very")
        case "mute":
            raise MuteError("hidden")
        case "recursion":
            _deep()
        case "memory":
            raise MemoryError
        case "group":
            raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])
        case "chain":
            try:
                _deeper(0)
            except ValueError as error:
                raise RuntimeError("because") from error
        case "cancelled":
            raise asyncio.CancelledError
        case "surrogate":
            raise ValueError("bad \udc80 text")
        case "long":
            raise ValueError("start " + "x" * 1_000_000 + " end")


def _deep() -> None:
    _deep()


@task
def dies(ctx: TaskContext) -> None:
    print("last words")
    match ctx.run.params["how"]:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(ctx.run.params["code"])
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        case "hard term":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        case "abort":
            os.abort()
        case "close":
            os.closerange(3, 200)
        case "close and stay":
            os.closerange(3, 200)
            time.sleep(600)
        case "garbage":
            for fd in range(3, 50):
                try:
                    os.fstat(fd)
                    if os.path.exists(f"/proc/self/fd/{fd}") and "socket" in os.readlink(
                        f"/proc/self/fd/{fd}"
                    ):
                        os.write(fd, b"\xff" * 100)
                except OSError:
                    pass
            time.sleep(600)


@task
def counts(ctx: TaskContext) -> None:
    for number in range(100):
        os.write(1, f"{number} before\n".encode())
        log.warning("%d said", number)
        print(number, "after")


@task
def forgets(ctx: TaskContext) -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    _write_pid(ctx, "forgotten", process.pid)
    time.sleep(600)


@task
def sleeps(ctx: TaskContext) -> str:
    print("sleeping", flush=True)
    time.sleep(ctx.run.params.get("seconds", 600))
    return "woke up"


@task
def cleans_up(ctx: TaskContext) -> None:
    try:
        print("sleeping", flush=True)
        time.sleep(600)
    finally:
        print("cleaned up", ctx.cancelled)


@task
def stubborn(ctx: TaskContext) -> None:
    """Ignores SIGTERM, with a child and a grandchild that do so, too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _write_pid(ctx, "task")
    script = (
        "trap '' TERM; echo $$ > grandchild.new; mv grandchild.new grandchild; while :; do sleep 0.05; done"
    )
    child = f"trap '' TERM; echo $$ > child.new; mv child.new child; (sh -c \"{script}\") ; sleep 600"
    subprocess.Popen(["sh", "-c", child], cwd=ctx.run.params["folder"])
    _endless()


@task
def misses_sigterm() -> None:
    """SIGTERM comes to another thread: as in the last moment before a system call, it interrupts nothing."""
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        print("sleeping", flush=True)
        time.sleep(600)
    finally:
        print("cleaned up")


@task
def goes_on() -> None:
    """An event loop takes the exception of SIGTERM with it into its end; then comes the signal after it."""
    loop = asyncio.new_event_loop()

    async def last_step() -> None:
        loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)

    loop.run_until_complete(last_step())
    loop.close()
    print("goes on", flush=True)
    os.kill(os.getpid(), REMINDER)
    time.sleep(600)


@task
def takes_sigterm() -> None:
    """Ends when SIGTERM comes, which nobody else gets."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("waiting", flush=True)
    signal.sigwait({signal.SIGTERM})


@task
def daemons(ctx: TaskContext) -> None:
    """Starts processes in sessions of their own, and waits, or dies, or returns."""
    folder = ctx.run.params["folder"]
    for number in range(ctx.run.params.get("count", 3)):
        script = f"echo $$ > d{number}.new; mv d{number}.new daemon{number}; exec sleep 600"
        subprocess.Popen(["sh", "-c", script], cwd=folder, start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            _write_pid(ctx, "forked")
            _endless()
        os._exit(0)
    while len(list(Path(folder).glob("daemon*"))) < 3 or not Path(folder, "forked").exists():
        time.sleep(0.01)
    _write_pid(ctx, "task")
    then = ctx.run.params.get("then", "wait")
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "wait":
        time.sleep(600)


@task
def holds_pipe(ctx: TaskContext) -> int:
    """Leaves a process that keeps the pipes open, and perhaps writes for ever."""
    script = "sleep 600" if ctx.run.params.get("is_quiet") else "while :; do echo noise; sleep 0.001; done"
    return subprocess.Popen(["sh", "-c", script], start_new_session=ctx.run.params.get("escapes", True)).pid


@task
def floods(ctx: TaskContext) -> None:
    """Prints many megabytes between two lines."""
    print("first")
    block = ("x" * 99 + "\n") * 10_000
    for _ in range(ctx.run.params["megabytes"]):
        sys.stdout.write(block)
    print("last")


@task
def logs_much(ctx: TaskContext) -> None:
    for number in range(ctx.run.params["count"]):
        ctx.logger.info("record %d", number)


@task
def long_line(ctx: TaskContext) -> None:
    print("ä" * (ctx.run.params["bytes"] // 2))
    print("after")


@task
def bytes_out() -> None:
    os.write(1, b"\xff\xfe broken \xc3\n\x00nul\r\n")


@task
def large(ctx: TaskContext) -> Any:
    return "x" * ctx.run.params["size"]


@task
def not_json(ctx: TaskContext) -> Any:
    return {"nan": float("nan"), "object": object(), "set": {1}, "code": compile("1", "x", "eval")}[
        ctx.run.params["what"]
    ]


@task
def hungry() -> None:
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + 100 * 1024**2
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    kept = []
    while True:
        kept.append(bytearray(16 * 1024**2))


@task
def takes(ctx: TaskContext) -> int:
    """Uses memory for a moment, or for ever."""
    data = b"x" * (ctx.run.params["megabytes"] * 1024**2)
    if ctx.run.params.get("keeps"):
        seen.append(data)
    return os.getpid()


@task
def burns(ctx: TaskContext) -> None:
    """Uses this much processor time itself, and as much in a process it waits for."""
    work = "import time\nuntil = time.process_time() + {0}\nwhile time.process_time() < until: pass"
    code = work.format(ctx.run.params["seconds"])
    exec(code)
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


@task
def remembers(ctx: TaskContext) -> list[str]:
    seen.append(ctx.run.params["word"])
    os.environ["LEFT_BY_A_TASK"] = "yes"
    return list(seen)


@task
def replaces_stdout() -> None:
    print("before")
    sys.stdout.close()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the task is badly behaved on purpose
    print("lost")


@task
def redirects() -> None:
    if not seen:
        seen.append(os.dup(1))
    os.dup2(seen[0], 1)  # as it was before the attempt before
    print("before")
    with tempfile.TemporaryFile() as file:  # which has nothing to be read, and says so
        os.dup2(file.fileno(), 1)


@task
def background(ctx: TaskContext) -> None:
    """Leaves a thread that goes on."""
    threading.Thread(target=_endless, daemon=True).start()


@task
def cooperative(ctx: TaskContext) -> str:
    """Works until it is told to stop."""
    print("working", flush=True)
    while not ctx.cancelled:
        time.sleep(0.002)
    return "stopped"


@task
def deaf(ctx: TaskContext) -> str:
    """Does not look whether it shall stop."""
    print("deaf", flush=True)
    end = Path(ctx.run.params["folder"], "end")
    while not end.exists():
        time.sleep(0.002)
    print("too late")
    return "too late"


@task
async def dreams(ctx: TaskContext) -> str:
    print("dreaming")
    await asyncio.sleep(ctx.run.params.get("seconds", 0.01))
    return "dreamt"


@task
async def torn() -> None:
    """Gets SIGTERM when its event loop has taken its next step out of the queue, and has not made it yet.

    All of that in C: the interrupted code is that of asyncio.
    """

    class Ready(deque[Any]):
        popleft: Any

    loop: Any = asyncio.get_running_loop()
    loop._ready = ready = Ready(loop._ready)
    takes = iter(partial(deque.popleft, ready), None)
    signals = iter(partial(os.kill, os.getpid(), signal.SIGTERM), 0)
    ready.popleft = map(itemgetter(0), zip(takes, signals, strict=False)).__next__
    try:
        await asyncio.sleep(0)
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("cleaned up")


@task
async def tidies() -> None:
    """Takes its time to clean up."""
    try:
        print("sleeping")
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.1)
        print("cleaned up")


@task
async def blocks() -> None:
    """Holds up its event loop."""
    try:
        print("blocking", flush=True)
        time.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("cleaned up")


@task
async def sleepless(ctx: TaskContext) -> None:
    """Swallows cancellation."""
    end = Path(ctx.run.params["folder"], "end")
    while not end.exists():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            print("ignored")


@task
async def fails_async(ctx: TaskContext) -> None:
    await asyncio.sleep(0)
    if ctx.run.params.get("exit"):
        sys.exit(1)
    raise ValueError("async boom")


@task
async def stops_loop(ctx: TaskContext) -> str:
    async def bad() -> None:
        sys.exit(3)

    asyncio.get_running_loop().stop()
    side = asyncio.create_task(bad())
    await asyncio.sleep(0.01)
    # Asked for, lest asyncio tell of it when it is forgotten, in the log of whatever runs then.
    return f"survived {isinstance(side.exception(), SystemExit)}"


@task
def same_thread(ctx: TaskContext) -> None:
    """Prints and logs its word, many times, with pauses in which others do the same."""
    word = ctx.run.params["word"]
    for number in range(50):
        print(word, number)
        log.info("%s %d", word, number)
        time.sleep(0)


class Plain:
    """A task that is an object."""

    id = "plain"

    def execute(self, ctx: TaskContext) -> str:
        return ctx.task_id


with Dag("cases") as cases:
    root = nothing()
    for body in (
        echo, who, chance, about, shout, mutter, speak, subprocesses, forks_workers, returns_twice,
        ends_what_it_forks, fails, fails_as, dies, counts, forgets, sleeps, cleans_up, stubborn,
        takes_sigterm, misses_sigterm, goes_on, daemons, holds_pipe, floods, logs_much, long_line,
        bytes_out, large, not_json, hungry, takes, burns, remembers, replaces_stdout, redirects, background,
        cooperative, deaf, dreams, torn, tidies, blocks, sleepless, fails_async, stops_loop, same_thread,
        score,
    ):  # fmt: skip
        body()
    add(echo.with_options(id="left")(), right=root)
    Node(Plain())
