"""A campaign: one database, and life after life of the program on it, each ended by a kill and looked at."""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ppacer.api.client import HttpClient
from ppacer.executor import posix
from ppacer.torture import dags, ledger, rows
from ppacer.torture.commander import Book, Commander
from ppacer.torture.program import COMMAND, POLL_SECONDS, Program, TortureError, mono, until
from ppacer.torture.promises import Evidence, Finding, Kind, nothing_is_stuck
from ppacer.torture.verifier import Verifier

SETTINGS: Mapping[str, object] = {"lease": 2.0, "grace": 0.5, "slots": 8, "echo": "false"}
LIFE_MAX = 1.2  # seconds of work until the program is killed
WITH_WARM_PARENT = 0.25  # of the kills of the program: its warm parent is killed at the same moment
ALL_TASKS = 0.5  # of the first executor kills of a life: the warm parent dies, which is the death of all
END_SECONDS = 120.0  # for everything that is open to end, after the last start; on a slow machine, too
SIGKILL = 9


@dataclass(frozen=True)
class Plan:
    """What a campaign does: the kills of the program, and of its task processes in its lives."""

    kills: int
    executor_kills: int = 0
    seed: int = 0
    runner: str = "process"
    life_max: float = LIFE_MAX
    command: Sequence[str] = COMMAND
    environ: Callable[[int], Mapping[str, str]] = lambda life: {}
    """What to add to the environment of each life, by its number."""
    is_there: Callable[[int], bool] = lambda life: False
    """Whether what was added to the environment of this life has shown; the life goes on until then."""


@dataclass
class Verdict:
    """What was done and what was found."""

    kills: int = 0
    executor_kills: int = 0
    runs: int = 0
    ended: int = 0
    attempts: int = 0
    acknowledged: int = 0
    recovery_max: float = 0.0
    """The longest time from a start to its answers, in seconds."""
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: Kind) -> int:
        """How many findings of a kind."""
        return sum(finding.kind is kind for finding in self.findings)


class Campaign:
    """Plays a plan in a folder. Use as a context manager: leaving ends every process it has started."""

    def __init__(
        self, folder: Path, plan: Plan, progress: Callable[[Verdict], None] = lambda verdict: None
    ) -> None:
        self.folder, self.plan, self.verdict = folder, plan, Verdict()
        self._progress = progress
        self._random = Random(plan.seed)
        self._file = folder / "torture_dags.py"
        self._book = Book(folder / "answers.jsonl")
        self._verifier = Verifier()
        self.program = Program(
            folder, self._file, settings={**SETTINGS, "runner": plan.runner}, command=plan.command
        )

    def __enter__(self) -> "Campaign":
        shutil.copyfile(dags.__file__, self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self.program.close()

    def play(self, is_over: Callable[[], bool] = lambda: False) -> Verdict:
        """All lives, the last of which ends when all its work is done."""
        try:
            while self.verdict.kills < self.plan.kills and not self.verdict.findings and not is_over():
                self._live()
                self._look()
            if not self.verdict.findings:
                self._finish()
        except TortureError as error:
            self._find(Kind.STUCK, str(error))
        return self.verdict

    def _live(self) -> None:
        """One life: begins, works, loses some of its task processes, and is killed."""
        environ = self.plan.environ(self.program.lives + 1)
        self._start(environ)
        url = self.program.url
        if url is not None:  # else it has died already, by what `environ` made of it
            with Commander(url, self._book, self._random):
                if environ:
                    self._dies_within(END_SECONDS, lambda: self.plan.is_there(self.program.lives))
                self._hurt(self.plan.life_max * self._random.random())
        if not self.program.has_ended:
            self.program.kill(with_warm_parent=self._random.random() < WITH_WARM_PARENT)
        self.verdict.kills += 1

    def _start(self, environ: Mapping[str, str] = {}) -> None:
        try:
            seconds = self.program.start(environ)
        except TortureError:
            if not environ or not self.program.has_ended:
                raise
        else:
            self.verdict.recovery_max = max(self.verdict.recovery_max, seconds)
            for pid in self.program.strangers():
                self._find(Kind.DOUBLED, f"process {pid} of a killed program runs beside its successor")

    def _hurt(self, seconds: float) -> None:
        """Lets it live for so long, and kills of its task processes what the plan wants."""
        left = self.plan.executor_kills - self.verdict.executor_kills
        lives = max(1, self.plan.kills - self.verdict.kills)
        share = -(-left // lives)
        for number in range(share + 1):
            if self._dies_within(seconds / (share + 1)):
                return
            if number < share:
                self._kill_executor(is_all=number == 0 and self._random.random() < ALL_TASKS)

    def _dies_within(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        end, pause = mono() + seconds, threading.Event()
        while not (self.program.has_ended or is_enough()) and mono() < end:
            pause.wait(POLL_SECONDS)
        return self.program.has_ended

    def _kill_executor(self, is_all: bool) -> None:
        """The parent of all task processes, or one of them."""
        warm, tasks = self.program.warm_parent, self.program.task_processes()
        targets = [warm] if is_all or not tasks else [self._random.choice(tasks)]
        posix.signal_all([pid for pid in targets if pid is not None], SIGKILL)
        self.verdict.executor_kills += 1

    def _look(self) -> rows.Rows:
        """Verifies what the kill has left."""
        found = rows.read(self.program.db)
        evidence = Evidence(found, ledger.read(self.folder / "ledger"), self._book)
        self.verdict.findings += self._verifier.look(evidence)
        self.verdict.runs, self.verdict.attempts = len(found.runs), len(found.attempts)
        self.verdict.ended = len(found.runs) - len(found.open_runs)
        self.verdict.acknowledged = len(self._book.answers)
        self._progress(self.verdict)
        return found

    def _finish(self) -> None:
        """A last life without harm: everything must end by itself."""
        self._start()
        assert self.program.url is not None
        client = HttpClient(self.program.url)
        client.pause("ticks")
        try:
            until(lambda: not client.runs(status=["SCHEDULED", "RUNNING"]), "all runs end", END_SECONDS)
        except TortureError:
            pass  # the rows say which
        finally:
            client.close()
        self.program.stop()
        self.verdict.findings += nothing_is_stuck(self._look())

    def _find(self, kind: Kind, words: str) -> None:
        self.verdict.findings.append(Finding(kind, words))
