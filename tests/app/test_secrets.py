"""A secret of the environment reaches the task, and nothing that is kept or shown."""

import json
from collections.abc import Callable

import pytest

from app.program import Program

KEY = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"
)
PASSWORD = 'pass"wörd\\1'

SOURCE = """
import dataclasses, json, os
import ppacer
from ppacer import Dag, TaskContext, task

PASSWORD, KEY = os.environ["DB_PASSWORD"], os.environ["SIGNING_KEY"]

@dataclasses.dataclass
class Params:
    password: str = PASSWORD
    names: list[str] = dataclasses.field(default_factory=lambda: [PASSWORD])

@task
def leak(ctx: TaskContext) -> None:
    with open("ledger", "w") as file:
        json.dump([ctx.run.params.password, ctx.run.params.names, KEY], file)
    print("printed", PASSWORD, repr(PASSWORD))
    print(KEY)
    ctx.logger.info("logged", extra={"deep": [{PASSWORD: PASSWORD}], "key": KEY})
    raise RuntimeError(f"raised {PASSWORD} and {KEY}")

with Dag("leaky", params=Params) as dag:
    leak()

ppacer.serve(dag, runner=%r, secrets=["SIGNING_KEY"])
"""


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_a_secret_reaches_the_task_and_nothing_else(
    program: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    monkeypatch.setenv("SIGNING_KEY", KEY)
    p = program(SOURCE % runner).start()
    run_id = p.trigger("leaky")
    detail = p.wait(run_id)
    assert json.loads(p.lines("ledger")[0]) == [PASSWORD, [PASSWORD], KEY]
    assert detail["run"]["params"] == {"password": "***", "names": ["***"]}
    logs = p.get(f"/api/v1/runs/{run_id}/logs")
    shown = json.dumps([logs, detail, p.get("/api/v1/dags"), p.get("/api/v1/runs")], ensure_ascii=False)
    assert shown.count("***") > 5
    assert logs["records"][0]["message"].startswith("printed *** '***'")
    p.stop()
    kept = p.rows("SELECT Attributes FROM dags") + p.rows("SELECT Error FROM dagruntasks")
    files = (p.folder / "logs.db").read_bytes() + (p.folder / "log.txt").read_bytes()
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], *KEY.split()):
        assert secret not in shown
        assert secret not in repr(kept)
        assert secret.encode() not in files
