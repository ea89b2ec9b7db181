"""`@task`: placing, arguments, the context, execution. `run` does what every runner does with results."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import msgspec
import pytest

import ppacer
from ppacer.dag import BoundTask, Dag, Node, RunInfo, Task, TaskContext, TaskFunction, task, values
from ppacer.errors import DagError, ResultError
from ppacer.notify import MockSender


def context(task_id: str = "t", results: dict[str, str] | None = None) -> TaskContext:
    return TaskContext(
        run=RunInfo("d", datetime(2024, 1, 1, tzinfo=UTC), 1),
        task_id=task_id,
        retry=0,
        attempt_token="token",
        logger=logging.getLogger("test"),
        notifier=MockSender(),
        results=results or {},
    )


def run(dag: Dag) -> dict[str, Any]:
    """Every task in order, results through JSON as between processes; what each returned."""
    texts: dict[str, str] = {}
    returned: dict[str, Any] = {}
    for spec in dag.graph.tasks:
        parents = {dag.graph.tasks[at].id for at in spec.parents}
        visible = {key: text for key, text in texts.items() if key in parents}
        returned[spec.id] = dag.task(spec.id).execute(context(spec.id, visible))
        text = values.encode(returned[spec.id])
        if text is not None:
            texts[spec.id] = text
    return returned


def bound(dag: Dag, task_id: str) -> BoundTask:
    found = dag.task(task_id)
    assert isinstance(found, BoundTask)
    return found


@task
def one() -> int:
    return 1


@task
def add(a: int, b: int = 10) -> int:
    return a + b


# --- placing --------------------------------------------------------------------------------------------


def test_a_call_in_a_dag_makes_a_node_and_passing_it_makes_an_edge() -> None:
    with Dag("d") as dag:
        first = one()
        assert isinstance(first, Node)
        second = add(first, b=first)
    assert dag.graph.edges() == [("one", "add")]
    assert bound(dag, "add").inputs() == {"one"}
    assert bound(dag, "one").inputs() == set()
    assert second.task.id == "add"
    assert run(dag) == {"one": 1, "add": 2}


def test_passing_and_drawing_the_same_edge_is_one_edge() -> None:
    with Dag("d") as dag:
        first = one()
        first >> add(first)
    assert dag.graph.edges() == [("one", "add")]


def test_a_task_called_outside_a_dag_is_a_plain_call() -> None:
    assert add(1) == 11
    assert add(1, b=2) == 3
    with pytest.raises(TypeError):
        add()

    @task
    async def later(x: int) -> int:
        return x + 1

    assert asyncio.run(later(1)) == 2

    @task
    def with_context(ctx: TaskContext, x: int) -> str:
        return f"{ctx.task_id}{x}"

    assert with_context(context("me"), 3) == "me3"


def test_a_task_called_in_another_thread_is_not_in_the_dag() -> None:
    with Dag("d") as dag:
        assert asyncio.run(asyncio.to_thread(lambda: 5)) == 5
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(one()))
        thread.start()
        thread.join()
    assert (got, len(dag.graph)) == ([1], 0)


def test_an_async_task_is_executed_to_a_coroutine() -> None:
    @task
    async def later(x: int) -> int:
        return x + 1

    with Dag("d") as dag:
        later(1)
    assert asyncio.run(bound(dag, "later").execute(context())) == 2


def test_with_options_uses_one_function_several_times() -> None:
    again = add.with_options(id="again", retries=5)
    with Dag("d") as dag:
        add(again(one()))
    assert [spec.id for spec in dag.graph.tasks] == ["one", "again", "add"]
    assert (dag.configs["again"].retries, dag.configs["add"].retries) == (5, 0)
    assert run(dag)["add"] == 21
    assert again.with_options(retries=1).id == "again"
    assert dict(again.with_options(timeout=None).options) == {"retries": 5, "timeout": None}
    assert again.signature is add.signature, "a function is looked at once"


def test_a_task_looks_like_its_function() -> None:
    @task(id="other")
    def documented() -> None:
        """What it does."""

    assert (documented.__name__, documented.__doc__) == ("documented", "What it does.")
    assert documented.__module__ == __name__
    assert repr(documented) == "TaskFunction(other)"
    assert isinstance(documented, TaskFunction)


def test_the_public_names_are_the_same_objects() -> None:
    assert (ppacer.task, ppacer.Dag, ppacer.TaskContext) == (task, Dag, TaskContext)


def test_both_kinds_of_tasks_keep_the_protocol() -> None:
    tasks: list[Task] = []
    with Dag("d") as dag:
        one()
    tasks.append(dag.task("one"))
    assert tasks[0].id == "one"


class Loader:
    """Methods as tasks."""

    def __init__(self, table: str) -> None:
        self.table = table

    @task(retries=1)
    def load(self, rows: list[int], ctx: TaskContext) -> str:
        return f"{self.table}:{rows}:{ctx.task_id}"

    @staticmethod
    @task
    def fixed(x: int) -> int:
        return x

    @task
    @staticmethod
    def turned(x: int) -> int:
        return -x

    @task
    def plain(self) -> str:
        return self.table


def test_methods_are_tasks_too() -> None:
    loader = Loader("users")
    assert loader.plain() == "users"
    with Dag("d") as dag:
        loader.load([1])
        Loader("orders").load.with_options(id="orders")([2])
        loader.fixed(3)
        Loader.turned(4)
    assert run(dag) == {"load": "users:[1]:load", "orders": "orders:[2]:orders", "fixed": 3, "turned": -4}
    assert dag.configs["load"].retries == dag.configs["orders"].retries == 1
    assert Loader.load.id == "load"


def test_partials_lambdas_callables_and_wrapped_functions() -> None:
    def twice(fn: Callable[..., int]) -> Callable[..., int]:
        @wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> int:
            return 2 * fn(*args, **kwargs)

        return wrapper

    @task
    @twice
    def doubled(x: int) -> int:
        return x

    @dataclass
    class Callable_:  # noqa: N801
        factor: int

        def __call__(self, x: date) -> str:
            return f"{x:%d.%m.}{self.factor}"

    with Dag("d") as dag:
        first = doubled(4)
        task(partial(add.fn, 5), id="partial")(b=first)
        task(lambda x: x + 1, id="lambda")(first)
        task(Callable_(3), id="callable")(date(2024, 2, 1))
        task(len, id="builtin")([1, 2])
    assert run(dag) == {"doubled": 8, "partial": 13, "lambda": 9, "callable": "01.02.3", "builtin": 2}


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: task("extract"), r"not the text 'extract'; write @task\(id='extract'\)"),  # type: ignore[call-overload]
        (lambda: task(5), "needs a function, not 5"),  # type: ignore[call-overload]  # that is the mistake
        (lambda: task(Loader), r"a class with `execute\(ctx\)` is placed as Node\(Loader\(…\)\)"),
        (lambda: task(one), r"TaskFunction\(one\) is a task already; use its with_options"),
        (lambda: task(lambda: 1), r"has no name of its own; write task\(…, id='…'\)"),
        (lambda: task(partial(print)), "has no name of its own"),
        (lambda: task(max, id="f"), "does not say which arguments it takes"),
        (lambda: task(i for i in "ab"), "needs a function"),  # type: ignore[call-overload]
    ],
)
def test_what_cannot_be_a_task_says_what_to_write(make: Callable[[], Any], advice: str) -> None:
    with pytest.raises(DagError, match=advice):
        make()


def test_functions_that_yield_are_refused_because_they_would_do_nothing() -> None:
    with pytest.raises(DagError, match="yields, so calling it would run nothing; return a list"):

        @task
        def rows() -> Any:
            yield 1

    with pytest.raises(DagError, match="yields"):

        @task
        async def more() -> Any:
            yield 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (add, "missing a required argument: 'a'"),
        (lambda: add(1, 2, 3), "too many positional arguments"),
        (lambda: add(1, c=3), "got an unexpected keyword argument 'c'"),
        (lambda: add(1, a=3), "multiple values for argument 'a'"),
        (lambda: task(lambda ctx: 1, id="add")(ctx=5), "ctx is passed by ppacer, leave it out"),
        (lambda: task(lambda ctx: 1, id="add")(5), "too many positional arguments"),
    ],
)
def test_wrong_arguments_at_definition_name_the_task(call: Callable[[], Any], words: str) -> None:
    with (
        Dag("d") as dag,
        pytest.raises(DagError, match=f"^task 'add' is called with wrong arguments: {words}"),
    ):
        call()
    assert len(dag.graph) == 0


# --- constants ------------------------------------------------------------------------------------------


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    at: datetime | None = None


@task
def same(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, None),
        (True, True),
        (1, 1),
        (2**64, 2**64),
        (-(2**200), -(2**200)),
        (1.5, 1.5),
        ("ü\u2028\x00", "ü\u2028\x00"),
        ("\udc80", "\udc80"),  # a file name that is no UTF-8
        ([1, (2, [3])], [1, [2, [3]]]),
        ({"a": {"b": [1]}}, {"a": {"b": [1]}}),
        ({1: "a", date(2024, 1, 2): "b"}, {"1": "a", "2024-01-02": "b"}),
        ({"c", "a", "b"}, ["a", "b", "c"]),
        (frozenset({3, 1}), [1, 3]),
        ({"a", 1, None}, ["a", 1, None]),
        (b"\x00\xff", "AP8="),
        (date(2024, 1, 2), "2024-01-02"),
        (Path("/a/b"), "/a/b"),
        ([Path("/a")], ["/a"]),
        (Color.RED, "red"),
        (Point(1), {"x": 1, "at": None}),
        (range(3), [0, 1, 2]),
    ],
)
def test_constants_are_kept_as_json_values(value: Any, seen: Any) -> None:
    with Dag("d") as dag:
        same(value)
    assert bound(dag, "same").execute(context()) == seen
    assert len(dag.version) == 16


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "JSON has no form for the type object"),
        (float("nan"), "not JSON"),
        ([float("inf")], "not JSON"),
        ({"a": [1j]}, "JSON has no form for the type complex"),
        ([10**5000], "not JSON"),
        (one, r"TaskFunction\(one\) is not a value; was it meant to be called\?"),
        (print, "was it meant to be called"),
        (int, "was it meant to be called"),
        ((i for i in "ab"), "JSON has no form for the type generator; make it a list"),
        ({}.keys(), "make it a list"),
        ({(1, 2): 3}, "Only dicts with str-like or number-like keys"),
        ({1: "a", "1": "b"}, "two keys of a dict are the same text in JSON"),
        (Exception("x"), "JSON has no form for the type Exception"),
    ],
)
def test_an_argument_that_is_no_constant_names_task_and_argument(value: Any, words: str) -> None:
    with Dag("d"), pytest.raises(DagError, match=f"^task 'same': argument 'value' cannot be used: .*{words}"):
        same(value)


def test_arguments_that_are_nested_without_end_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with Dag("d"), pytest.raises(DagError, match="task 'same': argument 'value' is nested too deeply"):
        same(loop)


def test_nodes_in_sets_and_dataclasses_are_refused() -> None:
    with Dag("d"):
        node = one()
        with pytest.raises(DagError, match=r"argument 'value' cannot be used: .*Node"):
            same({node})
        with pytest.raises(DagError, match=r"argument 'value' cannot be used: .*Node"):
            same(Point(node))


def test_nodes_stand_in_lists_and_dicts_of_arguments() -> None:
    @task
    def collect(*parts: Any, **named: Any) -> Any:
        return [parts, named]

    with Dag("d") as dag:
        a, b, c = one(), add(1), add.with_options(id="c")(2)
        collect([a, (b, {"x": [c]})], 7, key={"deep": {"er": a}}, other="const")
    assert bound(dag, "collect").inputs() == {"one", "add", "c"}
    assert {edge for edge in dag.graph.edges() if edge[1] == "collect"} == {
        (x, "collect") for x in ("one", "add", "c")
    }
    seen = run(dag)["collect"]
    assert seen == [([1, [11, {"x": [12]}]], 7), {"key": {"deep": {"er": 1}}, "other": "const"}]


def test_a_task_cannot_change_its_constants_for_the_next_attempt() -> None:
    @task
    def greedy(rows: list[Any], named: dict[str, Any]) -> int:
        rows.append(1)
        named["new"] = rows
        return len(rows)

    @task
    def greedy_too(rows, named):  # type: ignore[no-untyped-def]  # without annotations nothing is converted
        rows[0].append(1)
        named["a"]["new"] = 1
        return len(rows[0])

    with Dag("d") as dag:
        greedy([], {})
        greedy_too([[]], {"a": {}})
    for _ in range(3):
        assert run(dag) == {"greedy": 1, "greedy_too": 1}


def test_defaults_are_used_when_nothing_is_given() -> None:
    @task
    def defaults(a: Any = Point(5), *, b: Any = Path("x")) -> Any:  # noqa: B008
        return (a, b)

    with Dag("d") as dag:
        defaults()
    assert bound(dag, "defaults").execute(context()) == (Point(5), Path("x"))


# --- conversion to annotations --------------------------------------------------------------------------


class Row(msgspec.Struct):
    id: int
    name: str = "?"


class Foreign:
    """A class of which JSON knows nothing."""


@pytest.mark.parametrize(
    ("annotation", "given", "seen"),
    [
        (list[int], [1, 2], [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[str], ["a"], {"a"}),
        (dict[int, str], {1: "a"}, {1: "a"}),
        (dict[date, int], {date(2024, 1, 2): 1}, {date(2024, 1, 2): 1}),
        (float, 3, 3.0),
        (date, date(2024, 1, 2), date(2024, 1, 2)),
        (datetime, datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)),
        (bytes, b"\xff", b"\xff"),
        (Path, Path("/a"), Path("/a")),
        (list[Path], [Path("/a")], [Path("/a")]),
        (Path | None, None, None),
        (Optional[Point], Point(1), Point(1)),  # noqa: UP045
        (Point, {"x": 1}, Point(1)),
        (Row, {"id": 1}, Row(1)),
        (list[Row], [{"id": 1}, Row(2, "b")], [Row(1), Row(2, "b")]),
        (Color, Color.RED, Color.RED),
        (Any, {"a": 1}, {"a": 1}),
        (object, {"a": 1}, {"a": 1}),
        (Foreign, {"a": 1}, {"a": 1}),
        (list[Foreign], [1], [1]),
        (Sequence[int], [1, 2], [1, 2]),
        (Foreign | int | None, {"a": 1}, {"a": 1}),
        ("not a type at all !", 5, 5),
    ],
)
def test_arguments_are_converted_to_their_annotation(annotation: Any, given: Any, seen: Any) -> None:
    def receive(value: Any) -> Any:
        return value

    receive.__annotations__["value"] = annotation
    with Dag("d") as dag:
        task(receive, id="constant")(given)
        task(receive, id="passed")(same(given))
    assert run(dag) == {"constant": seen, "same": values.to_builtins(given), "passed": seen}
    assert type(run(dag)["passed"]) is type(seen)


@pytest.mark.parametrize(
    ("annotation", "given", "words"),
    [
        (int, "3", "Expected `int`, got `str`"),
        (int, None, "Expected `int`, got `null`"),
        (list[int], [1, "x"], r"Expected `int`, got `str` - at `\$\[1\]`"),
        (Row, {"name": "x"}, "Object missing required field `id`"),
        (date, "yesterday", "Invalid"),
        (Color, "blue", "Invalid enum value"),
        (Path, 5, "Expected"),
    ],
)
def test_a_value_of_the_wrong_type_names_argument_and_task(annotation: Any, given: Any, words: str) -> None:
    def receive(rows: Any) -> Any:
        return rows

    receive.__annotations__["rows"] = annotation
    with Dag("d") as dag:
        task(receive)(same(given))
        with pytest.raises(DagError, match=f"^task 'early': argument 'rows' cannot be used: .*{words}"):
            task(receive, id="early")(given)
    results = {} if given is None else {"same": str(values.encode(given))}
    with pytest.raises(
        ResultError, match=f"^argument 'rows' of task 'receive' does not fit its annotation: {words}"
    ):
        dag.task("receive").execute(context("receive", results))


def test_star_arguments_are_converted_one_by_one() -> None:
    @task
    def many(*rows: Row, **named: date) -> Any:
        return rows, named

    with Dag("d") as dag:
        many({"id": 1}, Row(2), day=date(2024, 1, 2))
        with pytest.raises(DagError, match="argument 'rows' cannot be used"):
            many.with_options(id="wrong")(5)
    assert bound(dag, "many").execute(context()) == ((Row(1), Row(2)), {"day": date(2024, 1, 2)})


def test_none_for_a_default_of_none_is_no_mistake() -> None:
    @task
    def implicit(rows: list[int] = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013
        return rows

    with Dag("d") as dag:
        implicit(None)
        implicit.with_options(id="passed")(same(None))
    assert run(dag) == {"implicit": None, "same": None, "passed": None}


def test_a_name_that_only_type_checkers_import_does_not_spoil_the_others() -> None:
    def receive(row: "Row", odd: "Unknown", ctx: "TaskContext") -> Any:  # type: ignore[name-defined]  # noqa: F821
        return row, odd, ctx.task_id

    with Dag("d") as dag:
        task(receive)(Row(1), {"a": 1})
    assert bound(dag, "receive").execute(context()) == (Row(1), {"a": 1}, "t")


def test_a_name_that_is_defined_later_is_found_when_the_task_runs() -> None:
    names: dict[str, Any] = {"task": task}
    exec("@task\ndef receive(row: 'Late'): return row", names)
    with Dag("d") as dag:
        names["receive"]({"id": 1})
    names["Late"] = Row
    assert bound(dag, "receive").execute(context()) == Row(1)


# --- the context ----------------------------------------------------------------------------------------

HEADS = [
    ("ctx", "ctx: TaskContext, a, b"),
    ("ctx", "a, ctx: TaskContext, b"),
    ("ctx", "a, b, ctx: TaskContext"),
    ("context", "a, b, context: TaskContext"),
    ("ctx", "a, b, *, ctx: TaskContext"),
    ("ctx", "a, b, *, ctx: TaskContext = None"),
    ("ctx", "a, b, ctx: TaskContext = None"),
    ("ctx", "ctx, a, b"),
    ("ctx", "a, b, ctx"),
    ("ctx", "a, b, *, ctx"),
    ("ctx", "a, b, ctx=None"),
    ("ctx", "ctx, /, a, b"),
    ("ctx", "a, /, b, ctx"),
    ("ctx", "a, ctx: 'TaskContext', b"),
    ("ctx", "a, ctx: 'ppacer.TaskContext', b"),
    ("ctx", "a, ctx: 'ppacer.dag.TaskContext', b"),
    ("ctx", "a, ctx: Missing.TaskContext, b"),
    ("c", "a, c: 'TaskContext | None', b"),
    ("c", "a, c: Optional[TaskContext], b"),
    ("c", "a, c: 'Optional[TaskContext]', b"),
    ("c", "a, c: TaskContext | None, b"),
    ("c", "a, c: Renamed, b"),
    ("c", "a, c: 'Renamed', b"),
    ("c", "a, b, *more, c: TaskContext, **named"),
]


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"], ids=["", "future"])
@pytest.mark.parametrize(("name", "head"), HEADS)
def test_the_context_is_passed_wherever_the_function_asks_for_it(name: str, head: str, future: str) -> None:
    names: dict[str, Any] = {"TaskContext": TaskContext, "Optional": Optional, "Renamed": TaskContext}
    if not future:
        names["Missing"] = SimpleNamespace(TaskContext=TaskContext)
    exec(f"{future}def f({head}): return a, b, {name}", names)
    with Dag("d") as dag:
        task(names["f"])(1, same([2]))
    ctx = context("f", {"same": "[2]"})
    assert dag.task("f").execute(ctx) == (1, [2], ctx)


@pytest.mark.parametrize(
    ("head", "seen"),
    [
        ("a", {}),
        ("a, *ctx", {"ctx": ()}),
        ("a, **ctx", {"ctx": {}}),
        ("a, ctx: int = 5", {"ctx": 5}),
        ("a, text: 'MyTaskContexts' = 5", {"text": 5}),
    ],
)
def test_a_function_that_does_not_ask_gets_no_context(head: str, seen: dict[str, Any]) -> None:
    names: dict[str, Any] = {}
    exec(f"def f({head}): return locals()", names)
    with Dag("d") as dag:
        task(names["f"])(1)
    assert dag.task("f").execute(context()) == {"a": 1, **seen}


def test_the_context_gives_results_of_other_tasks_by_id() -> None:
    ctx = context(results={"a": '{"x":[1,2]}', "null": "null"})
    assert ctx.result("a") == {"x": [1, 2]}
    ctx.result("a")["x"].append(3)
    assert ctx.result("a") == {"x": [1, 2]}, "each caller gets its own"
    assert ctx.result("null") is None
    assert ctx.result("b") is None


def test_cancelled_is_true_after_a_signal_and_after_the_deadline() -> None:
    quiet, set_ = threading.Event(), threading.Event()
    set_.set()
    for signal, left, cancelled in (
        (None, None, False),
        (quiet, None, False),
        (set_, None, True),
        (quiet, 0.1, False),
        (quiet, 0.0, True),
        (None, -1.0, True),
        (set_, 0.1, True),
    ):
        ctx = context()
        ctx.cancel_signal, ctx.remaining = signal, partial(lambda left: left, left)
        assert ctx.cancelled is cancelled
