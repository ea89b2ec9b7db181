"""What a dag refuses, with which words; and that nothing about it changes once it is built."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from ppacer.dag import Dag, Node, Registry, TaskConfig, check_id, task
from ppacer.errors import CycleError, DagError, DuplicateIdError, PpacerError
from ppacer.schedule import Cron, Fixed


@dataclass
class Step:
    id: str

    def execute(self, ctx: object) -> None: ...


def step(id: str) -> Node:
    return Node(Step(id))


@task
def one() -> int:
    return 1


@task
def two(x: int) -> int:
    return x


# --- ids ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id", ["a", "A" * 200, "a.b-c_D9", "...", "-", "_", ".hidden", "0x", "a..b"], ids=lambda id: id[:9]
)
def test_an_id_of_letters_digits_and_three_signs_is_possible(id: str) -> None:
    assert check_id("dag", id) == id
    assert Dag(id, step(id)).task(id).id == id


@pytest.mark.parametrize("id", ["0", "12", "0" * 200])
def test_a_number_is_no_dag_because_it_is_a_run(id: str) -> None:
    with pytest.raises(DagError, match="is a number, and numbers mean runs: add a letter to it"):
        Dag(id)
    assert Dag("d", step(id)).task(id).id == id


@pytest.mark.parametrize(
    "id",
    [
        "",
        "a" * 201,
        ".",
        "..",
        "a b",
        "a/b",
        "a\\b",
        "../etc",
        "a\n",
        "\n",
        "a\x00",
        "<script>alert(1)</script>",
        "zażółć",
        "١٢٣",  # digits, but not ours
        "ａ",  # a letter, but a wide one
        "a\u200b",
        "\ud800",
        "%2e%2e",
        "a'b",
        "a;--",
        None,
        5,
        b"a",
        ["a"],
    ],
    ids=repr,
)
def test_any_other_id_is_refused_for_dags_tasks_and_options(id: Any) -> None:
    makes: list[Callable[[], Any]] = [lambda: check_id("task", id), lambda: Dag(id), lambda: step(id)]
    if id is not None:  # that is the function's own name
        makes += [lambda: task(id=id)(lambda: 1), lambda: one.with_options(id=id)]
    for make in makes:
        with pytest.raises(DagError, match=r"id .* is not possible: use 1 to 200 letters") as caught:
            make()
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()


def test_an_id_is_text_of_the_plain_kind() -> None:
    class Loud(str):
        def __str__(self) -> str:
            return "<b>"

    assert type(check_id("dag", Loud("a"))) is str
    assert check_id("dag", Loud("a")) == "a"


def test_two_tasks_with_one_id_are_refused_where_the_second_is_written() -> None:
    with Dag("d") as dag:
        one()
        with pytest.raises(
            DuplicateIdError, match=r"task id 'one' is used twice in dag 'd'.*with_options"
        ) as caught:
            one()
    assert (caught.value.kind, caught.value.id) == ("task", "one")
    assert list(dag.nodes) == ["one"]
    with pytest.raises(DuplicateIdError, match="task id 'a' is used twice in dag 'd';"):
        Dag("d", step("a"), step("a"))


def test_the_same_node_twice_is_one_node() -> None:
    a = step("a")
    assert list(Dag("d", a, a).nodes) == ["a"]


def test_an_id_that_changes_later_does_not_change_the_dag() -> None:
    work = Step("a")
    dag = Dag("d", Node(work))
    work.id = "b"
    assert list(dag.nodes) == [dag.nodes["a"].id] == ["a"]


# --- cycles ---------------------------------------------------------------------------------------------


def chain_of_functions(names: list[str]) -> None:
    nodes = {name: task(lambda: 1, id=name)() for name in dict.fromkeys(names)}
    for a, b in pairwise(names):
        nodes[a] >> nodes[b]


def chain_of_nodes(names: list[str]) -> list[Node]:
    nodes = {name: step(name) for name in dict.fromkeys(names)}
    for a, b in pairwise(names):
        nodes[a].next(nodes[b])
    return list(nodes.values())


@pytest.mark.parametrize(
    ("way", "cycle"),
    [
        ("a a", {"a"}),
        ("a b a", {"a", "b"}),
        ("a b c a", {"a", "b", "c"}),
        ("r a b a e f", {"a", "b"}),  # a tail on both sides
        ("a b c d e f d", {"d", "e", "f"}),
        ("a b a c d c", None),  # two of them: either will do
    ],
)
def test_a_cycle_is_named_in_both_ways_of_writing(way: str, cycle: set[str] | None) -> None:
    names = way.split()
    with pytest.raises(CycleError) as first, Dag("d"):
        chain_of_functions(names)
    with pytest.raises(CycleError) as second:
        Dag("d", *chain_of_nodes(names))
    for path in (first.value.path, second.value.path):
        assert path[0] == path[-1]
        assert set(path) == cycle if cycle else set(path) in ({"a", "b"}, {"c", "d"}, {"a", "c", "d"})
        assert set(pairwise(path)) <= set(pairwise(names))
    assert str(second.value) == f"dag 'd' has a cycle: {' -> '.join(second.value.path)}"


def test_a_tail_that_is_written_before_its_cycle_is_not_part_of_it() -> None:
    f, e, b, a = map(step, "feba")
    a >> b >> a
    b >> e >> f
    with pytest.raises(CycleError) as caught:
        Dag("d", f, e, b, a)
    assert set(caught.value.path) == {"a", "b"}


def test_a_long_cycle_behind_a_long_tail_is_told_in_a_short_sentence() -> None:
    names = [f"s{i}" for i in range(30_000)]
    with pytest.raises(CycleError) as caught:
        Dag("d", *chain_of_nodes([*names, "s10000"]))
    assert len(caught.value.path) == 20_001
    assert set(caught.value.path) == set(names[10_000:])
    assert str(caught.value).startswith("dag 'd' has a cycle of 20,000 tasks: ")
    assert len(str(caught.value)) < 400


def test_a_cycle_that_nothing_leads_into_is_found_in_a_with_block() -> None:
    dag = Dag("d")
    _, b, c = (dag.add(step(id)) for id in "abc")
    b >> c >> b
    with pytest.raises(CycleError, match=r"b -> c -> b|c -> b -> c"), dag:
        pass


# --- which dag a node is in -----------------------------------------------------------------------------


def test_a_node_cannot_be_in_two_dags() -> None:
    a = step("a")
    Dag("first", a)
    with pytest.raises(DagError, match="task 'a' is in dag 'first' and cannot be in 'second' too"):
        Dag("second", a)
    with (
        Dag("third") as third,
        pytest.raises(DagError, match="'a' >> 'b' joins two dags, 'first' and 'third': a task depends on"),
    ):
        a >> step("b")
    assert list(third.nodes) == ["b"]
    with pytest.raises(DagError, match="dag 'first' is built: 'a' >> 'c' comes too late"):
        a >> step("c")


def test_an_edge_cannot_join_two_open_dags() -> None:
    with Dag("outer") as outer:
        a = step("a")
        with Dag("inner") as inner:
            b = step("b")
            with pytest.raises(DagError, match="'a' >> 'b' joins two dags, 'outer' and 'inner'"):
                a >> b
            with pytest.raises(DagError, match="joins two dags"):
                two(a)
        c = one()
    assert (a.dag, b.dag, c.dag) == (outer, inner, outer)
    assert (set(outer.nodes), set(inner.nodes)) == ({"a", "one"}, {"b", "two"})


def test_a_forgotten_parent_is_named() -> None:
    a, b, c = map(step, "abc")
    [a, b] >> c
    with pytest.raises(DagError, match="task 'c' of dag 'd' comes after 'b', which is not in the dag"):
        Dag("d", a)
    assert set(Dag("d", a, b).nodes) == {"a", "b", "c"}


def test_a_parent_made_before_the_with_block_is_named() -> None:
    outside = step("outside")
    with pytest.raises(DagError, match=r"'inside' of dag 'd' comes after 'outside'.*`with` block"), Dag("d"):
        outside >> step("inside")


def test_the_last_node_of_a_chain_given_as_root_is_noticed() -> None:
    with pytest.raises(DagError, match="task 'b' of dag 'd' comes after 'a'"):
        Dag("d", step("a") >> step("b"))


@pytest.mark.parametrize(
    ("root", "advice"),
    [
        (Step("a"), r"write Node\(…\) around it"),
        ([], r"write Dag\(id, \*nodes\)"),
        (one, "call it in the `with` block"),
        (Cron("@daily"), "needs its name: schedule="),
        (None, "is not a node"),
        ("a", "is not a node"),
    ],
)
def test_a_root_that_is_no_node_says_what_to_write(root: Any, advice: str) -> None:
    with pytest.raises(DagError, match=f"dag 'd': .*{advice}"):
        Dag("d", root)
    with pytest.raises(DagError, match=advice):
        Dag("d").add(root)


@pytest.mark.parametrize(
    ("thing", "advice"),
    [
        (Step, r"is a class; a task is an instance of it, Step\(…\)"),
        (one, "is a function; decorate it with @task and call it"),
        (print, "is a function"),
        (None, "needs an `id` and a method `execute"),
        (SimpleNamespace(id="a"), "needs an `id` and a method `execute"),
        (SimpleNamespace(execute=print), "needs an `id` and a method `execute"),
        (SimpleNamespace(id="a", execute=5), "needs an `id` and a method `execute"),
        (SimpleNamespace(id=5, execute=print), "task id 5 is not possible"),
    ],
)
def test_a_node_wants_a_task(thing: Any, advice: str) -> None:
    with pytest.raises(DagError, match=advice):
        Node(thing)


class Executes:
    id = "a"

    def bare(self) -> None: ...
    def two(self, ctx: object, more: object) -> None: ...
    def named(self, *, ctx: object) -> None: ...
    def right(self, ctx: object) -> None: ...
    def star(self, *all: object) -> None: ...
    def more(self, ctx: object, n: int = 3) -> None: ...
    async def waits(self, ctx: object) -> None: ...
    @staticmethod
    def static(ctx: object) -> None: ...
    @classmethod
    def of_class(cls, ctx: object) -> None: ...


@pytest.mark.parametrize("name", ["bare", "two", "named"])
def test_an_execute_that_cannot_take_the_context_is_refused(name: str) -> None:
    kind = type("Kind", (Executes,), {"execute": vars(Executes)[name]})
    for thing in (kind(), SimpleNamespace(id="a", execute=getattr(Executes(), name))):
        with pytest.raises(DagError, match="task 'a': its `execute` must take one argument, the context"):
            Node(thing)


@pytest.mark.parametrize("name", ["right", "star", "more", "waits", "static", "of_class"])
def test_an_execute_that_takes_the_context_is_fine(name: str) -> None:
    kind = type("Kind", (Executes,), {"execute": vars(Executes)[name]})
    for thing in (kind(), SimpleNamespace(id="a", execute=getattr(Executes(), name))):
        assert Node(thing).id == "a"
    assert Node(SimpleNamespace(id="a", execute=max)).id == "a", "Python cannot tell"


def test_a_node_of_a_node_is_refused() -> None:
    with pytest.raises(DagError, match=r"Node\(a\) is a node already"):
        Node(step("a"))  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize("wrong", [{"retries": 1}, "x", 5])
def test_a_config_is_a_task_config(wrong: Any) -> None:
    with pytest.raises(DagError, match=r"task 'a': config is .*write TaskConfig\(…\)"):
        Node(Step("a"), wrong)
    with pytest.raises(DagError, match=r"dag 'd': config is .*write config=TaskConfig\(…\)"):
        Dag("d", config=wrong)


# --- the with block -------------------------------------------------------------------------------------


def test_an_exception_in_the_with_block_leaves_no_half_dag() -> None:
    dag, made = Dag("d"), []
    with pytest.raises(ZeroDivisionError), dag:  # noqa: PT012 - the block is what is tested
        made.append(step("a"))
        raise ZeroDivisionError
    a = made[0]
    assert a.dag is None
    assert one() == 1, "the context is closed again"
    for use in (lambda: dag.graph, lambda: dag.nodes, lambda: dag.version, lambda: dag.add(step("b"))):
        with pytest.raises(DagError, match="dag 'd' could not be built, because of an error before"):
            use()
    with pytest.raises(DagError, match="because of an error before"):
        Registry([dag])
    with pytest.raises(DagError, match="because of an error before"), dag:
        pass
    assert list(Dag("d", a).nodes) == ["a"], "its nodes are free again"


def test_a_dag_that_cannot_be_built_lets_its_nodes_go() -> None:
    a, b = step("a"), step("b")
    a >> b >> a
    for _ in range(2):
        with pytest.raises(CycleError):
            Dag("d", a)
        assert a.dag is b.dag is None
    with pytest.raises(CycleError), Dag("d") as dag:
        dag.add(a)
    assert (a.dag, dag.is_built) == (None, False)


def test_a_failing_block_closes_its_own_context_only() -> None:
    with Dag("outer") as outer:
        with pytest.raises(KeyboardInterrupt), Dag("inner"):
            raise KeyboardInterrupt
        one()
    assert list(outer.nodes) == ["one"]
    assert one() == 1


def test_blocks_may_be_nested_and_each_gets_what_is_written_in_it() -> None:
    with Dag("outer") as outer:
        step("a")
        with Dag("inner") as inner:
            step("a")
            step("b")
        step("c")
    assert (list(outer.nodes), list(inner.nodes)) == (["a", "c"], ["a", "b"])


def test_a_dag_in_its_own_block_is_refused() -> None:
    with Dag("d") as dag:
        with pytest.raises(DagError, match="the `with` block of dag 'd' is open already"), dag:
            pass
        step("a")
    assert list(dag.nodes) == ["a"]


def test_a_dag_whose_block_is_open_is_not_ready() -> None:
    with Dag("d") as dag:
        for use in (lambda: dag.graph, lambda: dag.version, lambda: dag.bodies):
            with pytest.raises(DagError, match="dag 'd' is not built yet"):
                use()
        with pytest.raises(DagError, match="the `with` block of dag 'd' has not ended yet"):
            Registry([dag])
        assert not dag.is_built
    assert dag.is_built


# --- immutability ---------------------------------------------------------------------------------------


def built() -> Dag:
    with Dag("d", schedule=Cron("@daily"), tags=["x"]) as dag:
        two(one()) >> task(lambda rows: rows, id="three")([1, {"a": [2]}])
    return dag


def changes() -> list[Callable[[Dag], Any]]:
    return [
        lambda d: setattr(d, "schedule", None),
        lambda d: setattr(d, "tags", ()),
        lambda d: setattr(d, "id", "other"),
        lambda d: setattr(d, "max_active_runs", 1),
        lambda d: setattr(d, "config", TaskConfig(retries=5)),
        lambda d: setattr(d, "nodes", {}),
        lambda d: setattr(d, "graph", None),
        lambda d: setattr(d, "version", "0"),
        lambda d: setattr(d, "schedule_text", "0"),
        lambda d: setattr(d, "anything", 1),
        lambda d: delattr(d, "schedule"),
        lambda d: d.add(step("late")),
        lambda d: d.__enter__(),
        lambda d: d.nodes.pop("one"),
        lambda d: d.nodes.__setitem__("late", step("late")),
        lambda d: d.configs.__setitem__("one", TaskConfig()),
        lambda d: d.bodies.__setitem__("one", None),
        lambda d: setattr(d.configs["one"], "retries", 9),
        lambda d: d.nodes["one"].next(step("late")),
        lambda d: d.nodes["one"] >> d.nodes["three"],
        lambda d: d.nodes["two"] >> d.nodes["one"],
        lambda d: d.nodes["one"] << step("early"),
        lambda d: step("early") >> d.nodes["one"],
        lambda d: d.nodes["one"].fan_out_and_merge([Step("late")], Step("later")),
        lambda d: setattr(d.nodes["one"], "id", "other"),
        lambda d: setattr(d.nodes["one"], "task", Step("one")),
        lambda d: setattr(d.nodes["one"], "config", TaskConfig(retries=1)),
        lambda d: setattr(d.nodes["one"], "dag", None),
        lambda d: setattr(d.nodes["one"], "children", ()),
        lambda d: setattr(d.nodes["one"], "note", "x"),
        lambda d: d.nodes["one"].options.__setitem__("retries", 3),
        lambda d: d.task("three").arguments.__setitem__("rows", 1),
        lambda d: setattr(d.graph, "tasks", ()),
        lambda d: setattr(d.graph.tasks[0], "retries", 9),
        lambda d: d.graph.index.__setitem__("x", 1),
        lambda d: setattr(d.params, "type", int),
    ]


@pytest.mark.parametrize("number", range(len(changes())))
def test_a_dag_that_is_built_cannot_be_changed(number: int) -> None:
    dag = built()
    with pytest.raises((PpacerError, AttributeError, TypeError)):
        changes()[number](dag)
    fresh = built()
    assert (dag.version, dag.graph.to_json()) == (fresh.version, fresh.graph.to_json())
    assert (list(dag.nodes), dag.configs) == (list(fresh.nodes), fresh.configs)


def test_what_was_given_can_be_changed_without_changing_the_dag() -> None:
    rows: list[Any] = [1, {"a": [2]}]
    tags = ["x"]
    three = task(lambda rows: rows, id="three")
    with Dag("d", tags=tags) as dag:
        three(rows)
    rows[1]["a"].append(3)
    rows.append(4)
    tags.append("y")
    dag.attributes["Tags"].append("z")
    assert dag.task("three").arguments == {"rows": [1, {"a": [2]}]}  # type: ignore[attr-defined]  # a BoundTask
    assert dag.tags == ("x",)
    assert dag.attributes["Tags"] == ["x"]
    with pytest.raises(TypeError):
        three.options["retries"] = 1  # type: ignore[index]  # that is the point


def test_the_arguments_of_a_dag_cannot_be_set_before_it_is_built_either() -> None:
    with Dag("d") as dag, pytest.raises(DagError, match=r"give schedule to Dag\(…\)"):
        dag.schedule = Cron("@daily")


# --- arguments of Dag -----------------------------------------------------------------------------------


class Odd:
    """A schedule in the manner of a user: points once in a while."""

    def __init__(self, start: Any = None, text: Any = "odd") -> None:
        self.start = start
        self.text = text

    def next(self, current: datetime, previous: datetime | None) -> datetime | None:
        return None

    def __str__(self) -> str:
        if isinstance(self.text, Exception):
            raise self.text
        return self.text  # type: ignore[no-any-return]  # also wrong ones


NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 - that is the mistake


class Nameless:
    start = None

    def next(self, current: datetime, previous: datetime | None) -> datetime | None: ...


class Startless:
    def next(self, current: datetime, previous: datetime | None) -> datetime | None: ...
    def __str__(self) -> str:
        return "startless"


class RaisingStart(Startless):
    @property
    def start(self) -> datetime:
        raise RuntimeError("no start today")


@dataclass
class HoldsAnObject(Odd):
    start: Any = None
    inner: object = field(default_factory=object)
    __str__ = object.__str__


@pytest.mark.parametrize(
    ("schedule", "advice"),
    [
        ("0 3 * * *", r"is a text; write schedule=Cron\('0 3 \* \* \*'\)"),
        (timedelta(hours=1), r"write schedule=Fixed\(start, interval\)"),
        (Cron, r"is a class; write schedule=Cron\(…\)"),
        (5, r"is not a schedule: it has no `next\(current, previous\)`"),
        (SimpleNamespace(next=1, start=None), "has no `next"),
        (Startless(), r"it has no `start` \(None means no bound\)"),
        (RaisingStart(), "no start today"),
        (Odd(start=NAIVE), "its start is 2024-01-01T00:00:00 without time zone"),
        (Odd(start="2024-01-01"), "its start must be a datetime, not str"),
        (Odd(text=ValueError("no")), "its __str__ raised ValueError"),
        (Odd(text=5), "its __str__ raised TypeError"),
        (Odd(text=""), "1 to 1000 printable characters"),
        (Odd(text="x" * 1001), "1 to 1000 printable characters"),
        (Odd(text="a\nb"), "1 to 1000 printable characters"),
        (Nameless(), "needs a __str__ that says when it runs; this one differs in every process"),
        (HoldsAnObject(), "needs a __str__ that says when it runs"),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_advice(schedule: Any, advice: str) -> None:
    with pytest.raises(DagError, match=rf"dag 'd': schedule=.*{advice}") as caught:
        Dag("d", schedule=schedule)
    assert len(str(caught.value)) < 400


def test_any_object_can_be_a_schedule() -> None:
    start = datetime(2024, 1, 1, 12, tzinfo=UTC)
    dag = Dag("d", schedule=Odd(start, "x" * 1000))
    assert (dag.schedule_text, dag.start_text) == ("x" * 1000, "2024-01-01T12:00:00.000000Z")
    assert (Dag("d").schedule_text, Dag("d").start_text) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"catch_up": "yes"}, "catch_up takes True, False, a number or a timedelta, not str"),
        ({"catch_up": None}, "not NoneType"),
        ({"catch_up": -1}, "catch_up as a number"),
        ({"catch_up": timedelta(0)}, "catch_up as a duration"),
        ({"tags": "nightly"}, r"tags is the text 'nightly'; write tags=\['nightly'\]"),
        ({"tags": None}, "tags is None; it must be a list"),
        ({"tags": 5}, "tags is 5; it must be a list"),
        ({"tags": [1]}, "tag 1 is not a printable text of 1 to 100"),
        ({"tags": [[]]}, r"tag \[\] is not a printable text"),
        ({"tags": [""]}, "tag '' is not"),
        ({"tags": ["  "]}, "tag '  ' is not"),
        ({"tags": ["a\nb"]}, r"tag 'a\\nb' is not"),
        ({"tags": ["a\x00"]}, "is not a printable text"),
        ({"tags": ["\ud800"]}, "is not a printable text"),
        ({"tags": ["a" * 101]}, "is not a printable text"),
        ({"tags": [f"t{i}" for i in range(101)]}, "has 101 tags; at most 100"),
        ({"max_active_runs": 0}, "max_active_runs is 0; it must be a number from 1 to 100000"),
        ({"max_active_runs": 100_001}, "max_active_runs is 100001"),
        ({"max_active_runs": "3"}, "max_active_runs is '3'"),
        ({"max_active_runs": None}, "max_active_runs is None"),
        ({"max_active_runs": True}, "max_active_runs is True"),
        ({"max_active_runs": 2.5}, "max_active_runs is 2.5"),
        ({"params": 5}, "params=5 is not a class"),
        ({"params": int}, "params=int must be a dataclass or a msgspec.Struct"),
    ],
)
def test_a_wrong_argument_of_a_dag_gets_one_sentence(arguments: dict[str, Any], advice: str) -> None:
    with pytest.raises(DagError, match=rf"^dag 'd'.*{advice}"):
        Dag("d", **arguments)


def test_arguments_at_their_limits_are_possible() -> None:
    dag = Dag("d", tags=[f"{i:0100}" for i in range(100)], max_active_runs=100_000, catch_up=0)
    assert (len(dag.tags), dag.max_active_runs, dag.catch_up) == (100, 100_000, 0)
    assert Dag("d", max_active_runs=1, tags=["a"]).tags == ("a",)
    assert Dag("d", tags=["b", "a", "b"]).tags == ("b", "a")
    assert Dag("d", tags={"b", "c", "a"}).tags == ("a", "b", "c")


def test_a_sentence_about_a_value_stays_short_whatever_the_value() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    for wrong in ("x" * 10_000_000, Hostile(), list(range(100_000))):
        with pytest.raises(DagError) as caught:
            Dag("d", max_active_runs=wrong)  # type: ignore[arg-type]  # that is the mistake
        assert len(str(caught.value)) < 250


# --- TaskConfig -----------------------------------------------------------------------------------------

YEAR = timedelta(days=366)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": None},
        {"timeout": TICK},
        {"timeout": YEAR},
        {"retries": 0},
        {"retries": 1},
        {"retries": 1000},
        {"retry_delay": timedelta(0)},
        {"retry_delay": timedelta(days=1)},
        {"retry_delay": YEAR, "retry_delay_max": YEAR},
        {"retry_delay_max": timedelta(0)},
        {"retry_backoff": 1},
        {"retry_backoff": 100.0},
        {"retry_jitter": 0},
        {"retry_jitter": 1.0},
        {"runner": "process"},
        {"runner": "pool"},
        {"runner": "thread"},
        {"runner": "async"},
        {"runner": None},
        {"at_most_once": True},
        {"alert_on_failure": False, "alert_on_retry": True},
        {"notifier": SimpleNamespace(send=print)},
        {"failure_template": "{task_id}"},
    ],
    ids=str,
)
def test_a_task_config_within_its_limits(fields: dict[str, Any]) -> None:
    with Dag("d") as dag:
        task(id="f", **fields)(lambda: 1)()
    assert dag.configs["f"] == TaskConfig(**fields)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"timeout": timedelta(0)}, "timeout is 0s; .*above zero"),
    ({"timeout": -TICK}, "timeout is"),
    ({"timeout": YEAR + TICK}, "timeout is .*at most 366 days"),
    ({"timeout": 5}, r"timeout is 5; .*write timedelta\(seconds=5\)"),
    ({"timeout": 0.5}, r"timeout is 0.5; .*write timedelta\(seconds=0.5\)"),
    ({"timeout": "5s"}, "timeout is '5s'; it must be a timedelta"),
    ({"retries": -1}, "retries is -1; it must be a whole number from 0 to 1,000"),
    ({"retries": 1001}, "retries is 1001"),
    ({"retries": "3"}, "retries is '3'"),
    ({"retries": None}, "retries is None"),
    ({"retries": 1.0}, "retries is 1.0"),
    ({"retries": True}, "retries is True"),
    ({"retry_delay": None}, "retry_delay is None; it must be a timedelta"),
    ({"retry_delay": 30}, r"retry_delay is 30; .*write timedelta\(seconds=30\)"),
    ({"retry_delay": -TICK}, "retry_delay is -0.001ms; .*not below zero"),
    ({"retry_delay": timedelta(days=2)}, "retry_delay is 2d and retry_delay_max only 1d; give a larger"),
    ({"retry_delay_max": None}, "retry_delay_max is None"),
    ({"retry_delay_max": YEAR + TICK}, "retry_delay_max is"),
    (
        {"retry_delay": TICK, "retry_delay_max": timedelta(0)},
        "retry_delay is 0.001ms and retry_delay_max only 0s",
    ),
    ({"retry_backoff": 0.99}, "retry_backoff is 0.99; it must be a factor from 1 to 100"),
    ({"retry_backoff": 100.1}, "retry_backoff"),
    ({"retry_backoff": float("nan")}, "retry_backoff is nan"),
    ({"retry_backoff": float("inf")}, "retry_backoff is inf"),
    ({"retry_backoff": "2"}, "retry_backoff is '2'"),
    ({"retry_backoff": True}, "retry_backoff is True"),
    ({"retry_jitter": -0.1}, "retry_jitter is -0.1; it must be a share from 0 to 1"),
    ({"retry_jitter": 1.1}, "retry_jitter is 1.1"),
    ({"retry_jitter": float("nan")}, "retry_jitter is nan"),
    ({"retry_jitter": None}, "retry_jitter is None"),
    ({"alert_on_failure": "no"}, "alert_on_failure is 'no'; it must be True or False"),
    ({"alert_on_retry": 1}, "alert_on_retry is 1"),
    ({"at_most_once": None}, "at_most_once is None"),
    ({"notifier": "mail"}, "notifier is 'mail'; it must be an object with a method `send`"),
    ({"notifier": Odd}, "notifier is"),
    (
        {"runner": "threads"},
        "runner is 'threads'; it must be one of process, pool, thread, async, dask, ray,",
    ),
    ({"runner": []}, r"runner is \[\]"),
    ({"at_most_once": True, "retries": 1}, "at_most_once=True cannot have retries"),
    ({"failure_template": ""}, "failure_template: "),
    ({"failure_template": None}, "failure_template: "),
    ({"failure_template": "{nonsense}"}, "failure_template: .*nonsense"),
    ({"retry_template": "{task_id"}, "retry_template: "),
]


@pytest.mark.parametrize(("fields", "sentence"), WRONG, ids=str)
def test_a_wrong_option_gets_one_sentence_that_names_the_task(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DagError, match=f"^(a task with )?{sentence}"):
        TaskConfig(**fields)
    for make in (
        lambda: task(**fields)(one.fn),
        lambda: task(one.fn, **fields),
        lambda: one.with_options(**fields),
        lambda: Node(Step("one"), **fields),
    ):
        with pytest.raises(DagError, match=f"^task 'one': (a task with )?{sentence}"):
            make()


@pytest.mark.parametrize(
    ("name", "advice"), [("retry", "did you mean 'retr"), ("cpu", "it knows alert_on_failure")]
)
def test_an_unknown_option_is_refused_with_the_known_ones(name: str, advice: str) -> None:
    options: Any = {name: 1}
    for make in (lambda: task(**options)(one.fn), lambda: Node(Step("one"), **options)):
        with pytest.raises(DagError, match=f"^task 'one': a task has no option '{name}'; {advice}"):
            make()


def test_options_override_single_fields_of_the_dags_default_and_a_config_all_of_them() -> None:
    default = TaskConfig(retries=2, alert_on_retry=True, timeout=None)
    with Dag("d", config=default) as dag:
        one()
        two.with_options(retries=5)(1)
        Node(Step("whole"), TaskConfig(retries=7))
        Node(Step("both"), TaskConfig(retries=7), retries=8)
    assert dag.configs["one"] is default
    assert dag.configs["two"] == TaskConfig(retries=5, alert_on_retry=True, timeout=None)
    assert dag.configs["whole"] == TaskConfig(retries=7)
    assert dag.configs["both"] == TaskConfig(retries=8)
    assert [spec.retries for spec in dag.graph.tasks] == [2, 5, 7, 8]
    assert [spec.timeout for spec in dag.graph.tasks] == [None, None, 600.0, 600.0]


def test_options_that_do_not_fit_the_dags_default_name_the_task_and_the_dag() -> None:
    words = "task 'one' of dag 'd': a task with at_most_once=True cannot have"
    with pytest.raises(DagError, match=words), Dag("d", config=TaskConfig(retries=2)):
        one.with_options(at_most_once=True)()
    with pytest.raises(
        DagError, match="task 'a' of dag 'd': retry_delay is 20s and retry_delay_max only 10s"
    ):
        Dag(
            "d",
            Node(Step("a"), retry_delay=timedelta(seconds=20)),
            config=TaskConfig(retry_delay_max=timedelta(seconds=10)),
        )


def test_a_notifier_that_cannot_be_hashed_is_no_trouble() -> None:
    @dataclass
    class Unhashable:
        channel: str

        def send(self, template: str, data: object) -> None: ...

    with Dag("d", config=TaskConfig(notifier=Unhashable("a"))) as dag:
        one.with_options(notifier=Unhashable("b"))() >> two.with_options(retries=1)(1)
    assert dag.configs["one"].notifier == Unhashable("b")
    assert dag.configs["two"].notifier == Unhashable("a")
    assert re.fullmatch("[0-9a-f]{16}", dag.version)


def test_fixed_and_cron_are_taken_as_they_are() -> None:
    fixed = Fixed(datetime(2024, 3, 11, 12, tzinfo=UTC), timedelta(seconds=10))
    dag = Dag("hello", step("a"), schedule=fixed)
    assert (dag.schedule, dag.schedule_text) == (fixed, "FixedSchedule: 10s")
    assert dag.start_text == "2024-03-11T12:00:00.000000Z"
