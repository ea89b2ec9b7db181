"""When a program takes the lead, and when it knows that it has lost it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.program import until
from postgresql.server import Server
from ppacer.app import leadership as module
from ppacer.app.leadership import Leadership, Renewal
from ppacer.app.reign import Reign
from ppacer.dag import Registry
from ppacer.errors import Deposed, StoreError, StoreUnavailable
from ppacer.scheduler import Standby
from ppacer.store import Store
from ppacer.store.leader import Leader, Seat

AWAY = StoreUnavailable("away")
LIVES, OVER = Leader(1, "other", "http://other", True), Leader(1, "other", "http://other", False)


class Row:
    """A seat whose row is, one look after the other, as the test says."""

    def __init__(self, *looks: Leader | StoreUnavailable | None) -> None:
        self.looks = list(looks)

    def leader(self) -> Leader | None:
        look = self.looks.pop(0)
        if isinstance(look, StoreUnavailable):
            raise look
        return look

    def take(self) -> int:
        return 2


@pytest.fixture
def db(postgresql: Server) -> Iterator[str]:
    url = postgresql.database(lambda url: Store(url).close())
    yield url
    postgresql.drop(url)


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int | None]]:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)

    def take(times: int, *looks: Leader | StoreUnavailable | None) -> list[int | None]:
        leadership = Leadership(cast(Seat, Row(*looks)), Standby(Registry()), cast(Any, None))
        return [leadership._take() for _ in range(times)]

    return take


def test_a_lead_that_is_over_is_taken_at_once(taking: Callable[..., list[int | None]]) -> None:
    assert taking(1, OVER) == [2]
    assert taking(1, None) == [2]


def test_after_the_server_was_away_the_leader_may_renew_first(
    taking: Callable[..., list[int | None]],
) -> None:
    assert taking(2, AWAY, OVER, LIVES) == [None, None]
    assert taking(3, AWAY, OVER, LIVES, OVER) == [None, None, 2]


def test_a_leader_that_is_gone_when_the_server_is_back_is_followed(
    taking: Callable[..., list[int | None]],
) -> None:
    assert taking(2, AWAY, OVER, OVER) == [None, 2]
    assert taking(2, AWAY, None) == [None, 2]


def test_a_reign_that_ends_because_it_was_deposed_is_no_failure() -> None:
    store = SimpleNamespace(is_deposed=False)

    def is_alive() -> bool:
        store.is_deposed = True  # a moment after somebody has looked
        return False

    reign = cast(Reign, SimpleNamespace(store=store, is_alive=is_alive))
    leadership = Leadership(cast(Seat, None), Standby(Registry()), cast(Any, None))
    with pytest.raises(Deposed):
        leadership._reigns(reign, cast(Renewal, SimpleNamespace(is_lost=False)))


def test_a_reign_that_cannot_begin_leaves_the_lead_to_another_one(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 600.0)
    terms: list[int] = []

    def reign(term: int) -> AbstractContextManager[Reign]:
        terms.append(term)
        raise StoreError("the tables are of a newer ppacer")

    standby = Standby(Registry())
    with closing(Seat(db, "other", None)) as other, Leadership(Seat(db, "one", None), standby, reign):
        until(lambda: standby.problem, "it has failed")
        until(other.take, "another one leads")
        assert terms == [1]
        assert "newer ppacer" in standby.trouble
