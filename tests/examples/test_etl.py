"""The CSV files: what is right is loaded, what is not is said; a run loads everything or nothing."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import ppacer
from examples.conftest import Load, MakeContext
from examples.terminal import ROOT, Terminal
from ppacer.errors import ParamsError
from ppacer.notify import MockSender

EXAMPLE = ROOT / "examples" / "etl"
DATA = EXAMPLE / "data"
BAD = [
    ("2026-11-20-harbour.csv", 5, "invalid literal for int() with base 10: 'many'"),
    ("2026-11-20-market.csv", 3, "day is out of range for month"),
    ("2026-11-20-market.csv", 6, "shop or product is empty"),
    ("2026-11-20-market.csv", 7, "it has 5 cells, not 6"),
    ("2026-11-21-harbour.csv", 4, "id 1006 stands for another sale already"),
    ("2026-11-21-harbour.csv", 5, "3 for 3.205 is not possible"),
]
MORNING, EVENING = datetime(2024, 3, 11, 6, tzinfo=UTC), datetime(2024, 3, 11, 18, tzinfo=UTC)


def rows(sql: str, database: Path = Path("sales.db")) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def run(dags: Any, **params: Any) -> tuple[str, str]:
    """The state of a run, and what was said about its failure."""
    told = MockSender()
    detail = ppacer.run_once(dags.etl, params=params, notifier=told)
    return detail.run.status, "".join(message.text for message in told.messages)


def test_the_shipped_files_are_loaded_and_their_bad_rows_are_named(load: Load) -> None:
    assert run(load("etl")) == ("SUCCESS", "")
    assert rows("SELECT id, day, shop, product, quantity, cents FROM sales ORDER BY id") == [
        (1001, "2026-11-20", "Harbour", "Rope 10 m", 2, 1250),
        (1002, "2026-11-20", "Harbour", "Lantern", 1, 3900),
        (1003, "2026-11-20", "Harbour", "Paint, white", 4, 895),
        (1005, "2026-11-20", "Harbour", "Lantern", 1, 3900),
        (1006, "2026-11-21", "Harbour", "Rope 10 m", 1, 1250),
        (1008, "2026-11-21", "Harbour", "Żagiel", 1, 118000),
        (2001, "2026-11-20", "Market", "Tea", 3, 420),
        (2003, "2026-11-20", "Market", "Coffee", 2, 780),
    ]
    assert rows("SELECT file, line, problem FROM bad_rows ORDER BY file, line") == BAD


def test_a_strict_run_fails_and_loads_nothing(load: Load) -> None:
    status, words = run(load("etl"), strict=True)
    assert status == "FAILED"
    assert "6 of 15 rows are bad, so nothing is loaded" in words
    assert not Path("sales.db").exists()


def test_a_strict_run_loads_clean_files(load: Load, tmp_path: Path) -> None:
    (tmp_path / "clean.csv").write_text(
        "id,day,shop,product,quantity,price\n1,2026-11-22,Market,Tea,1,4.20\n"
    )
    assert run(load("etl"), strict=True, folder=str(tmp_path)) == ("SUCCESS", "")
    assert rows("SELECT id, cents FROM sales") == [(1, 420)]


def test_results_are_passed_as_the_types_that_the_tasks_name(load: Load) -> None:
    dags = load("etl")
    seen: list[Any] = []
    dags.Checked.__post_init__ = seen.append  # called for what `load` gets, not by the finished __init__
    assert run(dags)[0] == "SUCCESS"
    (checked,) = seen
    assert {type(sale) for sale in checked.sales} == {dags.Sale}
    assert {type(row) for row in checked.bad} == {dags.Row}
    assert [(row.file, row.line, row.problem) for row in checked.bad] == BAD


def prepared(dags: Any, context: MakeContext) -> Callable[[datetime], None]:
    """Loads the shipped files as the run of some time; outside of a dag a task is a plain function."""

    def load_as(exec_ts: datetime) -> None:
        ctx = context(exec_ts, dags.Params())
        dags.load(ctx, dags.transform(ctx, dags.extract(ctx)))

    return load_as


def test_the_same_run_again_changes_nothing(load: Load, context: MakeContext) -> None:
    load_as = prepared(load("etl"), context)
    load_as(MORNING)
    before = rows("SELECT * FROM sales"), rows("SELECT * FROM bad_rows")
    load_as(MORNING)
    assert (rows("SELECT * FROM sales"), rows("SELECT * FROM bad_rows")) == before


def test_an_old_run_that_is_repeated_replaces_nothing_newer(load: Load, context: MakeContext) -> None:
    load_as = prepared(load("etl"), context)
    load_as(EVENING)
    before = rows("SELECT * FROM sales")
    load_as(MORNING)
    assert rows("SELECT * FROM sales") == before
    assert {at for (at,) in rows("SELECT exec_ts FROM sales")} == {"2024-03-11T18:00:00.000000Z"}


def test_a_load_that_fails_in_the_middle_leaves_nothing(load: Load) -> None:
    with closing(sqlite3.connect("sales.db")) as db, db:
        db.execute("CREATE TABLE bad_rows (exec_ts TEXT, something_else TEXT)")
    status, words = run(load("etl"))
    assert status == "FAILED"
    assert "bad_rows has 2 columns but 4 values were supplied" in words
    assert rows("SELECT name FROM sqlite_master") == [("bad_rows",)], "half a load is left"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,day,shop\n1,2026-11-22,Market\n", "other.csv has the columns ['id', 'day', 'shop']"),
        ("", "other.csv has the columns []"),
        (None, "there is no folder"),
    ],
)
def test_what_is_no_input_is_named(content: str | None, words: str, load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    if content is not None:
        folder.mkdir()
        (folder / "other.csv").write_text(content)
    status, said = run(load("etl"), folder=str(folder))
    assert status == "FAILED"
    assert words in said
    assert not Path("sales.db").exists()


@pytest.mark.parametrize(
    ("params", "words"),
    [({"strict": "perhaps"}, "parameter 'strict'"), ({"folders": "."}, "unknown parameter 'folders'")],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], words: str, load: Load) -> None:
    with pytest.raises(ParamsError, match=words):
        ppacer.run_once(load("etl").etl, params=params)


def test_a_program_loads_a_folder_given_by_a_trigger(tmp_path: Path, terminal: Terminal) -> None:
    shutil.copytree(DATA, tmp_path / "incoming")
    with terminal.start(f"python {EXAMPLE}/dags.py") as program:
        program.says("ppacer serves 1 dag(s)")
        terminal.does("ppacer trigger etl --param folder=incoming --wait")
        failed = terminal.run("ppacer trigger etl --param folder=incoming --param strict=true --wait")
        assert failed.returncode == 1, failed
        refused = terminal.run("ppacer trigger etl --param strict=perhaps")
        assert refused.returncode == 2, refused
        assert "strict" in refused.stderr
        listed = json.loads(terminal.does("ppacer runs --json"))
        assert program.stop() == 0
    assert [run["status"] for run in listed["runs"]][:2] == ["FAILED", "SUCCESS"]
    assert len(rows("SELECT * FROM sales", tmp_path / "sales.db")) == 8


def test_the_command_line_runs_it_once(tmp_path: Path, terminal: Terminal) -> None:
    terminal.does(f"ppacer run {EXAMPLE}/dags.py")
    assert len(rows("SELECT * FROM sales", tmp_path / "sales.db")) == 8
    strict = terminal.run(f"ppacer run {EXAMPLE}/dags.py --param strict=true")
    assert strict.returncode == 1
    assert "6 of 15 rows are bad" in strict.stdout + strict.stderr
