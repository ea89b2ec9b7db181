"""The executors' verbs over HTTP, as raw JSON: what executors of each version say and are told."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from api.live import Live
from ppacer import Dag, task
from ppacer.api import executors as module
from ppacer.api.door import Door
from ppacer.api.wire import RecordsBody
from ppacer.tasklog import LogRecord

AT = datetime(2026, 1, 1, tzinfo=UTC)


@task
def one() -> int:
    """A task that nobody starts."""
    return 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One scheduler for all; each test is an executor with a name of its own."""
    with Dag("a") as dag:
        one()
    with Live(tmp_path_factory.mktemp("server"), dag) as live:
        yield live


def say(live: Live, path: str, body: str) -> tuple[int, Any]:
    """Posts this text; status and answer."""
    connection = HTTPConnection("127.0.0.1", live.port, timeout=30)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


# As they were when the protocol was current; what is recorded here does not change any more.
VERSION_1 = {
    "claim": '{"slots": 1, "wait": 0}',
    "heartbeat": '{"tokens": []}',
    "report": '{"reports": [{"run_id": 999, "task_id": "a", "retry": 0, "token": "t", "end": "SUCCESS",'
    ' "error": null, "result": "1", "peak_memory": null, "begun": true}]}',
    "logs": '{"records": [{"dag_id": "a", "exec_ts": "2026-01-01T00:00:00Z", "task_id": "a", "retry": 0,'
    ' "at": "2026-01-01T00:00:00Z", "level": "INFO", "message": "hello", "attributes": null}]}',
}
VERSION_2 = {
    "hello": '{"name": "two", "host": "h", "pid": 7, "version": "0.2.0", "protocol": 2, "slots": 1,'
    ' "labels": ["gpu"], "runners": ["thread"], "dag_versions": {"a": "1"}, "identity": "i", "life": "l",'
    ' "tokens": []}',
    "claim": '{"slots": 1, "wait": 0, "life": "l"}',
    "heartbeat": '{"tokens": []}',
    "report": VERSION_1["report"],
    "logs": VERSION_1["logs"][:-1] + ', "life": "l", "number": 1}',
    "goodbye": "{}",
}


@pytest.mark.parametrize(("name", "messages"), [("one", VERSION_1), ("two", VERSION_2)])
def test_each_version_of_the_protocol_is_understood(
    server: Live, name: str, messages: dict[str, str]
) -> None:
    for verb, body in messages.items():
        status, answer = say(server, f"/api/v1/executors/{name}/{verb}", body)
        assert status == 200, (verb, answer)
        if verb == "report":
            assert answer["accepted"] == [False]  # there is no such run
        if verb == "hello":
            assert answer["protocol"] == 2
            assert answer["lease"] > 0


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ('"body_hash": "%s"' % ("0a" * 32), 200),
        ('"body_hash": null, "cpu_seconds": null', 200),
        ('"body_hash": "<script>"', 422),
        ('"body_hash": "%s"' % ("0" * 65), 422),
        ('"cpu_seconds": 0.25', 200),
        ('"cpu_seconds": -1', 422),
        ('"cpu_seconds": 1e300', 422),
    ],
)
def test_what_ran_is_told_in_a_shape_that_can_be_shown(server: Live, field: str, status: int) -> None:
    body = VERSION_1["report"].replace('"begun": true', field)
    assert say(server, "/api/v1/executors/one/report", body)[0] == status


def test_fields_of_a_later_version_are_passed_over(server: Live) -> None:
    status, _ = say(server, "/api/v1/executors/three/claim", '{"slots": 1, "wait": 0, "more": {"x": [1]}}')
    assert status == 200


def test_a_version_that_does_not_fit_is_refused_with_a_sentence(server: Live) -> None:
    status, answer = say(
        server, "/api/v1/executors/four/hello", '{"name": "four", "protocol": 3, "version": "9"}'
    )
    assert (status, answer["code"]) == (409, "executor_refused")
    assert "speaks protocol 3" in answer["detail"]


def test_an_executor_whose_life_is_not_known_has_to_say_hello(server: Live) -> None:
    claim = '{"slots": 1, "wait": 0, "life": "x"}'
    status, answer = say(server, "/api/v1/executors/five/claim", claim)
    assert (status, answer["code"]) == (409, "unknown_executor")
    say(server, "/api/v1/executors/five/hello", '{"name": "five", "identity": "i", "life": "x", "slots": 1}')
    assert say(server, "/api/v1/executors/five/claim", claim)[0] == 200


@pytest.mark.parametrize(
    "facts",
    [
        '"host": "a\\u0000b"',
        '"host": "' + "x" * 1_001 + '"',
        '"version": "\\u0000"',
        '"identity": "' + "x" * 41 + '"',
        '"pid": 2147483648',
        '"pid": -1',
        '"slots": 2147483648',
        '"slots": -1',
        '"protocol": 2147483648',
    ],
    ids=lambda facts: facts[:20],
)
def test_a_hello_that_no_database_could_keep_is_refused(server: Live, facts: str) -> None:
    """It would fail in the scheduler's transaction, and disturb everybody's work with it."""
    status, answer = say(server, "/api/v1/executors/six/hello", f'{{"name": "six", {facts}}}')
    assert (status, answer["code"]) == (422, "not_possible")


@pytest.mark.parametrize("name", ["local", "a%2Fb", "%00", "x" * 201])
def test_what_is_no_name_of_an_executor_is_not_found(server: Live, name: str) -> None:
    assert say(server, f"/api/v1/executors/{name}/claim", '{"slots": 1}')[0] == 404


def test_what_was_sent_last_is_remembered_of_the_newest_executors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEEN_MAX", 2)
    taken: list[int] = []
    door = SimpleNamespace(take_records=lambda records: taken.append(len(records)))
    verbs = module.Verbs(cast(Door, door))
    record = LogRecord("a", AT, "a", 0, AT, "INFO", "hello")

    def send(executor: str, number: int) -> None:
        asyncio.run(verbs.logs(cast(Request, None), executor, RecordsBody([record] * number, "l", number)))

    for executor in ("one", "two", "one", "three"):
        send(executor, 1)
    assert taken == [1, 1, 1]  # the second batch of `one` was the first again
    send("one", 2)
    send("three", 1)
    assert taken == [1, 1, 1, 2]
    send("two", 1)  # so long ago that nobody knows
    assert taken == [1, 1, 1, 2, 1]
