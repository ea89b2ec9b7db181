"""Makes overview.png, the picture in README.md: `ppacer demo`, seen by a headless Chromium.

    .venv/bin/python docs/images/make.py [seconds for the demo to run, 40 by default]

Needs chromium (Debian: apt-get install chromium).
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import Request, urlopen

PICTURE = Path(__file__).with_name("overview.png")
MAIN = "import sys; from ppacer.cli import main; sys.exit(main())"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 40.0
    command = [sys.executable, "-u", "-c", MAIN, "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        url = next(found[0] for line in demo.stdout if (found := re.search(r"http://\S+/", line)))
        time.sleep(seconds * 0.6)  # so that there is something to see
        trigger(url, "demo_etl")
        time.sleep(seconds * 0.4)
        trigger(url, "demo_flaky")  # takes two seconds, so it is running on the picture
        photograph(url)
        demo.terminate()
        demo.communicate()


def trigger(url: str, dag_id: str) -> None:
    with urlopen(Request(f"{url}api/v1/dags/{dag_id}/trigger", b"{}", method="POST"), timeout=10):
        pass


def photograph(url: str) -> None:
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *QUIET,
             f"--user-data-dir={profile}", "--hide-scrollbars", "--window-size=1440,900",
             f"--screenshot={PICTURE}", url],
            check=True, timeout=120, stderr=subprocess.DEVNULL,
        )  # fmt: skip


if __name__ == "__main__":
    main()
