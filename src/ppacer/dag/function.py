"""`@task`: a function becomes a task; calling it inside a dag places it there."""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ppacer.dag import values
from ppacer.dag.node import Node, open_dag
from ppacer.dag.task import TaskConfig, TaskContext
from ppacer.errors import DagError

CONFIG_FIELDS = frozenset(TaskConfig.__dataclass_fields__)


class Ref(msgspec.Struct, frozen=True):
    """Stands in an argument for the result of another task."""

    task_id: str


class TaskFunction:
    """A function that can be placed in dags; called outside a dag it is the plain function."""

    def __init__(self, fn: Callable[..., Any], id: str | None = None, **options: Any) -> None:
        unknown = sorted(options.keys() - CONFIG_FIELDS)
        if unknown:
            raise DagError(f"@task has no option {unknown[0]!r}; it knows {', '.join(sorted(CONFIG_FIELDS))}")
        TaskConfig(**options)  # a wrong value is reported where it is written
        self.fn = fn
        self.id = id or fn.__name__
        self.options = options
        self.signature = inspect.signature(fn)
        self.context_name = _context_parameter(self.signature)
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", self.id)
        self.__wrapped__ = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if open_dag() is None:
            return self.fn(*args, **kwargs)
        return self._place(args, kwargs)

    def with_options(self, *, id: str | None = None, **options: Any) -> "TaskFunction":
        """The same function under another id or with other options, to use it several times in a dag."""
        return TaskFunction(self.fn, id or self.id, **{**self.options, **options})

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        if self.context_name is not None and self.context_name in kwargs:
            raise DagError(f"task {self.id!r}: {self.context_name} is passed by ppacer, leave it out")
        try:
            bound = self._without_context().bind(*args, **kwargs)
        except TypeError as error:
            raise DagError(f"task {self.id!r} is called with wrong arguments: {error}") from None
        arguments = {name: _template(self.id, name, value) for name, value in bound.arguments.items()}
        node = Node(BoundTask(self, arguments), None, **self.options)
        for parent in dict.fromkeys(n for value in bound.arguments.values() for n in _nodes_in(value)):
            parent.next(node)
        return node

    def _without_context(self) -> inspect.Signature:
        parameters = [p for p in self.signature.parameters.values() if p.name != self.context_name]
        return self.signature.replace(parameters=parameters)


class BoundTask:
    """A task function with its arguments: constants as JSON values, results of other tasks as `Ref`."""

    __slots__ = ("arguments", "function", "id")

    def __init__(self, function: TaskFunction, arguments: dict[str, Any]) -> None:
        self.id = function.id
        self.function = function
        self.arguments = arguments

    def inputs(self) -> set[str]:
        """Ids of the tasks whose results the arguments need."""
        return {ref.task_id for ref in _refs_in(self.arguments)}

    def execute(self, ctx: TaskContext) -> Any:
        """Calls the function; for an `async def` this is the coroutine."""
        function = self.function
        hints = _hints(function.fn)
        filled = inspect.BoundArguments(function.signature, {})  # type: ignore[arg-type]  # an OrderedDict in typeshed
        for name in function.signature.parameters:
            if name == function.context_name:
                filled.arguments[name] = ctx
            elif name in self.arguments:
                plain = _fill(self.arguments[name], ctx.result)
                filled.arguments[name] = self._convert(name, plain, hints)
        return function.fn(*filled.args, **filled.kwargs)

    def _convert(self, name: str, plain: Any, hints: Mapping[str, Any]) -> Any:
        kind = self.function.signature.parameters[name].kind
        if name not in hints or kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            return plain
        return values.convert(plain, hints[name], f"argument {name!r} of task {self.id!r}")


def task(fn: Callable[..., Any] | None = None, /, *, id: str | None = None, **options: Any) -> Any:
    """Makes a function a task: `@task`, or `@task(id=…, retries=…, …)` with the fields of TaskConfig."""
    if fn is not None:
        return TaskFunction(fn, id, **options)
    return lambda fn: TaskFunction(fn, id, **options)


def _context_parameter(signature: inspect.Signature) -> str | None:
    """The parameter that gets the TaskContext: the one annotated with it, or one called `ctx`."""
    for parameter in signature.parameters.values():
        if parameter.annotation is TaskContext or parameter.annotation in ("TaskContext", "ppacer.TaskContext"):
            return parameter.name
    plain = signature.parameters.get("ctx")
    return "ctx" if plain is not None and plain.annotation is inspect.Parameter.empty else None


def _hints(fn: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # an annotation that cannot be evaluated is the user's decoration, not an error
        return {}


def _template(task_id: str, name: str, value: Any) -> Any:
    if isinstance(value, Node):
        return Ref(value.id)
    if isinstance(value, list | tuple):
        return [_template(task_id, name, item) for item in value]
    if isinstance(value, dict):
        return {key: _template(task_id, name, item) for key, item in value.items()}
    try:
        plain = values.to_builtins(value)
        values.dumps(plain)
    except DagError as error:
        raise DagError(f"task {task_id!r}: argument {name!r} is no constant that can be kept: {error}") from error
    return plain


def _nodes_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _nodes_in(item)


def _refs_in(template: Any) -> Iterator[Ref]:
    if isinstance(template, Ref):
        yield template
    elif isinstance(template, list | dict):
        for item in template.values() if isinstance(template, dict) else template:
            yield from _refs_in(item)


def _fill(template: Any, result: Callable[[str], Any]) -> Any:
    if isinstance(template, Ref):
        return result(template.task_id)
    if isinstance(template, list):
        return [_fill(item, result) for item in template]
    if isinstance(template, dict):
        return {key: _fill(item, result) for key, item in template.items()}
    return template
