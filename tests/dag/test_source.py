"""The source text that is kept of a task."""

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ppacer.dag import Dag, Node, TaskBody, task
from ppacer.dag.source import SOURCE_CHARS_MAX, source_of


def body(thing: Any) -> TaskBody:
    """The body of a task object, or of a function as a task that is called without arguments."""
    if hasattr(thing, "execute"):
        return Dag("d", Node(thing)).body(thing.id)
    with Dag("d") as dag:
        task(thing, id="t")()
    return dag.body("t")


def noisy(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


def plain() -> int:
    return 1


async def waits() -> int:
    return 2


@noisy
@noisy
def wrapped() -> int:
    return 3


def factory() -> Callable[..., Any]:
    def inner() -> int:
        # a comment inside
        return 4

    return inner


class Plain:
    id = "plain"

    def execute(self, ctx: object) -> int:
        return 5

    @task
    def method(self) -> int:
        return 6

    @staticmethod
    def static() -> int:
        return 7

    @classmethod
    def of_class(cls) -> int:
        return 8

    def __call__(self) -> int:
        return 9


@dataclass
class Decorated:
    id: str = "decorated"

    def execute(self, ctx: object) -> int:
        return 10


class Heir(Plain):
    id = "heir"


PLAIN_TEXT = "def plain() -> int:\n    return 1\n"


@pytest.mark.parametrize(
    ("thing", "name", "text"),
    [
        (plain, "plain", PLAIN_TEXT),
        (waits, "waits", "async def waits() -> int:\n    return 2\n"),
        (wrapped, "wrapped", "@noisy\n@noisy\ndef wrapped() -> int:\n    return 3\n"),
        (factory(), "inner", "def inner() -> int:\n    # a comment inside\n    return 4\n"),
        (Plain().method.fn, "method", "@task\ndef method(self) -> int:\n    return 6\n"),
        (Plain.static, "static", "@staticmethod\ndef static() -> int:\n    return 7\n"),
        (Plain.of_class, "of_class", "@classmethod\ndef of_class(cls) -> int:\n    return 8\n"),
        (functools.partial(functools.partial(plain)), "plain", PLAIN_TEXT),
        (functools.partial(wrapped), "wrapped", "@noisy\n@noisy\ndef wrapped() -> int:\n    return 3\n"),
    ],
)
def test_the_source_of_a_function_is_kept(thing: Any, name: str, text: str) -> None:
    kept = body(thing)
    assert (kept.type_name, kept.source) == (name, text)


def test_the_source_of_a_lambda_is_its_line() -> None:
    kept = body(lambda: 11)
    assert (kept.type_name, kept.source) == ("<lambda>", "kept = body(lambda: 11)\n")


def test_the_source_of_a_class_is_the_whole_class_with_its_decorators() -> None:
    kept = body(Decorated())
    assert kept.type_name == "Decorated"
    assert kept.source.startswith('@dataclass\nclass Decorated:\n    id: str = "decorated"\n')
    assert kept.source.endswith("return 10\n")


def test_the_source_of_a_callable_object_is_its_class() -> None:
    with Dag("d") as dag:
        task(functools.partial(Plain().__call__), id="bound")()
        task(SimpleCallable(), id="object")()
    assert dag.body("bound").type_name == "__call__"
    assert dag.body("object").type_name == "SimpleCallable"
    assert dag.body("object").source.startswith("class SimpleCallable:")


class SimpleCallable:
    __hash__ = None  # type: ignore[assignment]  # as a dataclass with __eq__ has it

    def __call__(self) -> int:
        return 1


def test_an_inherited_execute_is_kept_too() -> None:
    kept = body(Heir())
    assert kept.source.startswith('class Heir(Plain):\n    id = "heir"\n\n\ndef execute(')
    assert kept.source.endswith("return 5\n")


def test_an_execute_given_to_the_object_is_kept() -> None:
    def given(ctx: object) -> int:
        return 14

    kept = body(SimpleNamespace(id="x", execute=given))
    assert kept.source.endswith("def given(ctx: object) -> int:\n    return 14\n")


def test_a_class_in_a_function_is_kept() -> None:
    class Local:
        id = "local"

        def execute(self, ctx: object) -> int:
            return 12

    assert body(Local()).source.startswith('class Local:\n    id = "local"\n')


def test_code_without_source_is_no_trouble() -> None:
    names: dict[str, Any] = {}
    exec("def typed(): return 1\nclass Typed:\n  id = 'typed'\n  def execute(self, ctx): ...", names)
    made = type("Made", (), {"id": "made", "execute": lambda self, ctx: 13})()
    assert (body(names["typed"]).source, body(names["typed"]).type_name) == ("", "typed")
    assert (body(names["Typed"]()).source, body(names["Typed"]()).type_name) == ("", "Typed")
    assert body(made).type_name == "Made"
    assert "lambda self, ctx: 13" in body(made).source
    assert source_of(len) == source_of(int) == source_of(5) == source_of(None) == ""
    assert len(body(names["typed"]).hash) == 64


def test_a_wrapper_around_itself_does_not_hang() -> None:
    def loop() -> None: ...

    loop.__wrapped__ = loop  # type: ignore[attr-defined]  # a decorator gone wrong
    assert source_of(loop) == ""


def test_huge_sources_are_cut(module: Callable[[str], ModuleType]) -> None:
    lines = "\n".join(f"    x{i} = {i}" for i in range(30_000))
    kept = source_of(module(f"def huge():\n{lines}\n").huge)
    assert len(kept) == SOURCE_CHARS_MAX


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a text as a module of its own."""
    made: list[str] = []

    def load(text: str) -> ModuleType:
        name = f"dag_test_module_{len(made)}"
        file = tmp_path / f"{name}.py"
        file.write_text(text, "utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
        made.append(name)
        spec.loader.exec_module(loaded)
        return loaded

    yield load
    for name in made:
        del sys.modules[name]


def test_of_two_classes_with_one_name_the_right_one_is_kept(module: Callable[[str], ModuleType]) -> None:
    loaded = module(
        "class T:\n    def execute(self, ctx): return 'first'\n"
        "First = T\n"
        "if True:\n    class T:\n        def execute(self, ctx): return 'second'\n"
        "def f():\n    class T:\n"
        "        class U:\n            def execute(self, ctx): return 'third'\n    return T\n"
    )
    assert source_of(loaded.First) == "class T:\n    def execute(self, ctx): return 'first'\n"
    assert source_of(loaded.T) == "class T:\n    def execute(self, ctx): return 'second'\n"
    assert source_of(loaded.f().U) == "class U:\n    def execute(self, ctx): return 'third'\n"


def test_many_classes_in_one_file_are_found_by_reading_it_once(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ast

    loaded = module("\n".join(f"class T{i}:\n    def execute(self, ctx): return {i}\n" for i in range(300)))
    parsed: list[int] = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(len(text)) or parse(text))  # type: ignore[func-returns-value]
    for i in range(300):
        assert source_of(getattr(loaded, f"T{i}")) == f"class T{i}:\n    def execute(self, ctx): return {i}\n"
    assert len(parsed) <= 1


def test_a_source_file_that_is_gone_or_not_text_is_no_trouble(module: Callable[[str], ModuleType]) -> None:
    loaded = module("class T:\n    def execute(self, ctx): ...\ndef f(): ...\n")
    Path(loaded.__file__ or "").write_bytes(b"\x00 this is ( no python")
    assert isinstance(source_of(loaded.T), str)
    Path(loaded.__file__ or "").unlink()
    other = module("class T:\n    def execute(self, ctx): ...\n")
    Path(other.__file__ or "").unlink()
    assert isinstance(source_of(other.T), str)
