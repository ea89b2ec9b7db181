"""Fixtures: a file, a writer that is always closed, a small disk of its own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppacer.tasklog import LogReader, LogWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs.db"


@pytest.fixture
def reader(path: Path) -> LogReader:
    return LogReader(path)


@pytest.fixture
def make_writer(path: Path) -> Iterator[Callable[..., LogWriter]]:
    """Makes writers that are not started yet."""
    made: list[LogWriter] = []

    def make(where: Path = path, **options: Any) -> LogWriter:
        made.append(LogWriter(where, **options))
        return made[-1]

    yield make
    for writer in reversed(made):
        writer.close(0)
        if writer._thread.ident is not None:
            writer._thread.join(10)


@pytest.fixture
def writer(make_writer: Callable[..., LogWriter]) -> LogWriter:
    made = make_writer()
    made.start()
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
