"""`ppacer backfill`: from the preview to the end, and what it says on the way."""

import signal
from pathlib import Path

import pytest

from cli.terminal import PATIENCE, Server, call, serving, started, until
from ppacer.cli import exits

RANGE = ("--from", "2019-06-01", "--to", "2022-06-01")  # of the dag `new_year` three points
OFFLINE = (["start", "new_year", "--from", "2019"], ["pause", "1"], ["unpause", "1"], ["cancel", "1"])


def start(server: Server, *args: str) -> int:
    """A backfill; its number."""
    return int(server.call("backfill", "start", *args, "--json").json["backfill_id"])


def test_a_dry_run_says_what_would_be_and_then_it_is_so(server: Server) -> None:
    said = server.ok("backfill", "start", "new_year", *RANGE, "--dry-run", "--at-once", "2")
    assert said == (
        "new_year has 3 points from 2019-06-01 00:00:00 to 2022-06-01 00:00:00 UTC, 0 of them with a run; a "
        "backfill would begin 3 runs (from 2020-01-01 00:00:00 to 2022-01-01 00:00:00), 2 at once\n"
    )
    plan = server.call("backfill", "start", "new_year", *RANGE, "--dry-run", "--json").json
    assert (plan["points"], plan["runs"], plan["first_ts"]) == (3, 3, "2020-01-01T00:00:00Z")
    ended = server.call("backfill", "start", "new_year", *RANGE, "--at-once", "2", "--newest-first", "--wait")
    assert ended.code == exits.OK, ended
    lines = ended.out.splitlines()
    number = int(lines[0].split()[1])
    assert lines[0] == f"backfill {number} of new_year has begun"
    assert lines[1] == f"backfill {number} of new_year  ✓ DONE"
    assert "  range     2019-06-01 00:00:00 to 2022-06-01 00:00:00 UTC" in lines
    assert "  points    3 of 3, newest first, 2 at once" in lines
    assert "  runs      3 SUCCESS" in lines
    shown = server.ok("backfill", "show", number)
    assert f"backfill {number} of new_year is done: 3 runs begun (3 SUCCESS)." in shown
    assert server.call("backfill", "show", number, "--json").json["runs"] == {"SUCCESS": 3}
    assert "nothing to do" in server.ok("backfill", "start", "new_year", *RANGE, "--dry-run")
    refused = server.call("backfill", "start", "new_year", *RANGE)
    assert refused.code == exits.CONFLICT
    assert "all of its 3 points have a run already" in refused.said


def test_parameters_reach_its_runs_and_a_failure_its_exit_code(server: Server) -> None:
    args = ("--from", "2024-03-01", "--to", "2024-03-02", "-p", "day=9", "--wait", "--json")
    ended = server.call("backfill", "start", "good", *args)
    assert ended.code == exits.OK
    assert ended.json["backfill"]["params"] == {"day": 9, "name": "monday"}
    ended = server.call("backfill", "start", "fails_daily", *args[:4], "--wait")
    assert ended.code == exits.FAILED
    assert "  runs      1 FAILED" in ended.out.splitlines()


def test_it_is_paused_shown_listed_and_cancelled_by_its_number(server: Server) -> None:
    number = start(server, "sleeps_daily", "--from", "2024-03-01", "--to", "2024-04-01", "--at-once", "2")
    until(lambda: server.call("backfill", "show", number, "--json").json["runs"] == {"RUNNING": 2})
    again = f"it goes on with ppacer backfill unpause {number}"
    assert server.ok("backfill", "pause", number) == f"backfill {number} of sleeps_daily is paused; {again}\n"
    assert "○ PAUSED" in server.ok("backfill", "show", number)
    show = f"ppacer backfill show {number}"
    assert server.ok("backfill", "unpause", number) == f"backfill {number} of sleeps_daily goes on: {show}\n"
    listed = server.ok("backfill", "list", "--dag", "sleeps_daily", "--limit", "1")
    assert listed.splitlines()[0].split()[:4] == ["BACKFILL", "DAG", "STATE", "POINTS"]
    assert listed.splitlines()[1].split()[:5] == [str(number), "sleeps_daily", "►", "RUNNING", "2/31"]
    said = server.ok("backfill", "cancel", number)
    assert said == f"backfill {number} of sleeps_daily ends as soon as its running tasks have: {show}\n"
    until(lambda: "⊘ CANCELLED" in server.ok("backfill", "show", number))
    refused = server.call("backfill", "cancel", number)
    assert (refused.code, refused.said) == (exits.CONFLICT, f"backfill {number} has ended")
    [one] = server.call("backfill", "list", "--before", number + 1, "--limit", "1", "--json").json[
        "backfills"
    ]
    assert (one["backfill_id"], one["state"]) == (number, "CANCELLED")


def test_ctrl_c_ends_the_waiting_and_not_the_backfill(server: Server) -> None:
    args = ("backfill", "start", "sleeps_daily", "--from", "2023-03-01", "--to", "2023-03-03", "--wait")
    with started(*args, "--url", server.url, cwd=server.folder) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline().split()[1])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == exits.INTERRUPTED
    assert err.strip() == f"backfill {number} goes on; end it with ppacer backfill cancel {number}"
    assert server.call("backfill", "cancel", number, "--json").json["backfill_id"] == number


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["start", "nope", "--from", "2024-01-01"], exits.NOT_FOUND, "there is no dag 'nope'"),
        (["start", "sleeper", "--from", "2024-01-01"], exits.CONFLICT, "has no schedule"),
        (["start", "good", "--from", "monday"], exits.USAGE, "from must be a time such as"),
        (["start", "good", "--from", "2024-01-01", "--to", "2023"], exits.USAGE, "to must be a time such as"),
        (["start", "good", "--from", "2024-01-01", "--dry-run", "--to", "2023-01-01"], exits.USAGE, "empty"),
        (["start", "good", "--from", "2199-01-01"], exits.USAGE, "which is to come"),
        (["show", "9999"], exits.NOT_FOUND, "there is no backfill 9999"),
        (["pause", "9999"], exits.NOT_FOUND, "there is no backfill 9999"),
    ],
)
def test_what_cannot_be_gets_one_sentence(server: Server, args: list[str], code: int, words: str) -> None:
    ended = server.call("backfill", *args)
    assert ended.code == code
    assert words in ended.said


@pytest.mark.parametrize(
    "args", [["start", "good"], ["show", "one"], ["start", "good", "--from", "2024-01-01", "--at-once", "0"]]
)
def test_wrong_usage_is_told_as_such(args: list[str]) -> None:
    assert call("backfill", *args).code == exits.USAGE


def test_without_a_scheduler_they_are_read_and_not_changed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        empty = server.ok("backfill", "list")
        assert empty == "no backfill yet: ppacer backfill start DAG --from TIME\n"
        number = start(server, "sleeps_daily", "--from", "2024-03-01", "--to", "2024-04-01")
        until(lambda: server.call("backfill", "show", number, "--json").json["runs"] == {"RUNNING": 4})
        server.stop()
        assert "But no scheduler is running" in server.ok("backfill", "show", number)
        assert "sleeps_daily" in server.ok("backfill", "list")
        assert f"Backfill {number} of it is RUNNING" in server.ok("why", "sleeps_daily")
        for args in OFFLINE:
            refused = server.call("backfill", *args)
            assert refused.code == exits.UNAVAILABLE
            assert "no scheduler runs" in refused.said
