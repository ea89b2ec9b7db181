"""The commands that change something, and how they end."""

import signal
from datetime import datetime
from typing import Any

import pytest

from cli.terminal import PATIENCE, Server, started, until
from ppacer.cli import exits


def test_a_trigger_says_the_number_and_the_next_step(server: Server) -> None:
    words = server.ok("trigger", "good").split()
    assert words[:6] == ["run", words[1], "of", "good", "has", "begun:"]
    assert words[6:] == ["ppacer", "logs", words[1], "-f"]
    server.ended(int(words[1]))


def test_parameters_are_json_where_they_can_be_and_text_otherwise(server: Server) -> None:
    run_id = server.trigger(
        "good", "--params", '{"day": 1, "name": "x"}', "-p", "day=5", "--param", "name=a=b c"
    )
    assert server.ended(run_id)["run"]["params"] == {"day": 5, "name": "a=b c"}


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["nope"], exits.NOT_FOUND, "there is no dag 'nope'"),
        (["goood"], exits.NOT_FOUND, "did you mean 'good'?"),
        (["good", "-p", "week=1"], exits.USAGE, "unknown parameter 'week'; this dag takes day, name"),
        (["good", "-p", "day=monday"], exits.USAGE, "parameter 'day' does not fit"),
        (["good", "-p", "day"], exits.USAGE, "--param day is not of the form NAME=VALUE"),
        (["good", "-p", "=1"], exits.USAGE, "--param =1 is not of the form NAME=VALUE"),
        (["good", "--params", "[1]"], exits.USAGE, "--params is not a JSON object"),
        (["good", "--params", "{"], exits.USAGE, "--params is not a JSON object"),
        (["good", "--exec-ts", "yesterday"], exits.USAGE, "--exec-ts yesterday is not a time such as 2026"),
        (
            ["good", "--exec-ts", "2026-01-31T03:00"],
            exits.USAGE,
            "2026-01-31T03:00:00 has no time zone; add Z",
        ),
        (["sleeper", "-p", "x=1"], exits.USAGE, "this dag takes no parameters"),
    ],
)
def test_a_wrong_trigger_gets_one_sentence_and_begins_nothing(
    server: Server, args: list[str], code: int, words: str
) -> None:
    before = server.call("runs", "--json").json
    ended = server.call("trigger", *args)
    assert ended.code == code
    assert words in ended.said
    assert server.call("runs", "--json").json["runs"][:1] == before["runs"][:1]


@pytest.mark.parametrize("time", ["2026-01-31T03:00:00Z", "2026-01-31T04:00:00.5+01:00", "20260131T0331Z"])
def test_a_day_can_be_run_again_but_has_one_run(server: Server, time: str) -> None:
    run_id = server.trigger("good", "--exec-ts", time)
    exec_ts = datetime.fromisoformat(server.ended(run_id)["run"]["exec_ts"])
    assert exec_ts == datetime.fromisoformat(time)
    again = server.call("trigger", "good", "--exec-ts", time)
    assert again.code == exits.CONFLICT
    assert f"has a run with the execution time {exec_ts.isoformat()} already" in again.said


@pytest.mark.parametrize(
    ("dag", "code", "state"), [("good", 0, "✓ SUCCESS"), ("failing", exits.FAILED, "✗ FAILED")]
)
def test_waiting_ends_with_the_run_and_tells_how_it_went(
    server: Server, dag: str, code: int, state: str
) -> None:
    ended = server.call("trigger", dag, "--wait")
    assert ended.code == code
    lines = ended.out.splitlines()
    assert lines[0].endswith(f" of {dag} has begun")
    assert lines[1].endswith(f" of {dag}  {state}")
    assert ("cannot load 6" in ended.out) == (dag == "failing")


def test_waiting_with_json_prints_the_run_and_nothing_else(server: Server) -> None:
    ended = server.call("trigger", "failing", "--wait", "--json")
    assert ended.code == exits.FAILED
    assert ended.json["run"]["status"] == "FAILED"


def test_waiting_for_a_run_that_somebody_cancels_ends_with_failure(server: Server) -> None:
    before = newest(server)
    waiting = started("trigger", "sleeper", "--wait", "--url", server.url, cwd=server.folder)
    with waiting as process:
        run_id = until(lambda: newest(server) if newest(server) != before else None)
        server.running(run_id)
        server.ok("cancel", run_id)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits.FAILED
    assert f"run {run_id} of sleeper  ⊘ CANCELLED" in out


def test_ctrl_c_ends_the_waiting_and_not_the_run(server: Server) -> None:
    before = newest(server)
    waiting = started("trigger", "sleeper", "--wait", "--url", server.url, cwd=server.folder)
    with waiting as process:
        run_id = until(lambda: newest(server) if newest(server) != before else None)
        server.running(run_id)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits.INTERRUPTED
    assert err.strip() == f"run {run_id} goes on; end it with ppacer cancel {run_id}"
    assert server.call("show", run_id, "--json").json["run"]["status"] == "RUNNING"
    server.ok("cancel", run_id)
    server.ended(run_id)


def newest(server: Server) -> int:
    """The number of the newest run."""
    runs: Any = server.call("runs", "--limit", "1", "--json").json["runs"]
    return int(runs[0]["run_id"]) if runs else 0


def test_a_cancelled_run_goes_on_after_a_restart(server: Server) -> None:
    run_id = server.trigger("sleeper")
    server.running(run_id)
    assert f"run {run_id} of sleeper ends as soon as" in server.ok("cancel", run_id)
    assert server.ended(run_id)["run"]["status"] == "CANCELLED"
    assert server.ok("restart", run_id) == f"run {run_id} of sleeper goes on: ppacer logs {run_id} -f\n"
    server.running(run_id)
    assert server.call("cancel", run_id, "--json").json["run_id"] == run_id
    assert server.ended(run_id)["run"]["restarts"] == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("cancel", "has ended with SUCCESS; it cannot be cancelled"),
        ("restart", "only failed or cancelled runs"),
    ],
)
def test_a_run_in_the_wrong_state_is_a_conflict(server: Server, command: str, words: str) -> None:
    run_id = server.trigger("good")
    server.ended(run_id)
    ended = server.call(command, run_id)
    assert ended.code == exits.CONFLICT
    assert words in ended.said


@pytest.mark.parametrize("command", ["cancel", "restart"])
def test_a_run_that_is_not_there_is_not_found(server: Server, command: str) -> None:
    ended = server.call(command, 10**17)
    assert ended.code == exits.NOT_FOUND
    assert f"there is no run {10**17}" in ended.said


@pytest.mark.parametrize("command", ["cancel", "restart"])
@pytest.mark.parametrize("run", ["good", "-1", "1.5", "9" * 30])
def test_only_the_number_of_a_run_is_taken(server: Server, command: str, run: str) -> None:
    ended = server.call(command, "--", run) if run == "-1" else server.call(command, run)
    assert ended.code == exits.USAGE


def test_a_pause_holds_until_unpause(server: Server) -> None:
    assert server.ok("pause", "yearly").startswith("yearly is paused; ")
    assert "paused" in server.ok("why", "yearly")
    assert server.ok("unpause", "yearly").startswith("yearly runs next at ")
    assert server.call("pause", "yearly", "--json").json == {
        "dag_id": "yearly",
        "run_id": None,
        "exec_ts": None,
        "note": None,
    }
    assert server.call("unpause", "yearly", "--json").json["dag_id"] == "yearly"
    assert server.call("pause", "nope").code == exits.NOT_FOUND
    assert server.call("unpause", "nope").code == exits.NOT_FOUND
