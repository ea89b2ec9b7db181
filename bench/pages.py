"""How long each page takes over a filled database, asked over loopback of a program that serves it.

`python -m bench.pages DATABASE` prints one line for each page; see `bench.filled` for the database.
"""

import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from bench.programs import ROOT, url_of

REPEATS = 15
PATHS = (
    "/",
    "/dags",
    "/dags?text=report",
    "/runs",
    "/runs?status=FAILED&status=CANCELLED&before=50000",
    "/runs?text=sales&last=7d",
    "/runs?sort=slowest",
    "/dags/mail.prices.ingest",
    "/dags/mail.prices.ingest?before=50000",
    "/dags/mail.prices.ingest/graph",
    "/dags/mail.prices.ingest/schedule",
    "/dags/mail.prices.ingest/code",
    "/dags/mail.prices.ingest/settings",
    "/runs/50000",
    "/schedules",
    "/schedules?span=7d",
    "/executors",
    "/audit",
    "/search?q=report",
    "/runs/50000/tasks/join",
    "/runs/50000/tasks/join?text=price%3D500",
    "/runs/selected?do=restart&" + "&".join(f"run={number}" for number in range(50_000, 50_050)),
    "/dags/mail.prices.ingest/trigger",
    "/dags/mail.prices.ingest/backfill",
    f"/dags/mail.prices.ingest/backfill?from={datetime.now(UTC).date() - timedelta(days=30)}",
    "/audit?actor=nobody",
    "/audit?command=pause&outcome=refused",
)


def pages(db: str) -> dict[str, float]:
    """The median milliseconds of each page."""
    with served(Path(db)) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        for path in PATHS:
            asked(connection, path)  # what is loaded once, is loaded
        found = {
            path.partition("&run=")[0]: statistics.median(asked(connection, path) for _ in range(REPEATS))
            for path in PATHS
        }
        connection.close()
    return found


def asked(connection: http.client.HTTPConnection, path: str) -> float:
    """Milliseconds of one page, whole."""
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (path, answer.status, body[:2_000])
    return (time.perf_counter() - began) * 1000


@contextmanager
def served(db: Path) -> Iterator[str]:
    """A program that serves the filled database; yields its address."""
    command = [sys.executable, "-m", "ppacer", "serve", str(ROOT / "bench" / "filled_dags.py"), "--port", "0"]
    named = ["--db", str(db)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen([*command, *named], env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            yield url_of(db.parent, db.name)
        finally:
            process.terminate()


if __name__ == "__main__":
    for path, milliseconds in pages(sys.argv[1]).items():
        print(f"{milliseconds:8.1f} ms  {path}")
