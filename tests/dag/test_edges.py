"""Both ways of writing a dag, the operators, shapes and positions."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppacer.dag import Dag, Group, Node, Registry, TaskConfig, task
from ppacer.errors import DagError


@dataclass
class Step:
    id: str

    def execute(self, ctx: object) -> None: ...


def step(id: str) -> Node:
    return Node(Step(id))


def edges(dag: Dag) -> set[tuple[str, str]]:
    return set(dag.graph.edges())


def positions(dag: Dag) -> dict[str, tuple[int, int]]:
    return {spec.id: (spec.depth, spec.width) for spec in dag.graph.tasks}


def drawn(draw: Callable[[Node, Node, Node, Node], Any]) -> set[tuple[str, str]]:
    with Dag("d") as dag:
        draw(*map(step, "abcd"))
    return edges(dag)


def test_decorators_in_a_with_block_and_nodes_with_next_give_the_same_graph() -> None:
    @task
    def extract() -> int:
        return 1

    @task(retries=2)
    def load(rows: int) -> int:
        return rows

    @task
    def count(rows: int) -> int:
        return rows

    @task
    def report(loaded: int, counted: int) -> None: ...

    with Dag("one") as one:
        rows = extract()
        report(load(rows), count(rows))
    start = step("extract")
    start.fan_out_and_merge([Node(Step("load"), TaskConfig(retries=2)), Step("count")], Step("report"))
    other = Dag("other", start)
    assert one.graph.to_json() == other.graph.to_json()
    assert list(one.nodes) == list(other.nodes) == ["extract", "load", "count", "report"]


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda a, b, c, d: a >> b >> c >> d, "ab bc cd"),
        (lambda a, b, c, d: a >> [b, c] >> d, "ab ac bd cd"),
        (lambda a, b, c, d: a >> (b, c) >> d, "ab ac bd cd"),
        (lambda a, b, c, d: a >> (n for n in (b, c)) >> d, "ab ac bd cd"),
        (lambda a, b, c, d: [a, b] >> c, "ac bc"),
        (lambda a, b, c, d: [a, b] >> c >> d, "ac bc cd"),
        (lambda a, b, c, d: [a] >> Group([b, c]) >> [d], "ab ac bd cd"),
        (lambda a, b, c, d: Group([a, b]) >> Group([c, d]), "ac ad bc bd"),
        (lambda a, b, c, d: a << b << c << d, "ba cb dc"),
        (lambda a, b, c, d: a << [b, c] << d, "ba ca db dc"),
        (lambda a, b, c, d: [a, b] << c, "ca cb"),
        (lambda a, b, c, d: [a, b] << c << d, "ca cb dc"),
        (lambda a, b, c, d: [a] << Group([b, c]), "ba ca"),
        (lambda a, b, c, d: a >> [b, Group([c, d])], "ab ac ad"),
        (lambda a, b, c, d: a >> [b >> c, d], "ac ad bc"),
        (lambda a, b, c, d: a.next(b).next(c).next(d), "ab bc cd"),
        (lambda a, b, c, d: a.fan_out_and_merge([b, c], d), "ab ac bd cd"),
        (lambda a, b, c, d: a.fan_out_and_merge([], d), "ad"),
        (lambda a, b, c, d: a >> [] >> b, "ab"),
        (lambda a, b, c, d: a << [] << b, "ba"),
        (lambda a, b, c, d: [] >> a, ""),
        (lambda a, b, c, d: [a >> b, a >> b, a.next(b), b << a], "ab"),
        (lambda a, b, c, d: a >> [b, b], "ab"),
    ],
)
def test_an_operator_draws_exactly_these_edges(draw: Callable[..., Any], expected: str) -> None:
    assert drawn(draw) == {(pair[0], pair[1]) for pair in expected.split()}


def test_an_operator_returns_its_right_side_so_that_chains_read_on() -> None:
    a, b, c = map(step, "abc")
    assert (a >> b) is b
    assert (a << c) is c
    assert (a >> [b, c]).nodes == (b, c)
    assert ([a, b] >> c) is c
    assert (b >> []).nodes == (b,)
    assert a.next(c) is c
    assert repr(a >> [b, c]) == "Group(b, c)"


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (None, "not None"),
        ("text", "not 'text'"),
        (7, "not 7"),
        (Step("x"), r"write Node\(…\) around it"),
        ([Step("x")], r"write Node\(…\) around it"),
        ([1], "not 1"),
        (task(lambda: 1, id="f"), "call it"),
        ([task(lambda: 1, id="f")], "call it"),
    ],
)
def test_an_edge_to_what_is_no_node_says_what_to_write(target: Any, advice: str) -> None:
    a = step("a")
    draws: list[Callable[[], Any]] = [
        lambda: a >> target,
        lambda: a << target,
        lambda: target >> a,
        lambda: target << a,
        lambda: Group([a]) >> target,
        lambda: Group([a]) << target,
        lambda: target >> Group([a]),
        lambda: target << Group([a]),
    ]
    for draw in draws:
        with pytest.raises(DagError, match=advice):
            draw()
    assert a.children == ()


def test_the_result_of_a_task_cannot_be_looked_at_while_the_dag_is_written() -> None:
    node = step("rows")
    looks: list[Callable[[], Any]] = [
        lambda: bool(node),
        lambda: list(node),
        lambda: node[0],
        lambda: max(*node),
        lambda: 1 if node else 2,
    ]
    for look in looks:
        with pytest.raises(DagError, match="task 'rows' has no result yet"):
            look()


def test_a_config_for_a_node_that_is_made_already_is_refused() -> None:
    with pytest.raises(DagError, match="task 'b': give the config where its Node is made"):
        step("a").next(step("b"), TaskConfig(retries=1))
    assert step("a").next(Step("b"), TaskConfig(retries=1)).config == TaskConfig(retries=1)


def test_fan_out_wants_a_list() -> None:
    for wrong in (step("b"), None, 5):
        with pytest.raises(DagError, match="fan_out_and_merge behind 'a' needs a list of nodes"):
            step("a").fan_out_and_merge(wrong, step("c"))  # type: ignore[arg-type]  # that is the mistake


def test_a_huge_product_of_edges_is_refused_before_it_is_drawn() -> None:
    many = [step(f"s{i}") for i in range(2_000)]
    with pytest.raises(DagError, match="2,000 tasks before 2,000 are 4,000,000 edges"):
        Group(many) >> many
    assert many[0].children == ()


def test_no_task_at_all() -> None:
    with Dag("empty") as dag:
        pass
    assert (len(dag.graph), dict(dag.nodes), dag.graph.edges()) == (0, {}, [])
    registry = Registry([Dag("bare")])
    assert registry["bare"].graph.tasks == ()
    assert registry["bare"].version == Registry([Dag("bare")])["bare"].version


def test_a_single_task() -> None:
    dag = Dag("one", step("a"))
    assert positions(dag) == {"a": (0, 0)}
    assert dag.graph.children == ((),)


def test_one_three_one() -> None:
    a = step("a")
    a.fan_out_and_merge([step("b"), step("c"), step("d")], step("e"))
    dag = Dag("d", a)
    assert positions(dag) == {"a": (0, 0), "b": (1, 0), "c": (1, 1), "d": (1, 2), "e": (2, 0)}
    assert dag.graph.tasks[4].parents == (1, 2, 3)
    assert dag.graph.children == ((1, 2, 3), (4,), (4,), (4,), ())


@pytest.mark.parametrize("length", [2, 10, 25, 100])
def test_a_chain(length: int) -> None:
    start = at = step("s0")
    for i in range(1, length):
        at = at.next(step(f"s{i}"))
    dag = Dag("d", start)
    assert positions(dag) == {f"s{i}": (i, 0) for i in range(length)}
    assert edges(dag) == {(f"s{i}", f"s{i + 1}") for i in range(length - 1)}


def test_several_roots_keep_the_order_in_which_they_are_given() -> None:
    b, a = step("b"), step("a")
    [a, b] >> step("end")
    dag = Dag("d", b, a, step("lonely"))
    assert positions(dag) == {"b": (0, 0), "a": (0, 1), "lonely": (0, 2), "end": (1, 0)}


def test_depth_is_the_longest_way_from_a_root() -> None:
    with Dag("d") as dag:
        a, b, c, d = map(step, "abcd")
        a >> [b, d]
        b >> c >> d
    assert positions(dag) == {"a": (0, 0), "b": (1, 0), "c": (2, 0), "d": (3, 0)}


def test_nodes_that_are_given_as_roots_but_have_parents_are_no_harm() -> None:
    a, b = step("a"), step("b")
    a >> b
    assert positions(Dag("d", b, a)) == {"a": (0, 0), "b": (1, 0)}


def test_a_node_made_before_the_with_block_joins_by_an_edge_from_inside() -> None:
    end = step("end")
    with Dag("d") as dag:
        step("start") >> end
    assert edges(dag) == {("start", "end")}


def test_add_places_a_node_by_hand() -> None:
    dag = Dag("d")
    a, b = step("a"), step("b")
    assert dag.add(a) is a is dag.add(a)
    a >> b
    dag.finish()
    assert edges(dag) == {("a", "b")}
    assert b.dag is dag


def test_a_node_knows_its_task_and_its_place() -> None:
    work = Step("a")
    node = Node(work, retries=3)
    assert (node.id, node.task, node.dag, node.children) == ("a", work, None, ())
    assert (node.config, dict(node.options), repr(node)) == (None, {"retries": 3}, "Node(a)")
    dag = Dag("d", node)
    assert node.dag is dag
    assert dag.task("a") is work
    assert dag.nodes["a"] is node
    with pytest.raises(KeyError):
        dag.task("b")


@st.composite
def forward_edges(draw: st.DrawFn) -> tuple[int, set[tuple[int, int]]]:
    count = draw(st.integers(1, 12))
    pairs = list(itertools.combinations(range(count), 2))
    return count, draw(st.sets(st.sampled_from(pairs))) if pairs else set()


@given(forward_edges(), st.randoms())
@settings(max_examples=150)
def test_every_acyclic_graph_is_placed_parents_first(
    graph: tuple[int, set[tuple[int, int]]], chance: Any
) -> None:
    count, pairs = graph
    order = list(range(count))
    chance.shuffle(order)
    with Dag("d") as dag:
        nodes = {i: step(f"s{i}") for i in order}
        for a, b in sorted(pairs, key=lambda pair: chance.random()):
            nodes[a] >> nodes[b]
    graph_ = dag.graph
    assert edges(dag) == {(f"s{a}", f"s{b}") for a, b in pairs}
    for at, spec in enumerate(graph_.tasks):
        assert all(parent < at for parent in spec.parents)
        assert list(spec.parents) == sorted(set(spec.parents))
        assert spec.depth == max((graph_.tasks[p].depth + 1 for p in spec.parents), default=0)
        assert all(at in graph_.children[parent] for parent in spec.parents)
        assert graph_.index[spec.id] == at
    assert len({(spec.depth, spec.width) for spec in graph_.tasks}) == count
    again = type(graph_).from_json(graph_.to_json())
    assert (again.tasks, again.children) == (graph_.tasks, graph_.children)
