"""Instants as text, and durations in words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.clock import SystemClock, from_text, in_words, to_text, utc

INSTANTS = st.datetimes(timezones=st.just(UTC))


def test_text_has_a_fixed_width() -> None:
    assert to_text(datetime(2024, 3, 11, 22, 50, 20, tzinfo=UTC)) == "2024-03-11T22:50:20.000000Z"
    assert to_text(datetime(2024, 3, 11, 23, 50, 20, 5, tzinfo=timezone(timedelta(hours=1)))) == (
        "2024-03-11T22:50:20.000005Z"
    )


@given(INSTANTS, INSTANTS)
def test_order_of_text_is_order_of_time(one: datetime, other: datetime) -> None:
    assert (to_text(one) < to_text(other)) == (one < other)


@given(INSTANTS)
def test_text_comes_back_as_the_same_instant(at: datetime) -> None:
    assert from_text(to_text(at)) == at


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        utc(datetime(2024, 1, 1))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(0), "0s"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(seconds=10), "10s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(hours=2), "2h"),
        (timedelta(days=1, hours=4), "1d4h"),
        (timedelta(seconds=-5), "-5s"),
        (timedelta(seconds=1, milliseconds=500), "1.5s"),
    ],
)
def test_durations_are_written_as_people_do(span: timedelta, words: str) -> None:
    assert in_words(span) == words


def test_the_monotonic_clock_never_goes_back() -> None:
    clock = SystemClock()
    times = [clock.now().mono for _ in range(100)]
    assert times == sorted(times)
    assert clock.now().utc.tzinfo is UTC
