"""What axe finds on the pages, in both themes, wide and narrow: nothing that is serious."""

import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ui.browser import DESK, PHONE, Browser
from ui.test_browser import PATHS, ground

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm to fetch axe with")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script, from npm: it is no part of the repository."""
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(ROOT / name, folder / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch axe: {done.stderr[-300:]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def ran(served: str, engine: Any) -> str:
    """A program with a few runs."""
    browser = Browser(engine)
    with browser.page() as page:
        page.goto(f"{served}/dags")
        page.get_by_role("button", name="Trigger broken.always").click()
        page.get_by_role("button", name="Trigger patient").click()
        page.locator("#dag-broken\\.always .state.FAILED").wait_for()
        page.locator("#dag-patient .state.RUNNING").wait_for()
    return served


@pytest.mark.parametrize("path", [*PATHS, "/dags?text=nothing", "/runs/999999"])
def test_axe_finds_nothing_serious(engine: Any, ran: str, axe: str, path: str) -> None:
    """A page is loaded once; theme and width change under it, with no colour on its way to another."""
    grounds: set[str] = set()
    with Browser(engine).page(bypass_csp=True, reduced_motion="reduce") as page:
        page.goto(ran + path)
        page.evaluate(axe)
        for scheme, (width, height) in product(("light", "dark"), (DESK, PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": height})
            assert serious(page) == [], f"{scheme}, {width} pixels wide"
            grounds.add(ground(page))
    assert len(grounds) == 2  # it was seen in both themes


def serious(page: Any) -> list[tuple[str, list[str]]]:
    """The rules that a page violates as it is just now, and where."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
