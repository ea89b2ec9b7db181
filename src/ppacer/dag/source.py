"""The source text of a task, so that one can see which code ran."""

import ast
import inspect
import linecache
import sys
import textwrap
from functools import lru_cache, partial
from typing import Any

SOURCE_CHARS_MAX = 200_000


def source_of(thing: Any) -> str:
    """Text of a function, method or class, without the indentation of its surroundings.

    Of a partial and of a function wrapped by decorators it is the innermost function; of a callable object
    its class. Empty where Python does not have it (typed into a prompt, made by `exec`, written in C).
    """
    return _source(code_of(thing))


def code_of(thing: Any) -> Any:
    """The function or class behind partials, methods, wrapping decorators and callable objects."""
    for _ in range(100):  # a wrapper that wraps itself must not hang the program
        inner = thing.func if isinstance(thing, partial) else getattr(thing, "__func__", None)
        inner = inner or vars(thing).get("__wrapped__") if hasattr(thing, "__dict__") else inner
        if inner is None:
            break
        thing = inner
    return thing if inspect.isroutine(thing) or isinstance(thing, type) else type(thing)


@lru_cache(maxsize=4096)  # 10,000 tasks of one class ask once
def _source(code: Any) -> str:
    try:
        text = _class_source(code) if isinstance(code, type) else inspect.getsource(code)
        return textwrap.dedent(text)[:SOURCE_CHARS_MAX]
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""


def _class_source(cls: type) -> str:
    """As inspect.getsource, which before Python 3.13 parses the whole file anew for every class in it."""
    file = inspect.getsourcefile(cls) or ""
    linecache.checkcache(file)
    lines = linecache.getlines(file, vars(sys.modules.get(cls.__module__, sys)))  # of a zip file too
    found = _classes("".join(lines)).get(cls.__qualname__)
    if not found:
        raise OSError(f"no source of {cls!r}")
    methods = [value.__code__.co_firstlineno for value in vars(cls).values() if inspect.isfunction(value)]
    first, last = next(  # the same class may be defined twice, below an `if`
        ((first, last) for first, last in found if any(first <= line <= last for line in methods)), found[-1]
    )
    return "".join(lines[first - 1 : last])


@lru_cache(maxsize=16)
def _classes(text: str) -> dict[str, list[tuple[int, int]]]:
    """First and last line of every class in a file, by qualified name."""
    found: dict[str, list[tuple[int, int]]] = {}
    todo: list[tuple[ast.AST, str]] = [(ast.parse(text), "")]
    while todo:
        node, prefix = todo.pop()
        if isinstance(node, ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found.setdefault(prefix + node.name, []).append((first, node.end_lineno or node.lineno))
            prefix += f"{node.name}."
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            prefix += f"{node.name}.<locals>."
        if not isinstance(node, ast.expr):  # an expression holds no class
            todo += [(child, prefix) for child in ast.iter_child_nodes(node)]
    return {name: sorted(places) for name, places in found.items()}
