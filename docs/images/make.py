"""Makes the pictures in README.md: programs that really run, seen by a headless Chromium.

    .venv/bin/python docs/images/make.py

Needs chromium (Debian: apt-get install chromium), or one that PPACER_CHROMIUM names; takes about a minute.
Overview and dag are those of a busy house, as `bench.filled` makes it; run and log are those of the demo.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
ROOT = HERE.resolve().parents[1]
SIZE = (1280, 720)
RUNS = 6_000
DEMO_SECONDS = 25.0  # so that there is something to see


def main() -> None:
    """Six pictures."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("PPACER_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with tempfile.TemporaryDirectory() as folder:
            db = str(Path(folder, "scheduler.db"))
            busy = [sys.executable, "-m", "bench.filled", db, str(RUNS)]
            subprocess.run(busy, check=True, cwd=ROOT)
            with served("serve", "bench/filled_dags.py", "--db", db) as url:
                time.sleep(DEMO_SECONDS / 2)  # what was open when it was filled, is taken up again
                dag_id = asked(f"{url}api/v1/runs?status=FAILED&limit=1")["runs"][0]["dag_id"]
                for scheme in ("light", "dark"):
                    photograph(chromium, url, scheme, HERE / f"overview-{scheme}.png")
                    photograph(chromium, f"{url}dags/{dag_id}", scheme, HERE / f"dag-{scheme}.png")
        with served("demo") as url:
            time.sleep(DEMO_SECONDS)
            run_id = trigger(url, "demo_flaky")
            time.sleep(DEMO_SECONDS / 5)
            log = f"{url}runs/{run_id}/tasks/ask_service/1"
            photograph(chromium, log, "light", HERE / "log.png")
            run = f"{url}runs/{trigger(url, 'demo_etl')}"
            photograph(chromium, run, "light", HERE / "run.png", until=".head .SUCCESS")
        chromium.close()


@contextmanager
def served(*command: str) -> Iterator[str]:
    """A program and its address."""
    words = [sys.executable, "-u", "-m", "ppacer", *command, "--port", "0"]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, cwd=ROOT, **out) as program:
        try:
            said = (re.search(r"http://[\d.:]+", line) for line in program.stdout)
            yield next(f"{found[0]}/" for found in said if found)
        finally:
            program.terminate()
            program.communicate()


def trigger(url: str, dag_id: str) -> int:
    """Starts a run; its number."""
    return int(asked(Request(f"{url}api/v1/dags/{dag_id}/trigger", b"{}", method="POST"))["run_id"])


def asked(request: Request | str) -> Any:
    """What the API answers."""
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def photograph(chromium: Any, url: str, scheme: str, file: Path, until: str = "h1") -> None:
    """The page as it is once it shows what it is waited for."""
    page = chromium.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme=scheme)
    page.goto(url)
    page.locator(until).first.wait_for()
    page.wait_for_timeout(500)
    page.screenshot(path=file)
    page.close()
    print(f"{file.name}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
