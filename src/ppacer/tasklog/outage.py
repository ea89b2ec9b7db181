"""A time in which the database refuses: how long to pause between tries, and when a batch is hopeless."""

RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.05, 5.0
"""Pauses between tries, doubled each time."""


class Outage:
    """True while the database refuses. Instants are seconds of the monotonic clock."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None
        self._batch_since = 0.0
        self._pause = RETRY_SECONDS_MIN

    def __bool__(self) -> bool:
        return self._since is not None

    def failed(self, now: float) -> float:
        """One more try failed; returns the seconds until the next."""
        if self._since is None:
            self._since = self._batch_since = now
            self._pause = RETRY_SECONDS_MIN
        else:
            self._pause = min(2 * self._pause, RETRY_SECONDS_MAX)
        return self._pause

    def is_hopeless(self, now: float) -> bool:
        """Whether the batch at hand had its time; the next one then starts with a time of its own."""
        if now - self._batch_since < self._patience:
            return False
        self._batch_since = now
        return True

    def end(self, now: float) -> float:
        """The database accepts again; returns how many seconds it did not."""
        assert self._since is not None
        lasted = now - self._since
        self._since = None
        return lasted
