"""Executors as the command line and the API show them."""

import json
import os
import subprocess
import sys

from remote.world import SRC, World, until


def command(w: World, *words: str) -> str:
    """What a command prints."""
    environ = {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "ppacer", *words, "--url", w.url],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_executors_are_listed_with_what_they_run_and_whether_their_code_is_the_same(w: World) -> None:
    w.scheduler()
    w.executor("gpu-1", "--label", "gpu", "--label", "big", "--slots", "3")
    w.dags.write_text(w.dags.read_text() + "\nwith Dag('more') as more:\n    quick()\n")
    other = w.executor("plain", "--slots", "1", "--name", "plain")
    w.trigger("gated")
    w.begun()
    gpu, plain = json.loads(command(w, "executors", "--json"))["executors"]
    assert (gpu["name"], gpu["state"], gpu["labels"], gpu["slots"]) == ("gpu-1", "UP", ["gpu", "big"], 3)
    assert gpu["running"] + plain["running"] == 1
    assert (gpu["differing"], plain["differing"]) == ([], [])  # one more dag than the scheduler has is none
    assert (gpu["dags"], plain["dags"]) == (5, 6)
    w.open()
    other.kill()
    until(lambda: w.rows("plain")[0][1], "the end of its lease")
    lines = [line.split() for line in command(w, "executors").splitlines()]
    assert [line[:3] for line in lines[1:]] == [["gpu-1", "UP", "0/3"], ["plain", "GONE", "0/1"]]
