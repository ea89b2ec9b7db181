"""Every command leaves a row, and the same command with the same key is not carried out twice."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ppacer import Dag
from ppacer.errors import ConflictError, KeyReusedError, NotFoundError, ParamsError, StoreUnavailable
from ppacer.scheduler import CancelRun, Origin, PauseDag, RestartRun, TriggerRun, UnpauseDag
from ppacer.scheduler.requests import Ask, Request
from scheduler.harness import World, dag

Make = Callable[..., World]
ANN = Origin("ann", "10.0.0.7")


def plain(dag_id: str = "d") -> Dag:
    """A dag without a schedule."""
    return dag(dag_id, "a")


def keyed(ask: Ask, key: str = "k1", actor: str = "ann") -> Request:
    """A command with an idempotency key."""
    return Request(ask, Origin(actor, "10.0.0.7", key))


def audit(w: World) -> list[dict[str, Any]]:
    return w.rows("SELECT * FROM audit ORDER BY AuditId")


def runs(w: World) -> int:
    return int(w.rows("SELECT count(*) AS n FROM dagruns")[0]["n"])


# -- audit ---------------------------------------------------------------------------------------------------


def test_a_command_that_was_carried_out_leaves_a_row_with_everything(world: Make) -> None:
    w = world(plain())
    [request] = w.send(Request(TriggerRun("d"), ANN))
    [row] = audit(w)
    assert (row["Actor"], row["Address"], row["Command"]) == ("ann", "10.0.0.7", "trigger")
    assert (row["DagId"], row["RunId"]) == ("d", request.future.result(0).run_id)
    assert (row["Outcome"], row["Error"]) == ("done", None)
    assert json.loads(row["Details"]) == {"dag_id": "d", "params": {}, "exec_ts": None}
    assert row["At"] == w.rows("SELECT InsertTs FROM dagruns")[0]["InsertTs"]


@pytest.mark.parametrize(
    ("command", "outcome", "dag_id", "run_id"),
    [
        (TriggerRun("nobody"), "not_found", "nobody", None),
        (TriggerRun("d", {"no": 1}), "not_possible", "d", None),
        (CancelRun(7), "not_found", None, 7),
        (RestartRun(10**17), "not_found", None, None),  # no column holds it; the details do
        (PauseDag("x" * 300), "not_found", None, None),
        (PauseDag("a\0b"), "not_found", None, None),  # PostgreSQL has no such text
    ],
)
def test_a_refused_command_leaves_a_row_too(
    world: Make, command: Ask, outcome: str, dag_id: str | None, run_id: int | None
) -> None:
    w = world(plain())
    error = w.refused(Request(command, ANN))
    [row] = audit(w)
    assert (row["Outcome"], row["DagId"], row["RunId"]) == (outcome, dag_id, run_id)
    assert row["Error"] == str(error)
    assert runs(w) == 0


def test_each_command_has_its_word(world: Make) -> None:
    w = world(plain())
    run_id = w.trigger()
    for command in (CancelRun(run_id), RestartRun(run_id), PauseDag("d"), UnpauseDag("d")):
        w.do(command)
    words = [(row["Command"], row["Actor"], row["Outcome"]) for row in audit(w)]
    assert words == [(word, "local", "done") for word in ("trigger", "cancel", "restart", "pause", "unpause")]


def test_too_large_parameters_are_named_by_their_size(world: Make) -> None:
    w = world(plain())
    w.refused(TriggerRun("d", {"x": "y" * 20_000}))
    assert "characters, too many" in json.loads(audit(w)[0]["Details"])["params"]


def test_a_command_that_was_rolled_back_has_no_row(world: Make) -> None:
    w = world(plain())
    w.store.away = True
    [request] = w.send(TriggerRun("d"))
    w.store.away = False
    w.run(10)
    assert request.future.exception(0)
    assert audit(w) == []
    assert runs(w) == 0


# -- idempotency keys ----------------------------------------------------------------------------------------


def test_the_same_key_again_is_answered_as_the_first_time(world: Make) -> None:
    w = world(plain())
    first = w.do(keyed(TriggerRun("d")))
    w.jump(5)
    assert w.do(keyed(TriggerRun("d"))) == first
    assert runs(w) == 1
    assert len(audit(w)) == 1


def test_the_same_key_twice_in_a_batch_has_one_effect(world: Make) -> None:
    w = world(plain())
    one, other = w.send(keyed(TriggerRun("d")), keyed(TriggerRun("d")))
    assert one.future.result(0) == other.future.result(0)
    assert runs(w) == 1


def test_the_same_key_is_known_after_a_restart_of_the_scheduler(world: Make) -> None:
    w = world(plain())
    first = w.do(keyed(TriggerRun("d")))
    w.restart()
    assert w.do(keyed(TriggerRun("d"))) == first
    assert runs(w) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unclear_commit_has_one_effect_and_one_row(world: Make, when: str) -> None:
    w = world(plain())
    w.store.faults = [(when, StoreUnavailable("it is away"))]
    [request] = w.send(keyed(TriggerRun("d")))
    w.run(10)
    assert w.do(keyed(TriggerRun("d"))).run_id == 1
    assert request.future.done()
    assert runs(w) == 1
    assert len(audit(w)) == 1


def test_a_refusal_is_kept_as_well(world: Make) -> None:
    """Otherwise the repetition of a command that was refused could be carried out after all."""
    w = world(plain())
    run_id = w.trigger()
    assert isinstance(w.refused(keyed(RestartRun(run_id))), ConflictError)
    w.do(CancelRun(run_id))
    assert isinstance(w.refused(keyed(RestartRun(run_id))), ConflictError)
    assert w.do(keyed(RestartRun(run_id), "k2"))


@pytest.mark.parametrize(
    ("command", "kind"), [(TriggerRun("d", {"x": 1}), ParamsError), (PauseDag("nobody"), NotFoundError)]
)
def test_a_refusal_comes_back_as_the_same_error(world: Make, command: Ask, kind: type[Exception]) -> None:
    w = world(plain())
    first, again = w.refused(keyed(command)), w.refused(keyed(command))
    assert type(first) is type(again) is kind
    assert str(first) == str(again)


def test_the_same_key_for_another_command_is_refused(world: Make) -> None:
    w = world(plain(), plain("e"))
    w.do(keyed(TriggerRun("d")))
    for other in (TriggerRun("e"), PauseDag("d"), TriggerRun("d", {"x": 1})):
        assert isinstance(w.refused(keyed(other)), KeyReusedError)
    one, other_one = w.send(keyed(PauseDag("d"), "k2"), keyed(UnpauseDag("d"), "k2"))
    assert one.future.result(0) == "d"
    assert isinstance(other_one.future.exception(0), KeyReusedError)


def test_a_key_belongs_to_its_caller(world: Make) -> None:
    w = world(plain())
    w.do(keyed(TriggerRun("d"), actor="ann"))
    w.do(keyed(TriggerRun("d"), actor="bob"))
    assert runs(w) == 2


def test_every_kind_of_reply_can_be_kept(world: Make) -> None:
    w = world(plain())
    run_id = w.trigger()
    commands: list[Ask] = [PauseDag("d"), UnpauseDag("d"), CancelRun(run_id), RestartRun(run_id)]
    for number, command in enumerate(commands):
        first = w.do(keyed(command, f"key {number}"))
        assert w.do(keyed(command, f"key {number}")) == first
