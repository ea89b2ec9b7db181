"""`@task`: a function becomes a task; calling it inside a dag places it there."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, overload

import msgspec

from ppacer.dag import values
from ppacer.dag.check import check_id, shown
from ppacer.dag.node import Node, open_dag
from ppacer.dag.signature import Signature
from ppacer.dag.task import TaskContext, check_options
from ppacer.errors import DagError

INT_MAX = 2**64  # larger numbers are looked at: Python refuses to write those of thousands of digits


class Ref(msgspec.Struct, frozen=True):
    """Stands in an argument for the result of another task."""

    task_id: str


class TaskFunction:
    """A function that can be placed in dags; called outside a dag it is the plain function."""

    fn: Callable[..., Any]
    id: str
    options: Mapping[str, Any]
    signature: Signature

    def __init__(self, fn: Callable[..., Any], id: str | None = None, **options: Any) -> None:
        self.signature = Signature(fn)
        self.fn = fn
        name = getattr(fn, "__name__", None)
        if id is None and (name is None or name == "<lambda>"):
            raise DagError(f"{shown(fn)} has no name of its own; write task(…, id='…')")
        self.__doc__ = fn.__doc__
        self.__name__ = name or str(id)
        self.__qualname__ = getattr(fn, "__qualname__", self.__name__)
        self.__module__ = getattr(fn, "__module__", __name__)
        self.__wrapped__ = fn
        self._take(name if id is None else id, options)

    def __repr__(self) -> str:
        return f"TaskFunction({self.id})"

    def __get__(self, instance: object, owner: type | None = None) -> "TaskFunction":
        """As a method: the same task with `self` filled in."""
        bind = getattr(self.fn, "__get__", None)
        if instance is None or bind is None:
            return self
        return TaskFunction(bind(instance, owner), self.id, **self.options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if open_dag() is None:
            return self.fn(*args, **kwargs)
        return self._place(args, kwargs)

    def with_options(self, *, id: str | None = None, **options: Any) -> "TaskFunction":
        """The same function under another id or with other options, to use it several times in a dag."""
        other = object.__new__(TaskFunction)
        other.__dict__.update(self.__dict__)
        other._take(self.id if id is None else id, {**self.options, **options})
        return other

    def _take(self, id: Any, options: dict[str, Any]) -> None:
        self.id = check_id("task", id)
        if options:
            check_options(self.id, options)
        self.options = MappingProxyType(options)

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        try:
            given = self.signature.bind(args, kwargs)
        except TypeError as error:
            raise DagError(f"task {self.id!r} is called with wrong arguments: {error}") from None
        parents: dict[Node, None] = {}
        arguments = {name: self._argument(name, value, parents) for name, value in given.items()}
        node = Node(BoundTask(self, arguments, [parent.id for parent in parents]))
        node._options = dict(self.options)  # checked by `_take`, not again for each of 10,000 nodes
        for parent in parents:
            parent.next(node)
        return node

    def _argument(self, name: str, value: Any, parents: dict[Node, None]) -> Any:
        """The template of an argument. A constant must fit its annotation now, not at three at night."""
        found: dict[Node, None] = {}
        try:
            template = _template(value, found)
            if not found:
                self.signature.convert(name, template, "it")
        except RecursionError:
            raise DagError(f"task {self.id!r}: argument {name!r} is nested too deeply") from None
        except DagError as error:
            raise DagError(f"task {self.id!r}: argument {name!r} cannot be used: {error}") from error
        parents.update(found)
        return template


class BoundTask:
    """A task function with its arguments: constants as JSON values, results of other tasks as `Ref`."""

    __slots__ = ("_inputs", "arguments", "function", "id")

    def __init__(self, function: TaskFunction, arguments: dict[str, Any], inputs: list[str]) -> None:
        self.id = function.id
        self.function = function
        self.arguments: Mapping[str, Any] = MappingProxyType(arguments)
        self._inputs = frozenset(inputs)

    def inputs(self) -> frozenset[str]:
        """Ids of the tasks whose results the arguments need."""
        return self._inputs

    def execute(self, ctx: TaskContext) -> Any:
        """Calls the function; for an `async def` this is the coroutine."""
        signature = self.function.signature
        arguments = {
            name: signature.convert(name, _fill(value, ctx.result), f"argument {name!r} of task {self.id!r}")
            for name, value in self.arguments.items()
        }
        return signature.call(arguments, ctx)


@overload
def task(fn: Callable[..., Any], /, *, id: str | None = None, **options: Any) -> TaskFunction: ...


@overload
def task(
    fn: None = None, /, *, id: str | None = None, **options: Any
) -> Callable[[Callable[..., Any]], TaskFunction]: ...


def task(fn: Callable[..., Any] | None = None, /, *, id: str | None = None, **options: Any) -> Any:
    """Makes a function a task: `@task`, or `@task(id=…, retries=…, …)` with the fields of TaskConfig."""
    if fn is not None:
        return TaskFunction(fn, id, **options)
    return lambda fn: TaskFunction(fn, id, **options)


def _template(value: Any, parents: dict[Node, None]) -> Any:
    """The argument as JSON values with `Ref`s in it; the nodes found go into `parents`."""
    kind = type(value)
    if kind is str or kind is bool or value is None or (kind is int and -INT_MAX < value < INT_MAX):
        return value
    if isinstance(value, Node):
        parents[value] = None
        return Ref(value.id)
    if isinstance(value, list | tuple):
        return [_template(item, parents) for item in value]
    if isinstance(value, dict):
        template = {_key(key): _template(item, parents) for key, item in value.items()}
        if len(template) < len(value):
            raise DagError("two keys of a dict are the same text in JSON")
        return template
    if callable(value):
        raise DagError(f"{shown(value)} is not a value; was it meant to be called?")
    return values.constant(value)


def _key(key: Any) -> str:
    return key if type(key) is str else next(iter(values.to_builtins({key: None})))


def _fill(template: Any, result: Callable[[str], Any]) -> Any:
    if isinstance(template, Ref):
        return result(template.task_id)
    if isinstance(template, list):
        return [_fill(item, result) for item in template]
    if isinstance(template, dict):
        return {key: _fill(item, result) for key, item in template.items()}
    return template
