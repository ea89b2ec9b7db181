"""`ppacer run`: once, here and now."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import DAGS, PATIENCE, call, line_with, on_tty, plain, really, started
from ppacer.cli import exits


def steps(text: str) -> list[str]:
    """The lines without their times and spans."""
    return [re.sub(r"^[\d:]+Z ", "", re.sub(r" +\d+(\.\d+)? m?s", "", line)) for line in text.splitlines()]


def test_a_run_shows_every_change_and_what_is_said(folder: Path) -> None:
    ended = really("run", f"{DAGS}:good", "-p", "day=7", cwd=folder)
    assert ended.code == 0
    assert ended.err == ""
    lines = steps(ended.out)
    for line in (
        "extract  ► RUNNING",
        "extract | day 7, monday",
        "extract | to stdout",
        "extract | to stderr",
        "extract  ✓ SUCCESS",
        "flaky    ↻ RETRY; ValueError: not yet; again in",
        "flaky   | ValueError: not yet",
        "flaky    ► RUNNING  retry 1",
        "flaky    ✓ SUCCESS",
    ):
        assert line in lines, (line, lines)
    assert lines[-1] == "✓ SUCCESS  good: 2 of 2 tasks succeeded, in"
    assert list(folder.iterdir()) == []  # the database was temporary


def test_a_failed_run_ends_with_the_text_of_its_errors(folder: Path) -> None:
    ended = really("run", f"{DAGS}:failing", cwd=folder)
    assert ended.code == exits.FAILED
    _, _, end = ended.out.partition("\nbad failed:\n")
    assert end.startswith("  RuntimeError: cannot load 6\n")
    assert f'File "{DAGS}", line' in end
    assert "✗ FAILED  failing: 2 of 4 tasks succeeded" in end
    assert "ppacer/executor" not in ended.out


def test_a_result_that_is_too_large_is_a_failure_with_a_sentence(folder: Path) -> None:
    ended = really("run", f"{DAGS}:too_big", cwd=folder)
    assert ended.code == exits.FAILED
    assert (
        "  the result has 2,000,002 bytes and the limit is 1,048,576; write large data to a file" in ended.out
    )
    assert ended.err == ""


def test_with_json_stdout_is_the_run_and_stderr_the_progress(folder: Path) -> None:
    ended = really("run", f"{DAGS}:good", "--json", cwd=folder)
    detail: Any = ended.json
    assert detail["run"]["status"] == "SUCCESS"
    assert [attempt["task_id"] for attempt in detail["attempts"]] == ["extract", "flaky", "flaky"]
    assert "extract | to stdout" in ended.err


def test_ctrl_c_cancels_the_run_and_its_tasks(folder: Path) -> None:
    with started("run", f"{DAGS}:sleeper", cwd=folder) as process:
        line_with("good night", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits.INTERRUPTED
    assert "cancelling: running tasks are being stopped" in out
    assert "⊘ CANCELLED  sleeper: 0 of 1 task succeeded" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            [f"{DAGS}"],
            f"{DAGS} has 9 dags (good, failing, sleeper, escaping, too_big, yearly, fails_daily",
        ),
        ([f"{DAGS}:good", "-p", "day=x"], "parameter 'day' does not fit"),
        ([f"{DAGS}:good", "-p", "week=1"], "unknown parameter 'week'"),
        ([f"{DAGS}:good", "--params", "1"], "--params is not a JSON object"),
    ],
)
def test_wrong_input_gets_one_sentence_and_runs_nothing(args: list[str], words: str) -> None:
    ended = call("run", *args)
    assert ended.code == exits.USAGE
    assert words in ended.said
    assert ended.out == ""


def test_a_dag_without_tasks_has_run_at_once(folder: Path) -> None:
    Path("empty.py").write_text("from ppacer import Dag\nwith Dag('empty') as empty:\n    pass\n")
    ended = really("run", "empty.py", cwd=folder)
    assert ended.code == 0
    assert steps(ended.out) == ["✓ SUCCESS  empty: 0 of 0 tasks succeeded, in"]


BOARD = r"► RUNNING +slow +[\d.]+ \w+ +\n0 of 1 done, 1 running"


def test_on_a_terminal_a_board_is_drawn_and_wiped(folder: Path) -> None:
    Path("dags.py").write_text(
        "import time\nfrom pathlib import Path\nfrom ppacer import Dag, task\n\n@task\ndef slow() -> None:\n"
        f"    print('hello')\n    end = time.monotonic() + {PATIENCE}\n"
        "    while not Path('drawn').exists() and time.monotonic() < end:\n        time.sleep(0.02)\n\n"
        "with Dag('d') as d:\n    slow()\n"
    )

    def look(shown: str) -> None:
        if re.search(BOARD, plain(shown)):
            Path("drawn").touch()

    code, text = on_tty("run", "dags.py", cwd=folder, look=look)
    assert code == 0
    assert "slow | hello" in plain(text)
    assert re.search(BOARD, plain(text))
    assert "✓ SUCCESS  d: 1 of 1 task succeeded, in " in plain(text).rstrip().splitlines()[-1]
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back


def test_task_processes_are_forked_before_anything_heavy_is_imported(folder: Path) -> None:
    Path("dags.py").write_text(
        "import sys\nfrom ppacer import Dag, task\n\n@task\ndef show() -> None:\n"
        "    heavy = {'sqlalchemy', 'uvicorn', 'starlette', 'urllib3', 'rich'}\n"
        "    print('heavy:', *sorted(heavy & set(sys.modules)))\n\nwith Dag('d') as d:\n    show()\n"
    )
    assert "show | heavy:" in steps(really("run", "dags.py", cwd=folder).out)


def test_sigterm_cancels_the_run_and_leaves_nothing_behind(folder: Path) -> None:
    (folder / "temp").mkdir()
    with started("run", f"{DAGS}:sleeper", cwd=folder, env={"TMPDIR": str(folder / "temp")}) as process:
        line_with("good night", process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits.INTERRUPTED
    assert "⊘ CANCELLED" in out
    assert list((folder / "temp").iterdir()) == []


def test_what_the_file_prints_while_it_is_imported_does_not_spoil_the_json(folder: Path) -> None:
    Path("dags.py").write_text("from ppacer import Dag\nprint('hello')\nwith Dag('d') as d:\n    pass\n")
    for command in ("run", "check"):
        ended = really(command, "dags.py", "--json", cwd=folder)
        assert ended.json
        assert "hello" in ended.err


def test_a_dumb_terminal_gets_lines(folder: Path) -> None:
    code, text = on_tty("run", f"{DAGS}:good", cwd=folder, env={"TERM": "dumb"})
    assert code == 0
    assert "\x1b" not in text
    assert "extract  ► RUNNING" in steps(text)


def test_what_nobody_reads_does_not_end_the_run(folder: Path) -> None:
    done = folder / "done"
    Path("dags.py").write_text(
        "import time\nfrom pathlib import Path\nfrom ppacer import Dag, task\n\n@task\ndef talk() -> None:\n"
        "    for n in range(50):\n        print('x' * 1000, flush=True)\n        time.sleep(0.01)\n"
        f"    Path({str(done)!r}).touch()\n\nwith Dag('d') as d:\n    talk()\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        ended = really("run", "dags.py", cwd=folder, stdout=gone)
    assert done.exists()
    assert "Traceback" not in ended.err


def test_a_level_that_is_none_is_one_sentence() -> None:
    ended = call("run", f"{DAGS}:good", env={"PPACER_LOG_LEVEL": "loud"})
    assert ended.code == exits.USAGE
    assert ended.said.startswith("log_level is 'loud'; it must be one of DEBUG, INFO")
