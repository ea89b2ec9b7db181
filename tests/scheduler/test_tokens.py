"""Access tokens are made and revoked by commands like any other."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ppacer import Dag
from ppacer.choices import Role
from ppacer.errors import ConflictError, DagError, NotFoundError
from ppacer.scheduler import CreateToken, Origin, RevokeToken, TriggerRun
from ppacer.scheduler.requests import Request
from scheduler.harness import World, at, dag

Make = Callable[..., World]


def make(name: str = "ci", id: str = "t1", expires_at: datetime | None = None) -> CreateToken:
    return CreateToken(name, Role.OPERATOR, expires_at, id, f"hash of {id}")


def plain() -> Dag:
    return dag("d", "a")


def tokens(w: World) -> list[dict[str, Any]]:
    return w.rows("SELECT * FROM tokens ORDER BY TokenId")


def test_a_token_is_a_row_and_the_audit_has_no_secret(world: Make) -> None:
    w = world(plain())
    reply = w.do(Request(make(expires_at=at(60)), Origin("root")))
    [row] = tokens(w)
    assert (row["Name"], row["Role"], row["TokenHash"]) == ("ci", "operator", "hash of t1")
    assert (row["CreatedBy"], row["RevokedAt"]) == ("root", None)
    assert reply.name == "ci"
    assert reply.counts(at(59))
    assert not reply.counts(at(60))
    [audit] = w.rows("SELECT * FROM audit")
    assert "hash of t1" not in repr(audit)


def test_a_name_means_one_token(world: Make) -> None:
    w = world(plain())
    w.do(make())
    assert isinstance(w.refused(make(id="t2")), ConflictError)
    w.do(RevokeToken("ci"))
    w.do(make(id="t2"))
    assert [row["RevokedAt"] is None for row in tokens(w)] == [False, True]


def test_two_of_one_name_in_a_batch_are_one(world: Make) -> None:
    w = world(plain())
    one, other = w.send(make(id="t1"), make(id="t2"))
    assert one.future.result(0).token_id == "t1"
    assert isinstance(other.future.exception(0), ConflictError)
    assert len(tokens(w)) == 1


@pytest.mark.parametrize("name", ["", "local", "a b", "x" * 201, "a/b", "ä"])
def test_an_impossible_name_is_refused(world: Make, name: str) -> None:
    w = world(plain())
    assert isinstance(w.refused(make(name)), DagError)
    assert tokens(w) == []


def test_a_token_that_has_expired_already_is_refused(world: Make) -> None:
    w = world(plain())
    assert "never count" in str(w.refused(make(expires_at=at(0))))


def test_only_what_counts_can_be_revoked(world: Make) -> None:
    w = world(plain())
    assert isinstance(w.refused(RevokeToken("ci")), NotFoundError)
    w.do(make())
    assert w.do(RevokeToken("ci")).revoked_at == w.utc
    assert isinstance(w.refused(RevokeToken("ci")), NotFoundError)


def test_the_same_key_makes_one_token(world: Make) -> None:
    """The secret is made anew for each request; the token of the first one counts."""
    w = world(plain())
    first = w.do(Request(make(id="t1"), Origin(key="k")))
    assert w.do(Request(make(id="t2"), Origin(key="k"))) == first
    assert [row["TokenId"] for row in tokens(w)] == ["t1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2030-01-01T00:00:00", "the expiry 2030-01-01T00:00:00 has no time zone"),
        ("9999-12-31T23:59:59-12:00", "the expiry 9999-12-31T23:59:59-12:00 has none in UTC"),
    ],
)
def test_an_expiry_that_is_no_instant_is_refused_and_nothing_else_is_disturbed(
    world: Make, text: str, words: str
) -> None:
    w = world(plain())
    commits = w.store.commits
    bad, good = w.send(make(expires_at=datetime.fromisoformat(text)), TriggerRun("d"))
    assert words in str(bad.future.exception(0))
    assert good.future.result(0).dag_id == "d"
    assert w.store.commits == commits + 1
    assert tokens(w) == []


def test_an_expiry_is_kept_as_the_instant_it_is(world: Make) -> None:
    w = world(plain())
    row = w.do(make(expires_at=datetime.fromisoformat("2030-01-01T00:00:00+02:00")))
    assert row.expires_at == datetime(2029, 12, 31, 22, tzinfo=UTC)
    assert tokens(w)[0]["ExpiresAt"] == "2029-12-31T22:00:00.000000Z"
