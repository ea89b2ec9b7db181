"""A task that runs a command, or a piece of shell script:

start ─► log its output until it ends ─► drain what its children still write ─► exit code
              └─ timeout, cancelled, any exception ─► TERM to all it started ─► 2 s of grace ─► KILL
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

from ppacer.errors import DagError, PpacerError
from ppacer.tasks.output import Output
from ppacer.tasks.session import Session, mono

if TYPE_CHECKING:
    from ppacer.dag import TaskContext

TICK = 0.25  # seconds; how soon a cancellation is seen while the command is silent
DRAIN = 2.0  # seconds for what the command's children still write after it ended

Reason = Literal["not started", "exit", "timed out", "cancelled"]


class BashError(PpacerError):
    """A command did not succeed; the message ends with the last lines of its stderr.

    `returncode` is negative for a signal (-9: SIGKILL) and None where there is none.
    """

    def __init__(
        self, message: str, reason: Reason = "exit", returncode: int | None = None, stderr: Sequence[str] = ()
    ) -> None:
        super().__init__(message, reason, returncode, stderr)  # all of them, or it could not be pickled
        self.message, self.reason, self.returncode, self.stderr = message, reason, returncode, tuple(stderr)

    def __str__(self) -> str:
        if not self.stderr:
            return self.message
        return "\n  ".join([f"{self.message}; the end of its stderr:", *self.stderr])


@dataclass(eq=False)
class Bash:
    """Runs a command and fails with BashError when its exit code is not 0.

    `command` is a list of arguments, started directly, or a string for the shell: bash with `pipefail`, so
    that the failure of any part of `a | b` counts (write `a | b || true` where it should not), or sh where
    there is no bash. It does not stop at the first failing line; begin with `set -e` for that. `shell` names
    another one.

    The command has the environment of the executor and `env` on top (never logged), stdin is /dev/null, and
    its output goes line by line into the task log: stdout as INFO, stderr as WARNING, with the attribute
    `stream`; lines longer than 64 KiB are cut in pieces. It has a session of its own. On timeout, on
    cancellation and when it failed, everything in the session is ended (TERM, two seconds, KILL). What a
    successful command leaves running in the background is left alone, but its output is kept for two more
    seconds only.
    """

    id: str
    command: str | Sequence[str | os.PathLike[str]]
    _: KW_ONLY
    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    shell: str | None = None

    def __post_init__(self) -> None:
        words = [self.command] if isinstance(self.command, str) else _texts(self.command)
        if any("\0" in word for word in words):
            raise DagError(f"task {self.id!r}: the command contains a NUL character")
        if not words or not words[0].strip():
            raise DagError(f"task {self.id!r}: the command is empty, or no text and no list of texts")
        if not isinstance(self.command, str):
            self.command = words
        if self.cwd is not None:
            self.cwd = os.fspath(self.cwd)  # a plain text, which counts in the dag's version
        self.env = dict(self.env or {})
        for name, value in self.env.items():
            fits = isinstance(name, str) and isinstance(value, str) and "\0" not in name + value
            if not fits or not name or "=" in name:
                raise DagError(f"task {self.id!r}: environment variable {name!r} cannot be set")

    @property
    def source(self) -> str:
        """What is run, as text: the script, or the arguments quoted as for a shell."""
        return self.command if isinstance(self.command, str) else shlex.join(_texts(self.command))

    def execute(self, ctx: "TaskContext") -> None:
        """Runs the command to its end; BashError when that is not success."""
        with Session(self._start()) as session, Output(session.process, ctx.logger) as output:
            reason = _follow(ctx, session, output)
            if reason != "exit":
                session.end(output.pump)
                session.has_ended()
            _drain(ctx, output)
            output.finish()
            if reason != "exit" or session.exit_code != 0:
                words = self._in_words(reason, session.exit_code)
                raise BashError(words, reason, session.exit_code, output.stderr_tail)

    def _start(self) -> "subprocess.Popen[bytes]":
        arguments = self._arguments()
        if self.cwd is not None and not os.path.isdir(self.cwd):
            raise _not_started(f"there is no directory {os.fspath(self.cwd)!r}")
        try:
            return subprocess.Popen(
                arguments,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.cwd,
                env={**os.environ, **(self.env or {})},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise _not_started(f"{arguments[0]!r} was not found") from error
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            raise _not_started(f"{arguments[0]!r}: {why}") from error

    def _arguments(self) -> list[str]:
        if not isinstance(self.command, str):
            return _texts(self.command)
        shell = self.shell or shutil.which("bash") or "/bin/sh"
        options = ["-o", "pipefail"] if os.path.basename(shell) == "bash" else []
        return [shell, *options, "-c", self.command]

    def _in_words(self, reason: Reason, code: int | None) -> str:
        if reason == "timed out":
            return "the command was killed, because it still ran at the timeout of its task"
        if reason == "cancelled":
            return "the command was killed, because its task was cancelled"
        if code is None:
            return "how the command ended is not known: something else in this process collects its children"
        if code < 0:
            return f"the command was killed by {_signal_name(-code)}"
        hint = _signal_name(code - 128) if isinstance(self.command, str) and code > 128 else ""
        return f"the command ended with exit code {code}" + (f", a shell's way to say {hint}" if hint else "")


def _follow(ctx: "TaskContext", session: Session, output: Output) -> Reason:
    """Logs the output until the command has ended ("exit") or has to."""
    wait = 0.001  # when both pipes are closed the end is near, as a rule
    while not session.has_ended():
        left = ctx.remaining()
        if left is not None and left <= 0:
            return "timed out"
        if ctx.cancelled:
            return "cancelled"
        output.pump(min(TICK if output.is_open else wait, TICK if left is None else left))
        wait = 0.001 if output.is_open else min(2 * wait, TICK)
    return "exit"


def _drain(ctx: "TaskContext", output: Output) -> None:
    """Reads the rest, for a bounded time: children in the background may hold the pipes open for ever."""
    until = mono() + DRAIN
    while output.is_open and mono() < until:
        output.pump(until - mono())
    if output.is_open:
        ctx.logger.warning("the command has ended, but something it left running holds its output open")


def _texts(words: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The arguments as texts; an empty list when something else is among them."""
    try:
        texts = [os.fspath(word) for word in words]
    except TypeError:
        return []
    return texts if all(isinstance(text, str) for text in texts) else []


def _not_started(why: str) -> BashError:
    return BashError(f"the command was not started: {why}", "not started")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}" if number <= 64 else ""
