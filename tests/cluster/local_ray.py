"""A Ray cluster of one node on this machine, in a folder of its own, on free ports."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 120.0  # it starts six programs, one after the other


class LocalRay:
    """Started when entered, gone when left; gives its address."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: sockets are in it

    def __enter__(self) -> str:
        options = ["--port=0", f"--num-cpus={self._cpus}", f"--temp-dir={self._folder}", "--block"]
        options += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"]
        program = Path(sys.executable).with_name("ray")
        self._log = Path(self._folder, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program, "start", "--head", *options], stdout=log, stderr=log)
        return self._address()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self) -> str:
        until = time.monotonic() + START_SECONDS
        while (found := re.search(r"ray start --address='(\S+)'", self._log.read_text())) is None:
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)
        return found[1]
