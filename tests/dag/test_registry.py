"""The mapping of ids to dags."""

from typing import Any

import pytest

from ppacer.dag import Dag, Registry
from ppacer.errors import DagError, DuplicateIdError


def test_a_registry_is_a_mapping_in_the_order_of_adding() -> None:
    b, a = Dag("b"), Dag("a")
    registry = Registry([b])
    registry.add(a)
    assert list(registry.items()) == [("b", b), ("a", a)]
    assert (len(registry), "a" in registry, "c" in registry, registry.get("c")) == (2, True, False, None)
    with pytest.raises(KeyError):
        registry["c"]


def test_an_empty_registry() -> None:
    assert dict(Registry()) == dict(Registry([])) == {}


def test_two_dags_with_one_id_are_refused_and_the_first_stays() -> None:
    first = Dag("a")
    registry = Registry([first])
    with pytest.raises(DuplicateIdError, match="dag id 'a' is used twice in this registry") as caught:
        registry.add(Dag("a"))
    assert (caught.value.kind, caught.value.id) == ("dag", "a")
    assert registry["a"] is first


def test_the_same_dag_twice_is_no_harm() -> None:
    dag = Dag("a")
    assert len(Registry([dag, dag])) == 1


@pytest.mark.parametrize("wrong", [None, 5, "dag", Dag])
def test_only_dags_can_be_registered(wrong: Any) -> None:
    with pytest.raises(DagError, match="is not a Dag"):
        Registry().add(wrong)
    with pytest.raises(DagError, match="is not a Dag"):
        Registry([wrong])


@pytest.mark.parametrize("wrong", [None, 5, Dag("a")])
def test_a_registry_takes_a_list(wrong: Any) -> None:
    with pytest.raises(DagError, match=r"a registry takes a list of dags, not .*; write Registry\(\[…\]\)"):
        Registry(wrong)


def test_a_registered_dag_is_complete() -> None:
    dag = Dag("a")
    was_built = dag.is_built
    Registry([dag])
    assert (was_built, dag.is_built) == (False, True)
    with pytest.raises(DagError, match="dag 'a' is built"), dag:
        pass
