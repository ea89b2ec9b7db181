"""Times, spans and sizes for people."""

from datetime import UTC, datetime, timedelta

import pytest

from ppacer.cli.words import exact, plural, relative, size, span, took

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (timedelta(seconds=-1), "0 ms"),
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=999), "999 ms"),
        (timedelta(seconds=1), "1.00 s"),
        (timedelta(seconds=9.87), "9.87 s"),
        (timedelta(seconds=10), "10 s"),
        (timedelta(seconds=59.6), "1 m"),
        (timedelta(seconds=90), "1 m 30 s"),
        (timedelta(hours=2, minutes=5, seconds=9), "2 h 5 m"),
        (timedelta(hours=3), "3 h"),
        (timedelta(days=1, minutes=5), "1 d"),
        (timedelta(days=400, hours=4), "400 d 4 h"),
    ],
)
def test_a_span_has_one_or_two_units(value: timedelta, words: str) -> None:
    assert span(value) == words


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(milliseconds=-900), "just now"),
        (timedelta(milliseconds=900), "now"),
        (timedelta(seconds=-59), "59 s ago"),
        (timedelta(seconds=61), "in 1 m"),
        (timedelta(minutes=-59), "59 m ago"),
        (timedelta(hours=2), "in 2 h"),
        (timedelta(days=-3), "3 d ago"),
    ],
)
def test_a_relative_time_has_one_unit(distance: timedelta, words: str) -> None:
    assert relative(NOW + distance, NOW) == words


def test_an_exact_time_shows_microseconds_only_where_there_are_some() -> None:
    assert exact(NOW) == "2026-11-22 12:00:00"
    assert exact(NOW + timedelta(microseconds=7)) == "2026-11-22 12:00:00.000007"


def test_what_has_not_begun_took_no_time_and_what_runs_takes_it_until_now() -> None:
    assert took(None, None, NOW) == ""
    assert took(NOW - timedelta(seconds=5), None, NOW) == "5.00 s"
    assert took(NOW - timedelta(seconds=5), NOW - timedelta(seconds=3), NOW) == "2.00 s"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (48_000, "48.0 KB"), (1_250_000, "1.2 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


def test_plurals() -> None:
    assert [plural(count, "task") for count in (0, 1, 2_000)] == ["0 tasks", "1 task", "2,000 tasks"]
