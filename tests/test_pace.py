"""Strategies of waiting."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.errors import ConfigError
from ppacer.pace import ExponentialBackoff, Fixed, LinearBackoff, Strategy

TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


def milliseconds(strategy: Strategy, count: int) -> list[float]:
    return [strategy.next() / timedelta(milliseconds=1) for _ in range(count)]


def test_fixed_never_changes() -> None:
    strategy = Fixed(SECOND)
    assert milliseconds(strategy, 3) == [1000, 1000, 1000]
    strategy.reset()
    assert milliseconds(strategy, 1) == [1000]


def test_linear_stays_ten_times_and_then_grows_by_ten_milliseconds_up_to_a_second() -> None:
    waits = milliseconds(LinearBackoff(), 1020)
    assert waits[:10] == [1] * 10
    assert waits[10:20] == [11] * 10
    assert waits[20] == 21
    assert waits[990:1000] == [991] * 10
    assert waits[1000:] == [1000] * 20


def test_linear_with_repeat_one_grows_every_time() -> None:
    three = LinearBackoff(SECOND, 3 * SECOND, SECOND, repeat=1)
    assert milliseconds(three, 5) == [1000, 2000, 3000, 3000, 3000]


def test_exponential_doubles_up_to_its_maximum() -> None:
    assert milliseconds(ExponentialBackoff(SECOND, 7 * SECOND), 5) == [1000, 2000, 4000, 7000, 7000]
    assert milliseconds(ExponentialBackoff(SECOND, 8 * SECOND), 5) == [1000, 2000, 4000, 8000, 8000]
    assert milliseconds(ExponentialBackoff(SECOND, 50 * SECOND, factor=10), 4) == [1000, 10000, 50000, 50000]


def test_exponential_grows_also_where_rounding_would_keep_it() -> None:
    slow = ExponentialBackoff(TICK, 4 * TICK, factor=1.01)
    assert [slow.next() // TICK for _ in range(5)] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fixed(SECOND),
        LinearBackoff,
        lambda: LinearBackoff(SECOND, SECOND, repeat=1),
        lambda: ExponentialBackoff(SECOND, 8 * SECOND),
        lambda: ExponentialBackoff(TICK, timedelta.max, factor=1e300),
    ],
)
def test_reset_begins_anew_from_any_moment(make: Callable[[], Strategy]) -> None:
    fresh = milliseconds(make(), 25)
    for moment in (0, 1, 7, 23):
        strategy = make()
        milliseconds(strategy, moment)
        strategy.reset()
        assert milliseconds(strategy, 25) == fresh


spans = st.timedeltas(TICK, timedelta.max)


@given(
    bounds=st.tuples(spans, spans).map(sorted),
    step=spans,
    repeat=st.integers(1, 3),
    factor=st.floats(1, 1e308, exclude_min=True),
)
def test_waits_never_shrink_and_stay_within_bounds(
    bounds: list[timedelta], step: timedelta, repeat: int, factor: float
) -> None:
    minimum, maximum = bounds
    for strategy in (
        LinearBackoff(minimum, maximum, step, repeat),
        ExponentialBackoff(minimum, maximum, factor),
    ):
        waits = [strategy.next() for _ in range(50)]
        assert waits[0] == minimum
        assert all(earlier <= later <= maximum for earlier, later in pairwise(waits))
        assert waits[-1] == maximum or waits[-1] > minimum


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fixed(timedelta(0)), "interval must be more than zero, not 0s"),
        (lambda: LinearBackoff(minimum=-SECOND), "minimum must be more than zero, not -1s"),
        (lambda: LinearBackoff(minimum=2 * SECOND), "maximum 1s is less than minimum 2s"),
        (lambda: LinearBackoff(step=timedelta(0)), "step must be more than zero"),
        (lambda: LinearBackoff(repeat=0), "repeat must be 1 or more, not 0"),
        (lambda: ExponentialBackoff(SECOND, TICK), "maximum 0.001ms is less than minimum 1s"),
        (lambda: ExponentialBackoff(SECOND, SECOND, factor=1), "factor must be more than 1, not 1"),
        (lambda: ExponentialBackoff(SECOND, SECOND, factor=float("nan")), "not nan"),
        (lambda: ExponentialBackoff(SECOND, SECOND, factor=float("inf")), "not inf"),
    ],
)
def test_a_pace_that_would_spin_or_shrink_is_refused(make: Callable[[], Strategy], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
