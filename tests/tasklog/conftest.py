"""Fixtures: a file, a writer that is always closed, a small disk of its own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postgresql.server import Server
from ppacer.tasklog import LogReader, LogWriter
from tasklog.samples import SOON


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs.db"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both engines, unless a test asks for the file or its module is about files."""
    if "place" in metafunc.fixturenames:
        is_about_files = "path" in metafunc.fixturenames or hasattr(metafunc.module, "ABOUT_FILES")
        engines = ["sqlite"] if is_about_files else ["sqlite", "postgresql"]
        metafunc.parametrize("place", engines, indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """Where the logs are: the file `path`, or a new database on a server."""
    if request.param == "sqlite":
        yield tmp_path / "logs.db"
        return
    server: Server = request.getfixturevalue("postgresql")
    url = server.empty()
    yield url
    server.drop(url)


@pytest.fixture
def reader(place: str | Path) -> Iterator[LogReader]:
    reader = LogReader(place)
    yield reader
    reader.close()


@pytest.fixture
def make_writer(place: str | Path) -> Iterator[Callable[..., LogWriter]]:
    """Makes writers that are not started yet."""
    made: list[LogWriter] = []

    def make(where: str | Path = place, **options: Any) -> LogWriter:
        made.append(LogWriter(where, **options))
        return made[-1]

    yield make
    for writer in reversed(made):
        writer.close(0)
        if writer._thread.ident is not None:
            writer._thread.join(SOON)


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
