"""Fixtures for the tests of the scheduler."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.harness import World

Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Make]:
    """Makes worlds, and closes their databases afterwards."""
    worlds: list[World] = []

    def make(*dags: Any, **options: Any) -> World:
        folder = options.pop("place", tmp_path / str(len(worlds)))
        folder.mkdir(exist_ok=True)
        worlds.append(World(folder, *dags, **options))
        return worlds[-1]

    yield make
    for each in worlds:
        each.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
