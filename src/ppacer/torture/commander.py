"""Gives the program commands, and writes down what it was answered, and what it was not."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random

import msgspec

from ppacer.api.client import HttpClient
from ppacer.api.wire import Done
from ppacer.errors import PpacerError, SchedulerUnavailable

DAG = "torture"
PAUSE_MAX = 0.1  # seconds between two commands
OPEN_MAX = 8  # runs begun in one life; more would only wait for each other


class Answer(msgspec.Struct, frozen=True):
    """A command that was acknowledged."""

    command: str
    run_id: int
    dag_id: str
    exec_ts: datetime | None


class Book:
    """Everything that was answered, in a file too for whoever looks into a failure; and what was not."""

    def __init__(self, file: Path | None = None) -> None:
        self.answers: list[Answer] = []
        self.unclear: Counter[tuple[str, int]] = Counter()
        """Commands, with the run they were about (0: a new one), of which nobody knows the end."""
        self._file = file

    def acknowledge(self, command: str, done: Done) -> None:
        """Takes down an answer."""
        answer = Answer(command, done.run_id or 0, done.dag_id, done.exec_ts)
        self.answers.append(answer)
        if self._file is not None:
            with self._file.open("ab") as file:
                file.write(msgspec.json.encode(answer) + b"\n")

    def of(self, command: str) -> list[Answer]:
        """The answers to one kind of command."""
        return [answer for answer in self.answers if answer.command == command]


class Commander:
    """Triggers, cancels and restarts runs of one life of the program, in a thread of its own."""

    def __init__(self, url: str, book: Book, random: Random) -> None:
        self._client, self._book, self._random = HttpClient(url), book, random
        self._begun = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commander", daemon=True)

    def __enter__(self) -> "Commander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._is_over.is_set() and self._step():
            self._is_over.wait(self._random.random() * PAUSE_MAX)

    def _step(self) -> bool:
        """One command; False when nobody answers any more."""
        known = [answer.run_id for answer in self._book.of("trigger")][-20:]
        chance = self._random.random()
        if known and (chance < 0.3 or self._begun >= OPEN_MAX):
            run_id = self._random.choice(known)
            if chance < 0.1:
                return self._order("cancel", run_id, lambda: self._client.cancel(run_id))
            return self._order("restart", run_id, lambda: self._client.restart(run_id))
        self._begun += 1
        return self._order("trigger", 0, lambda: self._client.trigger(DAG, {}))

    def _order(self, command: str, run_id: int, send: Callable[[], Done]) -> bool:
        try:
            self._book.acknowledge(command, send())
        except SchedulerUnavailable:
            self._book.unclear[command, run_id] += 1
            return False
        except PpacerError:  # refused, as restarting a run that has not failed is
            return True
        return True
