"""What the tests of the examples share."""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples.terminal import ROOT, Terminal
from ppacer import RunInfo, TaskContext
from ppacer.notify import MockSender

Load = Callable[[str], Any]
MakeContext = Callable[..., TaskContext]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports the file of an example anew, as it is with the environment of now; files go to tmp_path."""
    monkeypatch.chdir(tmp_path)
    loaded: list[str] = []

    def load_example(name: str) -> Any:
        module_name = f"example_{name}_{len(loaded)}"
        spec = importlib.util.spec_from_file_location(module_name, ROOT / "examples" / name / "dags.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        loaded.append(module_name)
        spec.loader.exec_module(module)
        return module

    yield load_example
    for name in loaded:
        del sys.modules[name]


@pytest.fixture
def context() -> MakeContext:
    """Makes the context of an attempt; two of the same execution time are two attempts of one run."""

    def make(exec_ts: datetime = datetime(2024, 3, 11, 3, 15, tzinfo=UTC), params: Any = None) -> TaskContext:
        return TaskContext(
            run=RunInfo("example", exec_ts, 1, params),
            task_id="task",
            retry=0,
            attempt_token="token",
            logger=logging.getLogger("example"),
            notifier=MockSender(),
        )

    return make


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A shell in tmp_path."""
    return Terminal(tmp_path)
