"""What is known of tokens while their rows are being read."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from ppacer.api import access
from ppacer.api.access import Tokens
from ppacer.api.secret import hash_of
from ppacer.choices import Role
from ppacer.clock import Now, SystemClock
from ppacer.errors import StoreUnavailable
from ppacer.store.tokens import TokenRow


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = Now(datetime.now(UTC), 1_000.0)

    def now(self) -> Now:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at = Now(self.at.utc + timedelta(seconds=seconds), self.at.mono + seconds)


def row(secret: str, *, revoked: bool = False) -> TokenRow:
    now = datetime.now(UTC)
    return TokenRow(secret, secret, Role.EXECUTOR, hash_of(secret), now, "me", None, now if revoked else None)


def test_the_first_requests_all_wait_for_the_rows() -> None:
    may_read = threading.Event()

    def read() -> list[TokenRow]:
        assert may_read.wait(60.0)
        return [row("a")]

    async def ask() -> list[str | None]:
        tokens = Tokens(read, SystemClock())
        finds = [asyncio.create_task(tokens.find("a")) for _ in range(10)]
        await asyncio.sleep(0)
        may_read.set()
        return [found and found.name for found in await asyncio.gather(*finds)]

    assert asyncio.run(ask()) == ["a"] * 10


def test_what_changes_while_rows_are_read_is_read_again() -> None:
    rows = [row("a")]

    async def ask() -> list[str | None]:
        def read() -> list[TokenRow]:
            found = list(rows)
            if len(rows) == 1:
                rows.append(row("b"))
                tokens.forget()  # as the scheduler's thread does after the commit
            return found

        tokens = Tokens(read, SystemClock())
        names = []
        for secret in ("a", "b"):
            found = await tokens.find(secret)
            names.append(found and found.name)
        return names

    assert asyncio.run(ask()) == ["a", "b"]


def test_a_database_that_hangs_holds_up_nobody_who_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PATIENCE_SECONDS", 0.05)
    may_read = threading.Event()
    may_read.set()

    def read() -> list[TokenRow]:
        assert may_read.wait(60.0)
        return [row("a")]

    async def ask() -> list[str | None]:
        clock = Hand()
        tokens = Tokens(read, clock)
        await tokens.find("a")
        may_read.clear()
        clock.advance(access.STALE_SECONDS)
        try:
            async with asyncio.timeout(30.0):
                found = await asyncio.gather(*(tokens.find(secret) for secret in "aab"))
        finally:
            may_read.set()
        return [one and one.name for one in found]

    assert asyncio.run(ask()) == ["a", "a", None]


def test_rows_that_took_long_to_read_are_fresh_when_they_are_there() -> None:
    clock, times = Hand(), list[float]()

    def read() -> list[TokenRow]:
        times.append(clock.now().mono)
        clock.advance(4 * access.STALE_SECONDS)
        if len(times) == 2:
            raise StoreUnavailable("away")
        return [row("a")]

    async def ask() -> None:
        tokens = Tokens(read, clock)
        for _ in range(10):
            assert await tokens.find("a")
            clock.advance(access.STALE_SECONDS / 4)

    asyncio.run(ask())
    assert len(times) == 3


def test_a_token_that_was_revoked_is_let_in_no_more_however_long_the_database_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "PATIENCE_SECONDS", 0.0)
    rows, may_read = [row("a")], threading.Event()
    may_read.set()

    def read() -> list[TokenRow]:
        assert may_read.wait(60.0)
        return list(rows)

    async def ask() -> list[bool]:
        tokens = Tokens(read, SystemClock())
        before = await tokens.find("a")
        may_read.clear()
        rows[:] = [row("a", revoked=True)]
        tokens.forget()
        asyncio.get_running_loop().call_later(0.05, may_read.set)
        return [before is not None, await tokens.find("a") is not None]

    assert asyncio.run(ask()) == [True, False]
