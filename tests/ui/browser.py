"""A real browser that looks at a real `ppacer serve`; whatever goes wrong in it fails the test.

It is Debian's Chromium, or one that PPACER_CHROMIUM names. Where there is none, its tests are skipped.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.live import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE, DESK = (390, 844), (1440, 900)
SERVE = "import sys; from ppacer.cli import main; sys.exit(main())"
REPORTS = """addEventListener("securitypolicyviolation", (event) => console.error(
  `CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));"""
DAGS = Path(__file__).with_name("served_dags.py")


def chromium() -> str | None:
    """The program, if there is one."""
    return os.environ.get("PPACER_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Served:
    """A program that serves a file of dags."""

    def __init__(self, folder: Path, file: Path, *options: str) -> None:
        command = [sys.executable, "-u", "-c", SERVE, "serve", str(file), *(options or ("--port", "0"))]
        self._log = (folder / f"serve-{len(list(folder.iterdir()))}.log").open("w+", encoding="utf-8")
        environ = {**os.environ, "PPACER_DRAIN": "0.2"}  # nobody waits at the end for a task that waits
        self._process = subprocess.Popen(command, cwd=folder, env=environ, stdout=self._log, stderr=self._log)
        self.url = self._found()

    def _found(self) -> str:
        end = time.monotonic() + PATIENCE
        while True:
            said = Path(self._log.name).read_text("utf-8")
            if found := re.search(r"at (http://[\d.:]+)", said):
                return found[1]
            assert self._process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)

    def close(self) -> None:
        """Ends the program."""
        self._end(self._process.terminate)

    def kill(self) -> None:
        """Ends the program without a word: it has no time to tell its pages."""
        self._end(self._process.kill)

    def _end(self, how: Callable[[], None]) -> None:
        how()
        self._process.wait(PATIENCE)
        self._log.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a program that serves `served_dags.py`."""
    program = Served(tmp_path_factory.mktemp("served"), DAGS)
    yield program.url
    program.close()


class Browser:
    """Opens pages, and remembers what they complain about."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.complaints: list[str] = []

    @contextmanager
    def page(self, size: tuple[int, int] = DESK, **options: Any) -> Iterator[Any]:
        """A page of a fresh visitor. Errors of scripts and violations of the CSP end up in `complaints`."""
        context = self._engine.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        context.set_default_timeout(PATIENCE * 1000 / 4)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)
        page.on("dialog", self._asked)
        page.add_init_script(REPORTS)
        try:
            yield page
        finally:
            context.close()

    def forgive(self, *causes: str) -> None:
        """Forgets the complaints that a test has provoked."""
        self.complaints = [one for one in self.complaints if not any(cause in one for cause in causes)]

    def _asked(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location})")


def seen(page: Any, *, is_hidden: bool) -> None:
    """The tab of a page is hidden, or seen again."""
    page.evaluate(
        """is => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => is });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """A Chromium for the tests of a file: while it is there, its event loop runs in the tests' thread."""
    program = chromium()
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in PPACER_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox: it needs what containers do not give, and sees our own pages alone.
        engine = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield engine
        engine.close()


@pytest.fixture
def browser(engine: Any) -> Iterator[Browser]:
    """A browser that has nothing to complain about, or the test fails."""
    browser = Browser(engine)
    yield browser
    assert browser.complaints == []
