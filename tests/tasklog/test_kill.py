"""A writer that is killed at any moment leaves a readable file with all that was committed, in order."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ppacer.tasklog import LogReader, LogWriter
from tasklog.samples import EXEC_TS, SOON, record

WRITE_FOR_EVER = """
import sys
from datetime import datetime, timezone
from ppacer.tasklog import LogRecord, LogWriter

exec_ts = datetime(2024, 3, 11, 12, tzinfo=timezone.utc)
writer = LogWriter(sys.argv[1])
writer.add_listener(lambda rows: print(rows[-1].log_id, flush=True))
writer.start()
number = int(sys.argv[2])
while True:
    numbers = range(number, number + 100)
    writer.put([LogRecord("etl", exec_ts, "extract", 0, exec_ts, "INFO", str(n)) for n in numbers])
    number += 100
    if number % 5000 == 0:
        writer.flush(60)
"""

ABOUT_FILES = True


def test_a_killed_writer_leaves_everything_committed_and_readable(path: Path) -> None:
    reader, rows = LogReader(path), 0
    for commits in (1, 3, 7, 12):
        rows = write_and_kill(path, rows, commits)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        seen = 0
        while page := reader.read("etl", EXEC_TS, "extract", 0, after=seen, limit=10_000):
            assert [row.message for row in page] == [str(seen + n) for n in range(len(page))]
            seen += len(page)
        assert seen >= rows
        rows = seen
    with LogWriter(path) as writer:
        assert writer.wait(0, SOON) == rows
        writer.put([record("next")])
        assert writer.wait(rows, SOON) == rows + 1


def write_and_kill(path: Path, start: int, commits: int) -> int:
    """Let a child write on from row `start`, kill it after some commits; the last LogId it saw committed."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(path), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(commits)]
        child.kill()
        whole_lines = child.stdout.read().split("\n")[:-1]
    assert child.returncode == -signal.SIGKILL
    return max([*seen, *map(int, whole_lines)])
