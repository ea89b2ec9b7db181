"""How long to wait before trying again: strategies for polling and back-off, in elapsed time."""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from ppacer.clock import ZERO, in_words
from ppacer.errors import ConfigError

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)


class Strategy(Protocol):
    """Says how long to wait before each of a row of tries; each user of one needs its own."""

    def next(self) -> timedelta:
        """How long to wait now; counts as a try."""
        ...

    def reset(self) -> None:
        """Begins anew, because a try succeeded."""


@dataclass(slots=True)
class Fixed:
    """Always the same interval."""

    interval: timedelta

    def __post_init__(self) -> None:
        _more_than_zero("interval", self.interval)

    def next(self) -> timedelta:
        return self.interval

    def reset(self) -> None:
        pass


@dataclass(slots=True)
class LinearBackoff:
    """Each interval `repeat` times, then one longer by `step`, from `minimum` to `maximum`."""

    minimum: timedelta = MILLISECOND
    maximum: timedelta = SECOND
    step: timedelta = 10 * MILLISECOND
    repeat: int = 10
    _interval: timedelta = field(init=False, repr=False)
    _used: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _bounds(self.minimum, self.maximum)
        _more_than_zero("step", self.step)
        if self.repeat < 1:
            raise ConfigError(f"repeat must be 1 or more, not {self.repeat}")
        self.reset()

    def next(self) -> timedelta:
        if self._used == self.repeat:
            # Compared before it is added: the sum may be more than a timedelta holds.
            room = self.maximum - self._interval
            self._interval += min(self.step, room)
            self._used = 0
        self._used += 1
        return self._interval

    def reset(self) -> None:
        self._interval, self._used = self.minimum, 0


@dataclass(slots=True)
class ExponentialBackoff:
    """Each interval `factor` times the one before, from `minimum` to `maximum`."""

    minimum: timedelta
    maximum: timedelta
    factor: float = 2
    _following: timedelta = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _bounds(self.minimum, self.maximum)
        if not (math.isfinite(self.factor) and self.factor > 1):
            raise ConfigError(f"factor must be more than 1, not {self.factor}")
        self.reset()

    def next(self) -> timedelta:
        interval = self._following
        # Divided, not multiplied: the product may be more than a timedelta holds.
        if interval < self.maximum / self.factor:
            self._following = max(interval * self.factor, interval + timedelta.resolution)
        else:
            self._following = self.maximum
        return interval

    def reset(self) -> None:
        self._following = self.minimum


def _bounds(minimum: timedelta, maximum: timedelta) -> None:
    _more_than_zero("minimum", minimum)
    if maximum < minimum:
        raise ConfigError(f"maximum {in_words(maximum)} is less than minimum {in_words(minimum)}")


def _more_than_zero(what: str, value: timedelta) -> None:
    if value <= ZERO:  # a wait of nothing would spin
        raise ConfigError(f"{what} must be more than zero, not {in_words(value)}")
