"""`ppacer next`: points of cron expressions and dags, and what clock changes do to them."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.terminal import Server, call, ok, serving
from ppacer.cli import exits
from ppacer.cli.next import _about, _noted
from ppacer.errors import ConflictError
from ppacer.schedule import Cron, upcoming


def points(expression: str, tz: str, now: str, count: int) -> list[tuple[str, str]]:
    """Local time with offset, and note, of the next points."""
    begin = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = _noted(upcoming(Cron(expression, tz), begin, count), tz, begin)
    return [(at.isoformat(sep=" ", timespec="minutes"), note) for at, note in found]


def test_a_job_in_the_gap_of_spring_says_so() -> None:
    assert points("30 2 * * *", "Europe/Warsaw", "2027-03-26T12:00", 3) == [
        ("2027-03-27 02:30+01:00", ""),
        ("2027-03-28 03:00+02:00", "clocks go from 02:00 to 03:00 at this moment"),
        ("2027-03-29 02:30+02:00", ""),
    ]


def test_a_job_in_the_hour_that_comes_twice_says_which_one_it_is() -> None:
    assert points("30 2 * * *", "Europe/Warsaw", "2027-10-30T12:00", 2) == [
        ("2027-10-31 02:30+02:00", "comes twice, this is the first time"),
        ("2027-11-01 02:30+01:00", "clocks have changed"),
    ]
    assert points("*/30 * * * *", "Europe/Warsaw", "2027-10-31T00:10", 4) == [
        ("2027-10-31 02:30+02:00", "comes twice, this is the first time"),
        ("2027-10-31 02:00+01:00", "clocks go from 03:00 to 02:00 at this moment"),
        ("2027-10-31 02:30+01:00", "comes twice, this is the second time"),
        ("2027-10-31 03:00+01:00", ""),
    ]


def test_the_first_point_after_a_change_says_so() -> None:
    assert points("0 12 * * *", "Europe/Warsaw", "2027-03-27T12:00", 2)[0][1] == "clocks have changed"


def test_a_schedule_that_ends_has_fewer_points_than_asked_for() -> None:
    assert len(points("0 0 1 1 *", "UTC", "9997-06-01T00:00", 5)) == 2


def test_points_are_printed_with_weekday_offset_and_distance() -> None:
    lines = ok("next", "15 3 * * *", "--tz", "Asia/Kolkata", "-n", "2").splitlines()
    assert lines[0] == "Cron: 15 3 * * * (Asia/Kolkata)"
    assert lines[1].split() == ["DAY", "LOCAL", "TIME", "OFFSET", "IN", "UTC"]
    assert len(lines) == 4
    assert " 03:15:00  +05:30  in " in lines[2]
    assert lines[2].endswith(" 21:45")


def test_the_json_has_aware_times() -> None:
    answer: Any = call("next", "@hourly", "-n", "3", "--json").json
    assert answer["schedule"] == "Cron: 0 * * * * (UTC)"
    assert len(answer["points"]) == 3
    assert all(datetime.fromisoformat(point["at"]).tzinfo for point in answer["points"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["61 * * * *"], "minute '61' is not possible"),
        (["* * *"], "cron expression '* * *'"),
        (["@sometimes"], "'@sometimes'"),
        (["0 0 30 2 *"], "never comes"),
        (["* * * * *", "--tz", "Mars/Base"], "no time zone 'Mars/Base'"),
    ],
)
def test_an_impossible_expression_gets_one_sentence(args: list[str], words: str) -> None:
    ended = call("next", *args)
    assert ended.code == exits.USAGE
    assert words in ended.said
    assert ended.out == ""


def test_a_dag_with_a_cron_schedule_shows_all_its_points_in_its_own_zone(server: Server) -> None:
    lines = server.ok("next", "good", "-n", "3").splitlines()
    assert lines[0] == "good, Cron: 15 3 * * * (Europe/Warsaw)"
    assert len(lines) == 5
    assert all(" 03:15:00 " in line for line in lines[2:])


OWN = """
from datetime import UTC, datetime, timedelta
from ppacer import Dag

class Moon:
    start = None
    def next(self, current, previous):
        full = datetime(2126, 1, 1, tzinfo=UTC)
        while full <= current:
            full += timedelta(days=29)
        return full
    def __str__(self):
        return "every full moon"

with Dag("moon", schedule=Moon()) as moon:
    pass
"""


def test_of_a_schedule_of_ones_own_the_scheduler_knows_all_points(tmp_path: Path) -> None:
    file = tmp_path / "dags.py"
    file.write_text(OWN)
    with serving(tmp_path, file=file) as server:
        answer = server.call("next", "moon", "-n", "3", "--json").json
        assert [point["at"][:10] for point in answer["points"]] == ["2126-01-01", "2126-01-30", "2126-02-28"]
        lines = server.ok("next", "moon", "--tz", "Asia/Tokyo").splitlines()
        assert (lines[0], len(lines)) == ("moon, every full moon", 7)
        assert "2126-01-01 09:00:00  +09:00" in lines[2]
        server.stop()
        head, _, *points = server.ok("next", "moon").splitlines()
        assert head == "moon, every full moon; no scheduler is running, so only its next point is known"
        assert [line.split()[1] for line in points] == ["2126-01-01"]


def test_a_dag_without_schedule_has_no_next_run(server: Server) -> None:
    ended = server.call("next", "sleeper")
    assert ended.code == exits.CONFLICT
    assert ended.said == "sleeper has no next run; `ppacer why sleeper` says why"


def test_of_a_paused_dag_it_says_so(server: Server) -> None:
    server.ok("pause", "yearly")
    try:
        assert "(paused: skipped until `ppacer unpause yearly`)" in server.ok("next", "yearly")
        assert server.call("next", "yearly", "--json").json["paused"]
    finally:
        server.ok("unpause", "yearly")
    answer = server.call("next", "yearly", "--json").json
    assert (answer["dag_id"], answer["paused"], answer["schedule"]) == (
        "yearly",
        False,
        "Cron: 0 0 1 1 * (UTC)",
    )


def test_of_a_dag_that_is_not_served_any_more_it_says_so() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    dag: Any = SimpleNamespace(dag_id="old", schedule="x", next_at=now, paused_at=None, removed_at=now)
    with pytest.raises(ConflictError, match="old is not served any more; `ppacer why old` says since when"):
        _about(dag)


def test_next_of_nothing_says_what_it_takes() -> None:
    ended = call("next", "")
    assert ended.code == exits.USAGE
    assert 'It takes a cron expression, such as "0 3 * * *", or a dag' in ended.err
