"""A shell in a folder, where `python` and `ppacer` are those under test; programs end with the test."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import ppacer

ROOT = Path(__file__).resolve().parents[2]
WAIT = 120.0  # seconds until a test gives up on a fact
T = TypeVar("T")


def until(look: Callable[[], T | None], what: str) -> T:
    """What `look` finds, once it finds something."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {WAIT:g} s in vain for {what}")


class Running:
    """A program that was started; what it writes is kept in a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.process, self._output = process, output

    @property
    def output(self) -> str:
        """What it has written so far; what the program itself sees as its terminal."""
        return self._output.read_text("utf-8", "replace")

    def says(self, text: str) -> str:
        """Waits until it has written this; returns all it has written."""

        def look() -> str | None:
            ended = self.process.poll() is not None  # asked first, so that the last words count
            if text in (output := self.output):
                return output
            assert not ended, f"it ended without saying {text!r}:\n{output}"
            return None

        return until(look, f"{text!r}, in:\n{self.output}")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Sends a signal, and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT)


class Terminal:
    """Runs shell commands in a folder, with a HOME of its own."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder, self._started = folder, 0
        programs = folder / ".bin"
        programs.mkdir()
        python = shlex.quote(sys.executable)
        main = "import sys; sys.argv[0] = 'ppacer'; from ppacer.cli import main; sys.exit(main())"
        for name, command in (("python", python), ("ppacer", f"{python} -c {shlex.quote(main)}")):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PPACER_")},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(ppacer.__file__).parents[1]),
            "HOME": str(folder),
            "PPACER_PORT": "0",  # any that is free
            **variables,
        }

    def run(self, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """A command to its end."""
        return subprocess.run(
            command, shell=True, cwd=self.folder, env={**self.environment, **variables}, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * WAIT, check=False,
        )  # fmt: skip

    def does(self, command: str, **variables: str) -> str:
        """What a command writes, which must succeed."""
        done = self.run(command, **variables)
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def start(self, command: str, variables: Mapping[str, str] | None = None) -> Iterator[Running]:
        """A program in the background; it is killed at the end, if it still runs."""
        self._started += 1
        output = self.folder / f".output{self._started}"
        with open(output, "wb") as file:
            process = subprocess.Popen(
                f"exec {command}", shell=True, cwd=self.folder, env={**self.environment, **(variables or {})},
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield Running(process, output)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
