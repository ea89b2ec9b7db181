"""schemathesis asks all that the OpenAPI document allows, and much more: no 5xx, all as documented."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.dags import all_dags
from api.live import Live

SECONDS = int(os.environ.get("PPACER_FUZZ_SECONDS", "20"))  # `dev.py prove fuzzing` takes five minutes
OPERATIONS_MIN = 33  # of 37
IS_LONG = SECONDS > 60
PHASES, EXAMPLES = ("coverage,fuzzing", 1000) if IS_LONG else ("fuzzing", 1)
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.slow
def test_every_answer_is_as_documented(
    live: Callable[..., Live], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = live(*all_dags())
    program.run("etl")
    for module in ("parameters", "executors"):  # long polls would take all the time
        monkeypatch.setattr(f"ppacer.api.{module}.WAIT_SECONDS_MAX", 0.05)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{program.host}/api/openapi.json"]
    command += ["--checks", CHECKS, "--workers", "1"]  # Python 3.11 fails when two threads parse its own code
    command += ["--phases", PHASES, "--max-examples", str(EXAMPLES), "--request-timeout", "40", "--no-color"]
    command += ["--suppress-health-check", "all", "--warnings", "off", "--generation-database", "none"]
    command += ["--max-time", str(SECONDS)] if IS_LONG else []
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 120, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None, done.stdout
    assert int(tested[1]) > OPERATIONS_MIN
    assert program.get("/healthz").json["state"] == "RUNNING"
