"""README.md says what is so: its files are written, its commands run, and their output is compared."""

import datetime
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.terminal import ROOT, Running, Terminal, until
from ppacer import schedule
from ppacer.cli import SECTIONS
from ppacer.store import Store

README = (ROOT / "README.md").read_text("utf-8")
PROGRAM = re.compile(r"python \w+\.py|ppacer serve .*")
# What needs a network or the whole repository; `python3 dev.py` itself is run by CI.
FOR_OTHERS = {
    "python3 dev.py demo",
    "python3 dev.py test",
    "mkdir ppacer-demo && cd ppacer-demo",
    "python3 -m venv .venv && . .venv/bin/activate",
    "pip install ../ppacer",
}
SAME = (  # what differs from run to run
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIMESTAMP"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"\b\d+\.\d+\.\d+\b"), "VERSION"),
    (re.compile(r"-{3,}"), "---"),
    (re.compile(r"\s+"), " "),
)


class Part(NamedTuple):
    """A piece of a section: `kind` is python, sh, text, or prose between them."""

    kind: str
    content: str


def sections() -> dict[str, list[Part]]:
    """The parts under each heading, in order."""
    found: dict[str, list[Part]] = {"": []}
    parts, kind, lines = found[""], "prose", list[str]()
    for line in README.splitlines():
        if line.startswith("```") or (kind == "prose" and line.startswith("#")):
            parts.append(Part(kind, "\n".join(lines)))
            kind, lines = (line[3:] or "prose") if kind == "prose" and line.startswith("`") else "prose", []
            if line.startswith("#"):
                parts = found.setdefault(line.lstrip("# "), [])
        else:
            lines.append(line)
    parts.append(Part(kind, "\n".join(lines)))
    return found


class Reader:
    """Somebody who does what the README says: writes files, types commands, and looks at what comes."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal, self.aliases = terminal, ""
        self.program: Running | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self, parts: Sequence[Part]) -> None:
        """One section; a program that was started is stopped at its end."""
        before, said = "", ""
        for kind, content in parts:
            if kind == "python":
                name = re.findall(r"`(\w+\.py)`", before)[-1]
                (self.terminal.folder / name).write_text(content)
            elif kind == "sh":
                said = "".join(self.type(line.split("  #")[0].strip()) for line in content.splitlines())
            elif kind == "text":
                self.compare(content, said)
            before = content if kind == "prose" else ""
        self.stop()

    def type(self, command: str) -> str:
        """Runs a command, or starts a program."""
        if command in FOR_OTHERS:
            return ""
        if command.startswith("alias "):
            self.aliases += command + "\n"
            return ""
        if PROGRAM.fullmatch(command):
            self.stop()
            self.program = self._stack.enter_context(self.terminal.start(command))
            self.program.says("ppacer serves")
            return ""
        if command.startswith("sqlite3 ") and shutil.which("sqlite3") is None:
            pytest.skip("there is no sqlite3 command; the columns are checked by another test")
        return self.terminal.does(self.aliases + command)

    def compare(self, shown: str, said: str) -> None:
        """Every line of the README is there, in this order; `…` stands for what it leaves out."""
        if self.program is not None:
            program = self.program
            until(lambda: not missing(shown, program.output), f"what the README shows:\n{shown}")
        else:
            assert not missing(shown, said), f"the README has lines that are not in:\n{said}"

    def stop(self) -> None:
        """Ctrl-C, when nothing is in the middle of a run."""
        if self.program is not None:
            until(self._is_idle, "the end of all runs")
            assert self.program.stop() == 0, self.program.output
            self.program = None

    def _is_idle(self) -> bool:
        with closing(sqlite3.connect(self.terminal.folder / "scheduler.db")) as db:
            return not db.execute("SELECT RunId FROM dagruns WHERE EndedAt IS NULL").fetchall()


def missing(shown: str, said: str) -> list[str]:
    """The first line of the README that does not come in the output, if there is one, and all after it."""
    lines = [line for line in map(same, shown.splitlines()) if line not in ("", "…")]
    for line in map(same, said.splitlines()):
        if lines and (line == lines[0] or line.startswith(lines[0].removesuffix("…") or " ")):
            del lines[0]
    return lines


def same(line: str) -> str:
    for pattern, word in SAME:
        line = pattern.sub(word, line)
    return line.strip()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Reader(Terminal(tmp_path)) as reader:
        yield reader


TUTORIAL = ["Install", "Scheduler and executor in one program", "A task and a dag", "Look into the database"]


@pytest.mark.slow
def test_the_tutorial_works_line_by_line(reader: Reader) -> None:
    for heading in TUTORIAL:
        reader.follow(sections()[heading])


@pytest.mark.slow
def test_everything_else_works_line_by_line(reader: Reader) -> None:
    for heading, parts in sections().items():
        if heading not in TUTORIAL:
            reader.follow(parts)


@pytest.mark.parametrize("query", re.findall(r"^sqlite3 scheduler\.db '(.*)'$", README, re.MULTILINE))
def test_the_columns_of_a_query_are_those_of_the_database(query: str, database: Path) -> None:
    """Also where there is no sqlite3 command."""
    parts = next(parts for parts in sections().values() if any(query in part.content for part in parts))
    at = next(at for at, part in enumerate(parts) if query in part.content)
    shown = next(part for part in parts[at:] if part.kind == "text").content.splitlines()
    headers = [line.removesuffix("…").split() for line, below in pairwise(shown) if below.startswith("---")]
    with closing(sqlite3.connect(database)) as db:
        names = [column[0] for column in db.execute(query).description]
    assert any(names[: len(header)] == header for header in headers), names


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("columns") / "scheduler.db"
    Store(str(path)).close()
    return path


def test_the_queries_of_the_first_tutorial_are_there() -> None:
    for query in (
        "SELECT DagId, StartTs, Schedule, CreateTs FROM dags",
        "SELECT * FROM dagruns",
        "SELECT * FROM dagruntasks",
        "SELECT DagId, TaskId, IsCurrent, InsertTs, TaskTypeName FROM dagtasks",
        "SELECT DagId, TaskId, IsCurrent, TaskBodySource FROM dagtasks",
    ):
        assert f"\nsqlite3 scheduler.db '{query}'\n" in README


def test_every_schedule_in_the_table_is_one() -> None:
    names = {**vars(schedule), "start": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)}
    names["timedelta"] = datetime.timedelta
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    expressions = re.findall(r"`([^`]+)`", " ".join(rows))
    assert len(expressions) > 5
    for expression in expressions:
        made = eval(expression, names)
        assert schedule.next_point(made, datetime.datetime.now(datetime.UTC), None) is not None, expression


def test_every_command_it_names_exists() -> None:
    known = {name for commands in SECTIONS.values() for name in commands}
    named = set(re.findall(r"`ppacer ([a-z]+)\b", README))
    assert named <= known
    assert {"next", "why", "restart"} <= named


def test_everything_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_two_commands_of_the_first_screen_are_known_to_dev_py() -> None:
    usage = subprocess.check_output([sys.executable, ROOT / "dev.py", "--help"], text=True)
    for command in ("demo", "test"):
        assert f"\npython3 dev.py {command} " in README
        assert f"\n  {command} " in usage
