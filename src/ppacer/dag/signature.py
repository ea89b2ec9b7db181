"""How a task function is called: its parameters, the one that gets the context, its annotations."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import Any

from ppacer.dag import values
from ppacer.dag.check import shown
from ppacer.dag.task import TaskContext
from ppacer.errors import DagError

_NAMES_CONTEXT = re.compile(r"(^|[\s.|\[])TaskContext($|[\s|\],])")


class Signature:
    """The signature of a function, read once however many nodes are made of it."""

    __slots__ = ("_hints", "all", "context", "fn", "given")

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Raises DagError for what cannot be a task function."""
        _check_function(fn)
        try:
            self.all = inspect.signature(fn)
        except (ValueError, TypeError) as error:
            raise DagError(
                f"{shown(fn)} does not say which arguments it takes; wrap it in a function"
            ) from error
        self.fn = fn
        self.context = _context_parameter(fn, self.all)
        parameters = [p for p in self.all.parameters.values() if p.name != self.context]
        self.given = self.all.replace(parameters=parameters)
        self._hints: Mapping[str, Any] | None = None

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name, the context left out. Raises TypeError as a call would."""
        if self.context is not None and self.context in kwargs:
            raise TypeError(f"{self.context} is passed by ppacer, leave it out")
        return self.given.bind(*args, **kwargs).arguments

    def call(self, arguments: Mapping[str, Any], ctx: TaskContext) -> Any:
        """Calls the function with what `bind` gave, and with the context where it wants it."""
        filled = inspect.BoundArguments(self.all, {})  # type: ignore[arg-type,unused-ignore]  # any dict will do
        for name in self.all.parameters:
            if name == self.context:
                filled.arguments[name] = ctx
            elif name in arguments:
                filled.arguments[name] = arguments[name]
        return self.fn(*filled.args, **filled.kwargs)

    def convert(self, name: str, plain: Any, what: str) -> Any:
        """An argument as its parameter's annotation wants it."""
        hints = self.hints()
        if name not in hints:
            return plain
        parameter, hint = self.all.parameters[name], hints[name]
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return [values.convert(item, hint, what) for item in plain]
        if parameter.kind is Parameter.VAR_KEYWORD:
            return {key: values.convert(item, hint, what) for key, item in plain.items()}
        if plain is None and parameter.default is None:
            return None  # `rows: list[int] = None`
        return values.convert(plain, hint, what)

    def hints(self) -> Mapping[str, Any]:
        """The annotations that can be evaluated by now; what does not exist yet is tried again."""
        if self._hints is not None:
            return self._hints
        fn = _annotated(self.fn)
        try:
            self._hints = typing.get_type_hints(fn, include_extras=True)
            return self._hints
        except Exception:  # a name that only type checkers import must not spoil the others
            return _hints_one_by_one(fn)


def _check_function(fn: object) -> None:
    if isinstance(fn, str):
        raise DagError(f"@task needs a function, not the text {shown(fn)}; write @task(id={shown(fn)})")
    if isinstance(fn, type):
        raise DagError(
            f"@task is for functions; a class with `execute(ctx)` is placed as Node({fn.__name__}(…))"
        )
    if not callable(fn):
        raise DagError(f"@task needs a function, not {shown(fn)}")
    if hasattr(fn, "with_options"):
        raise DagError(f"{shown(fn)} is a task already; use its with_options(…)")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DagError(f"{shown(fn)} yields, so calling it would run nothing; return a list")


def _context_parameter(fn: Callable[..., Any], signature: inspect.Signature) -> str | None:
    """The parameter that gets the TaskContext: the one annotated with it, or one called `ctx`."""
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    parameters = [p for p in signature.parameters.values() if p.kind not in variable]
    names = getattr(inspect.unwrap(_annotated(fn)), "__globals__", {})
    for parameter in parameters:
        if _means_context(parameter.annotation, names):
            return parameter.name
    return next((p.name for p in parameters if p.name == "ctx" and p.annotation is Parameter.empty), None)


def _means_context(annotation: Any, names: Mapping[str, Any]) -> bool:
    """Also as text, under any name it was imported by, and inside of `| None` or Optional."""
    if isinstance(annotation, str):
        annotation = annotation.strip("'\" ")  # quoted, in a file with `from __future__ import annotations`
        return _NAMES_CONTEXT.search(annotation) is not None or names.get(annotation) is TaskContext
    return annotation is TaskContext or TaskContext in typing.get_args(annotation)


def _annotated(fn: Callable[..., Any]) -> Callable[..., Any]:
    """What bears the annotations: the function in a partial, the method of a callable object."""
    while isinstance(fn, partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) else type(fn).__call__


def _hints_one_by_one(fn: Callable[..., Any]) -> Mapping[str, Any]:
    names, hints = getattr(inspect.unwrap(fn), "__globals__", {}), {}
    for name, annotation in getattr(fn, "__annotations__", {}).items():
        with suppress(Exception):
            bearer = SimpleNamespace(__annotations__={name: annotation})
            hints.update(typing.get_type_hints(bearer, names, include_extras=True))
    return hints
