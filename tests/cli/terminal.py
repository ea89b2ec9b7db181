"""Calling `ppacer` as a person or a script would: in this process where that is enough, or as its own."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click.testing

from ppacer.cli import main

PATIENCE = 120.0  # seconds after which something that should have happened has not, on the slowest machine
DAGS = Path(__file__).with_name("dags.py")
T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """The one sentence on stderr, without the name of the program."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("ppacer: "), self.err
        return lines[0].removeprefix("ppacer: ")


def call(*args: str | int | Path, env: Mapping[str, str] | None = None) -> Ended:
    """One command in this process; an exception that is no exit is the test's."""
    runner = click.testing.CliRunner()
    result = runner.invoke(main, [str(arg) for arg in args], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def ok(*args: str | int | Path) -> str:
    """The output of a command that must succeed."""
    ended = call(*args)
    assert ended.code == 0, ended
    return ended.out


@contextmanager
def started(*args: str | int | Path, cwd: Path, **options: Any) -> "Iterator[subprocess.Popen[str]]":
    """A command as a process of its own; one that still runs at the end of the block is killed."""
    process = subprocess.Popen(
        command(*args),
        cwd=cwd,
        env={**clean_environ(), **options.pop("env", {})},
        text=True,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        start_new_session=True,
        **options,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def command(*args: str | int | Path) -> list[str]:
    """What starts `ppacer`."""
    return [sys.executable, "-m", "ppacer", *map(str, args)]


def clean_environ() -> dict[str, str]:
    """The environment without what would lead a command to somebody's real database."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PPACER_")}


def really(*args: str | int | Path, cwd: Path, timeout: float = PATIENCE, **options: Any) -> Ended:
    """A command as a process, to its end."""
    with started(*args, cwd=cwd, **options) as process:
        out, err = process.communicate(timeout=timeout)
    return Ended(process.returncode, out, err)


def line_with(words: str, process: "subprocess.Popen[str]") -> str:
    """The next line of the command's output that contains this; what comes before it is passed over."""
    assert process.stdout is not None
    line = next((line for line in iter(process.stdout.readline, "") if words in line), None)
    assert line is not None, f"it ended without saying {words!r}"
    return line


def until(look: Callable[[], T | None], what: str = "it") -> T:
    """The first true value of `look`; fails when that takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = look()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE:g} s")


@dataclass
class Server:
    """A running `ppacer serve` in a folder of its own."""

    folder: Path
    process: "subprocess.Popen[str]"
    url: str
    log: Path = field(repr=False)

    @property
    def db(self) -> Path:
        return self.folder / "scheduler.db"

    def call(self, *args: str | int | Path) -> Ended:
        """A command to it."""
        return call(*args, "--db", self.db, "--logs-db", self.folder / "logs.db")

    def ok(self, *args: str | int | Path) -> str:
        """The output of a command to it that must succeed."""
        ended = self.call(*args)
        assert ended.code == 0, ended
        return ended.out

    def trigger(self, dag: str, *args: str) -> int:
        """The number of a new run."""
        return int(json.loads(self.ok("trigger", dag, *args, "--json"))["run_id"])

    def ended(self, run_id: int) -> Any:
        """A run when it has ended, as JSON."""

        def look() -> Any:
            detail = json.loads(self.ok("show", run_id, "--json"))
            return detail if detail["run"]["ended_at"] else None

        return until(look, f"the end of run {run_id}")

    def running(self, run_id: int) -> None:
        """Returns when a task of the run is running."""

        def look() -> bool:
            tasks = json.loads(self.ok("show", run_id, "--json"))["tasks"]
            return any(task["status"] == "RUNNING" for task in tasks)

        until(look, f"a running task of run {run_id}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(folder: Path, *args: str, file: Path = DAGS) -> Iterator[Server]:
    """`ppacer serve` on any free port, until the block ends."""
    log = folder / "serve.log"
    with (
        log.open("w") as output,
        started("serve", file, "--port", "0", *args, cwd=folder, stdout=output, stderr=output) as process,
    ):
        url = until(lambda: _url(folder, process), "the start of the server")
        yield Server(folder, process, url, log)
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


def _url(folder: Path, process: "subprocess.Popen[str]") -> str | None:
    if process.poll() is not None:
        raise AssertionError((folder / "serve.log").read_text())
    try:
        owner = json.loads((folder / "scheduler.db.lock").read_text())
    except (OSError, ValueError):
        return None
    url = (
        owner.get("url") if owner.get("pid") == process.pid else None
    )  # another one that was killed may be there
    return None if url is None else str(url)


def on_tty(
    *args: str | int | Path,
    cwd: Path,
    columns: int = 80,
    rows: int = 24,
    env: Mapping[str, str] | None = None,
    look: Callable[[str], object] = lambda text: None,
) -> tuple[int, str]:
    """A command on a terminal of this size: its exit code and everything it wrote, escapes and all.

    `look` gets what it has written so far, whenever that has grown.
    """
    environ = {**clean_environ(), "TERM": "xterm", "COLUMNS": str(columns), "LINES": str(rows), **(env or {})}
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(cwd)
            os.execvpe(command()[0], command(*args), environ)
        finally:
            os._exit(127)
    output = b""
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not data:
            break
        output += data
        look(_shown(output))
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), _shown(output)


def _shown(output: bytes) -> str:
    return output.decode(errors="replace").replace("\r\n", "\n")  # a read may end inside a character


def plain(text: str) -> str:
    """Text of a terminal without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
