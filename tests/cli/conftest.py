"""Every test in a folder of its own, without variables of ppacer; one server for all that only need one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.terminal import Server, serving


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test."""
    for name in list(os.environ):
        if name.startswith("PPACER_") or name in ("NO_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A scheduler with the dags of `dags.py`, shared: tests trigger runs of their own."""
    with serving(tmp_path_factory.mktemp("server"), "--slots", "20") as running:
        yield running
