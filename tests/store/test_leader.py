"""One leads; whoever led before cannot write any more."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from engine.world import at
from postgresql.server import Server
from ppacer.dag import Registry
from ppacer.engine import RunRef
from ppacer.errors import Deposed, StoreUnavailable
from ppacer.store import Store
from ppacer.store.leader import Leader, Seat, leader_of
from ppacer.store.retention import OldRuns
from ppacer.store.sync import sync
from store.shelf import created, dump, execute, new, rows
from store.test_sync import dag


@pytest.fixture
def db(postgresql: Server) -> Iterator[str]:
    url = postgresql.database(lambda url: Store(url).close())
    yield url
    postgresql.drop(url)


@pytest.fixture
def seat(db: str) -> Iterator[Callable[[str], Seat]]:
    made: list[Seat] = []

    def make(holder: str) -> Seat:
        made.append(Seat(db, holder, f"http://{holder}", lease=60.0))
        return made[-1]

    yield make
    for one in made:
        one.close()


def runs_out(db: str) -> None:
    """The lease of whoever leads is over."""
    execute(db, "UPDATE leader SET RenewedAt = RenewedAt - interval '61 seconds'")


def test_the_first_leads_and_the_second_waits(db: str, seat: Callable[[str], Seat]) -> None:
    a, b = seat("a"), seat("b")
    assert a.leader() is None
    assert leader_of(db) is None
    assert (a.take(), b.take(), a.take()) == (1, None, None)
    assert b.leader() == leader_of(db) == Leader(1, "a", "http://a", True)
    assert a.renew(1)


def test_when_the_lease_is_over_the_other_takes_the_next_term(db: str, seat: Callable[[str], Seat]) -> None:
    a, b = seat("a"), seat("b")
    assert a.take() == 1
    runs_out(db)
    assert leader_of(db) is None
    assert b.leader() == Leader(1, "a", "http://a", False)
    assert b.take() == 2
    assert not a.renew(1)
    assert leader_of(db) == Leader(2, "b", "http://b", True)


def test_a_lease_that_ran_out_but_was_not_taken_can_be_renewed(db: str, seat: Callable[[str], Seat]) -> None:
    a = seat("a")
    assert a.take() == 1
    runs_out(db)
    assert a.renew(1)
    assert seat("b").take() is None


def test_who_lets_go_is_followed_at_once(db: str, seat: Callable[[str], Seat]) -> None:
    a, b = seat("a"), seat("b")
    assert a.take() == 1
    a.release(1)
    assert leader_of(db) is None
    assert b.take() == 2
    a.release(1)  # of a term that is over
    assert leader_of(db) is not None


def test_a_clock_of_the_server_that_was_set_back_hours_holds_up_nobody(
    db: str, seat: Callable[[str], Seat]
) -> None:
    assert seat("a").take() == 1
    execute(db, "UPDATE leader SET RenewedAt = RenewedAt + interval '1 hour'")
    assert seat("b").take() == 2


def test_of_many_who_take_at_once_one_gets_the_term(db: str, seat: Callable[[str], Seat]) -> None:
    assert seat("a").take() == 1
    runs_out(db)
    seats, terms = [seat(f"s{n}") for n in range(6)], list[int | None]()
    threads = [threading.Thread(target=lambda one=one: terms.append(one.take())) for one in seats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(terms, key=str) == [2, None, None, None, None, None]


# -- the fence -----------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Store], object]] = {
    "a batch": lambda store: store.apply([new("a")]),
    "a slice of retention": lambda store: store.forget(OldRuns("d", at(99), [1], [at(1)])),
    "the proof that it can be written": lambda store: store.probe(),
    "the registry": lambda store: sync(store, Registry([dag("a")]), at(1)),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_former_leader_cannot_write(write: str, db: str, seat: Callable[[str], Seat]) -> None:
    a, b = seat("a"), seat("b")
    term = a.take()
    store = Store(db, term)
    store.apply(created())
    runs_out(db)
    store.apply(created(RunRef(2, "d", at(2))))  # nobody else has led meanwhile
    next_term = b.take()
    before = dump(db)
    with pytest.raises(Deposed, match="another scheduler leads now"):
        WRITES[write](store)
    assert store.is_deposed
    assert dump(db) == before
    assert store.newest_run_id() == 2  # reading harms nobody
    heir = Store(db, next_term)
    WRITES[write](heir)
    assert not heir.is_deposed
    heir.close()
    store.close()


def test_who_takes_over_waits_for_the_transaction_at_hand(db: str, seat: Callable[[str], Seat]) -> None:
    a, b = seat("a"), seat("b")
    store, terms = Store(db, a.take()), list[int | None]()
    runs_out(db)
    heir = threading.Thread(target=lambda: terms.append(b.take()))
    with store.write as connection:
        connection.exec_driver_sql("DELETE FROM dagruns")
        heir.start()
        _until_somebody_waits(db)
        assert terms == []
    heir.join(10.0)
    assert terms == [2]
    store.close()


def _until_somebody_waits(db: str) -> None:
    with psycopg.connect(db, autocommit=True) as connection:
        for _ in range(10_000):
            if connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                return
    raise AssertionError("nobody waits for a lock")


def test_a_former_leader_that_stopped_in_a_transaction_cannot_finish_it(
    db: str, seat: Callable[[str], Seat], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session has a limit for that, else its lock would keep everybody from leading."""
    from ppacer.store import database

    a, b = seat("a"), seat("b")
    monkeypatch.setattr(database, "_WRITES", ("idle_in_transaction_session_timeout = '200ms'",))
    store = Store(db, a.take())
    runs_out(db)

    def stopped() -> None:
        with store.write as connection:
            connection.exec_driver_sql("INSERT INTO dagversions VALUES ('d', 'v', now(), '[]')")
            assert b.take() == 2  # it waits until the server has ended the transaction

    with pytest.raises(StoreUnavailable):
        stopped()
    assert rows(db, "dagversions") == []
    with pytest.raises(Deposed):
        store.apply(created())
    store.close()


def test_a_store_without_a_term_reads_no_row_of_a_leader(file_store: Store) -> None:
    file_store.apply(created())
    assert not file_store.is_deposed
