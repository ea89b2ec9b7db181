"""`ppacer check`, and what is said about files that cannot be used; the same for `serve` and `run`."""

import re
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import DAGS, call, ok
from ppacer.cli import exits

HEAD = "from ppacer import Dag, Node\nfrom ppacer.schedule import Cron\nfrom ppacer.tasks import Empty\n"

BAD_FILES = {
    "a cycle": (
        "a, b = Node(Empty('a')), Node(Empty('b'))\na.next(b)\nb.next(a)\nDag('d', a)",
        "dag 'd' has a cycle: a -> b -> a",
    ),
    "two tasks with one id": (
        "with Dag('d') as d:\n    Node(Empty('a'))\n    Node(Empty('a'))",
        "task id 'a' is used twice in dag 'd'",
    ),
    "two dags with one id": (
        "with Dag('d') as d:\n    Node(Empty('a'))\nwith Dag('d') as e:\n    Node(Empty('a'))",
        "dag id 'd' is used twice",
    ),
    "a bad cron expression": ("Cron('61 * * * *')", "minute '61' is not possible"),
    "a bad time zone": ("Cron('* * * * *', tz='Mars/Base')", "no time zone 'Mars/Base'"),
    "a bad id": ("Dag('a b')", "dag id 'a b' is not possible"),
    "a module that is not there": ("import no_such_module", "No module named 'no_such_module'"),
    "a syntax error": ("def broken(:\n    pass", "SyntaxError"),
    "an exit": ("raise SystemExit(3)", "SystemExit"),
    "a scheduler without a guard": (
        "import ppacer\nwith Dag('d') as d:\n    Node(Empty('a'))\nppacer.serve(d, port=0)",
        'while the file is imported; put it below `if __name__ == "__main__":`, as its last lines',
    ),
    "a run without a guard": (
        "import ppacer\nwith Dag('d') as d:\n    Node(Empty('a'))\nppacer.run_once(d)",
        "ppacer.run_once(...) is called while the file is imported",
    ),
    "no dag": ("x = 1", "defines no dag"),
}
WITH_TRACEBACK = {"a module that is not there", "a syntax error", "an exit"}


@pytest.mark.parametrize("command", ["check", "serve", "run"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_used_gets_one_sentence_and_changes_nothing(
    folder: Path, case: str, command: str
) -> None:
    text, words = BAD_FILES[case]
    Path("dags.py").write_text(HEAD + text)
    ended = call(command, "dags.py")
    assert ended.code == (exits.FAILED if command == "check" else exits.USAGE)
    *trace, sentence = ended.err.strip().splitlines()
    assert sentence.startswith("ppacer: ")
    assert words in sentence
    assert bool(trace) >= (case in WITH_TRACEBACK)
    assert ended.out == ""
    assert {path.name for path in folder.iterdir()} == {"dags.py"}


def test_a_file_that_does_not_import_shows_its_own_frames_and_none_of_ppacer(folder: Path) -> None:
    Path("helper.py").write_text("def divide():\n    return 1 / 0\n")
    Path("dags.py").write_text("import helper\nhelper.divide()\n")
    ended = call("serve", "dags.py")
    assert f'File "{folder}/dags.py", line 2' in ended.err
    assert f'File "{folder}/helper.py", line 2' in ended.err
    assert "ZeroDivisionError: division by zero" in ended.err.splitlines()[-1]
    assert "ppacer/load.py" not in ended.err
    assert "importlib" not in ended.err


@pytest.mark.parametrize("command", ["check", "serve", "run"])
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("absent.py", "there is no file absent.py"),
        (".", "is a directory"),
        ("dags.py:nope", "has no dag and no registry 'nope'"),
        ("dags.py:goood", "did you mean 'good'?"),
    ],
)
def test_a_target_that_is_not_there_gets_one_sentence(command: str, target: str, words: str) -> None:
    Path("dags.py").write_text(DAGS.read_text())
    ended = call(command, target)
    assert ended.code == (exits.FAILED if command == "check" else exits.USAGE)
    assert words in ended.said


def test_the_dags_of_a_file_are_listed_with_tasks_and_next_point() -> None:
    lines = ok("check", DAGS).splitlines()
    assert lines[0].split() == ["DAG", "TASKS", "NEXT", "NEXT", "(UTC)", "SCHEDULE"]
    by_dag = {line.split()[0]: line for line in lines[1:-1]}
    assert by_dag["good"].split()[1] == "2"
    assert by_dag["good"].endswith("Cron: 15 3 * * * (Europe/Warsaw)")
    assert by_dag["sleeper"].endswith("by hand")
    assert lines[-1] == "✓ 9 dags with 13 tasks"


def test_only_what_is_named_is_listed() -> None:
    assert ok("check", f"{DAGS}:good").splitlines()[-1] == "✓ 1 dag with 2 tasks"


def test_a_name_may_be_a_variable_with_a_dag_or_a_registry() -> None:
    Path("dags.py").write_text(
        "from ppacer import Dag, Node, Registry\nfrom ppacer.tasks import Empty\n"
        "first = Dag('a', Node(Empty('t')))\nsecond = Dag('b', Node(Empty('t')))\n"
        "third = Dag('c', Node(Empty('t')))\nboth = Registry([first, second])\n"
    )
    assert [dag["dag_id"] for dag in call("check", "dags.py:both", "--json").json["dags"]] == ["a", "b"]
    assert [dag["dag_id"] for dag in call("check", "dags.py:third", "--json").json["dags"]] == ["c"]
    assert len(call("check", "dags.py", "--json").json["dags"]) == 3


def test_a_colon_in_the_name_of_a_file_belongs_to_it() -> None:
    Path("dags:good.py").write_text(DAGS.read_text())
    assert call("check", "dags:good.py").code == 0


def test_the_json_tells_what_is_there_or_what_is_wrong() -> None:
    answer: Any = call("check", f"{DAGS}:good", "--json").json
    assert answer["ok"] is True
    assert answer["dags"][0]["schedule"] == "Cron: 15 3 * * * (Europe/Warsaw)"
    Path("dags.py").write_text("1 / 0")
    ended = call("check", "dags.py", "--json")
    assert ended.code == exits.FAILED
    assert ended.err == ""
    assert ended.json["ok"] is False
    assert "division by zero" in ended.json["error"]
    assert "line 1" in ended.json["traceback"]


def test_a_schedule_that_raises_is_named() -> None:
    Path("dags.py").write_text(
        HEAD + "class Odd:\n    start = None\n    def __str__(self): return 'odd'\n"
        "    def next(self, current, previous): raise ValueError('no idea')\n"
        "with Dag('d', schedule=Odd()) as d:\n    Node(Empty('a'))\n"
    )
    ended = call("check", "dags.py")
    assert ended.code == exits.FAILED
    assert ended.said == "dag 'd': schedule 'odd' raised ValueError: no idea"


def test_what_may_not_be_meant_is_remarked(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(
        "from datetime import datetime, timedelta, timezone\n"
        "from ppacer import Dag, task\n"
        "from ppacer.schedule import Fixed\n"
        "start = datetime(2024, 1, 1, tzinfo=timezone.utc)\n"
        "empty = Dag('empty')\n"
        "@task\ndef nothing() -> None: ...\n"
        "with Dag('many', schedule=Fixed(start, timedelta(days=1)), catch_up=True) as many:\n    nothing()\n"
        "with Dag('few', schedule=Fixed(start, timedelta(days=1)), catch_up=7) as few:\n    nothing()\n"
    )
    lines = ok("check", file).splitlines()
    remarks = [line for line in lines if line.startswith(("empty has", "many will", "few will"))]
    assert remarks[0] == "empty has no tasks: its runs succeed at once, and do nothing"
    assert re.fullmatch(r"many will catch up from 2024-01-01 where it is new: about [\d,]+ runs", remarks[1])
    assert len(remarks) == 2
