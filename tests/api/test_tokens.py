"""What is known of tokens while their rows are being read."""

import asyncio
import threading
from datetime import UTC, datetime

from ppacer.api.access import Tokens
from ppacer.api.secret import hash_of
from ppacer.choices import Role
from ppacer.clock import SystemClock
from ppacer.store.tokens import TokenRow


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
