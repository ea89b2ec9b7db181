"""One program for all tests that leave no traces, and programs of their own for the others."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from api.dags import GATE, all_dags
from api.live import LONG, PATIENCE, Live, until
from ppacer import Dag


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[dict[str, float]]:
    """Limits that no slow machine reaches: those that a test wants to see, it sets. Yields the product's."""
    product: dict[str, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in {
            "parameters.WAIT_SECONDS_MAX": LONG,
            "door.COMMAND_SECONDS": LONG,
            "door.FLUSH_SECONDS": PATIENCE / 2,
            "connection.HEADER_SECONDS": LONG,
            "guard.BODY_SECONDS": LONG,
        }.items():
            product[name] = resolve_name(f"ppacer.api.{name}")
            patch.setattr(f"ppacer.api.{name}", float(seconds))
        yield product


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A program that nobody changes but by runs of his own."""
    with Live(tmp_path_factory.mktemp("shared"), *all_dags()) as live:
        until(lambda: live.get("/api/v1/runs/1").status == 200)  # the run that `rare` catches up with
        live.ended(1)
        yield live


@pytest.fixture
def gate() -> Iterator[Any]:
    """The gate at which the dag `held` waits; open again after the test."""
    GATE.shut()
    yield GATE
    GATE.open()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts programs with the given dags, and stops them after the test."""
    with ExitStack() as stack:

        def make(*dags: Dag, **settings: Any) -> Live:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            return stack.enter_context(Live(folder, *dags, **settings))

        yield make
