"""One attempt as every runner makes it:
resolve   the task of this grant in the registry, and its context    (else REFUSED, with a sentence)
run       task.execute(ctx); what is awaitable is awaited
classify  the result as JSON → SUCCESS; any exception → FAILED; later than the deadline → TIMED_OUT
conclude  which code ran; the end into the log, the outcome to the sink
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import msgspec

from ppacer.clock import SystemClock, mono
from ppacer.dag import BoundTask, Dag, Registry, RunInfo, Task, TaskContext, values
from ppacer.dag.task import CancelSignal
from ppacer.executor.runner import Outcome, Sink
from ppacer.executor.words import error_text, last_record, strip, timeout_text, with_details
from ppacer.notify import Sender
from ppacer.protocol import End, Grant

task_logger = logging.getLogger("ppacer.task")
now = SystemClock().now


class Refusal(Exception):  # noqa: N818 - not an error of the task: it is not started
    """The attempt cannot be made here; the sentence says why."""


def execute(
    grant: Grant,
    registry: Registry,
    notifier: Sender,
    signal: CancelSignal,
    deadline: float | None,
    *,
    is_interrupted: bool = False,
) -> Outcome:
    """Runs one attempt in this thread. Raises nothing, unless a signal handler does.

    `is_interrupted`: a handler will, at the deadline; then nothing else has to end a coroutine.
    """
    try:
        task, ctx, body_hash = resolve(grant, registry, notifier, signal, deadline)
    except Refusal as refusal:
        return Outcome(End.REFUSED, str(refusal), begun=False, is_unfit=True)
    try:
        value = task.execute(ctx)
        if value is not None and inspect.isawaitable(value):
            value = _wait_for(value, None if is_interrupted else ctx.remaining())
        outcome = Outcome(End.SUCCESS, result=values.encode(value), body_hash=body_hash)
    except BaseException as error:  # whatever a task raises, SystemExit included, is its failure
        outcome = Outcome(End.FAILED, error_text(error), body_hash=body_hash)
    return on_time(grant, outcome, deadline)


async def execute_on_loop(
    grant: Grant, registry: Registry, notifier: Sender, signal: CancelSignal, deadline: float | None
) -> Outcome:
    """Runs one attempt of an `async def` task on the running loop. Raises nothing."""
    try:
        task, ctx, body_hash = resolve(grant, registry, notifier, signal, deadline)
        if not is_async(task):
            raise Refusal(f"task {grant.task_id!r} is no `async def`; the runner 'async' takes no other")
    except Refusal as refusal:
        return Outcome(End.REFUSED, str(refusal), begun=False, is_unfit=True)
    try:
        outcome = Outcome(End.SUCCESS, result=values.encode(await task.execute(ctx)), body_hash=body_hash)
    except BaseException as error:  # SystemExit must not reach the loop: it would end it for all
        outcome = Outcome(End.FAILED, error_text(error), body_hash=body_hash)
    return on_time(grant, outcome, deadline)


def resolve(
    grant: Grant, registry: Registry, notifier: Sender, signal: CancelSignal, deadline: float | None
) -> tuple[Task, TaskContext, str]:
    """The task of a grant, what it will know, and the hash of its code. Raises Refusal."""
    dag = registry.get(grant.dag_id)
    if dag is None:
        raise Refusal(f"there is no dag {grant.dag_id!r} here")
    node = dag.nodes.get(grant.task_id)
    if node is None:
        raise Refusal(f"dag {grant.dag_id!r} has no task {grant.task_id!r} any more, or not yet")
    _check_inputs(dag, node.task, grant)
    ctx = TaskContext(
        run=RunInfo(grant.dag_id, grant.exec_ts, grant.run_id, _params(dag, grant), grant.trigger),
        task_id=grant.task_id,
        retry=grant.retry,
        attempt_token=grant.token,
        logger=task_logger,
        notifier=dag.configs[grant.task_id].notifier or notifier,
        deadline=deadline,
        remaining=_remaining(deadline),
        cancel_signal=signal,
        results=grant.results,
        parents=_parents(dag, grant.task_id) | grant.results.keys(),
    )
    return node.task, ctx, dag.bodies[grant.task_id].hash


def conclude(grant: Grant, outcome: Outcome, sink: Sink, registry: Registry | None = None) -> None:
    """Tells the sink that an attempt has ended, and its log how, unless that was success.

    `registry`: the code that ran, where that is known for sure, see `with_code`.
    """
    outcome = with_code(grant, outcome, registry)
    if outcome.end is not End.SUCCESS:
        sink.log([last_record(grant, outcome, now().utc)])
    sink.done(grant, outcome)


def with_code(grant: Grant, outcome: Outcome, registry: Registry | None) -> Outcome:
    """The outcome of an attempt that has begun, with the hash of its code also if it could not tell that."""
    dag = None if registry is None else registry.get(grant.dag_id)
    if outcome.body_hash is not None or not outcome.begun or dag is None or grant.task_id not in dag.nodes:
        return outcome
    return msgspec.structs.replace(outcome, body_hash=dag.bodies[grant.task_id].hash)


def read_code(registry: Registry) -> None:
    """Reads the source of all tasks, to be done soon after the import: the file may change.

    An attempt has to tell the hash of its code, and every child would read it anew.
    """
    for dag in registry.values():
        _ = dag.bodies


def is_async(task: Task) -> bool:
    """Whether executing the task gives a coroutine."""
    code: Callable[..., Any] = task.function.fn if isinstance(task, BoundTask) else task.execute
    return inspect.iscoroutinefunction(code)


def on_time(grant: Grant, outcome: Outcome, deadline: float | None) -> Outcome:
    """The outcome, unless it comes after the deadline: that is a timeout, whatever the task made of it."""
    if deadline is None or mono() <= deadline:
        return outcome
    words = with_details(timeout_text(grant.timeout), outcome.error)
    return Outcome(End.TIMED_OUT, words, body_hash=outcome.body_hash)


def _parents(dag: Dag, task_id: str) -> set[str]:
    graph = dag.graph
    return {graph.tasks[at].id for at in graph.tasks[graph.index[task_id]].parents}


def _check_inputs(dag: Dag, task: Task, grant: Grant) -> None:
    """A missing result is None, if it can only mean that the parent returned nothing."""
    if not isinstance(task, BoundTask) or not task.arguments:
        return
    missing = task.inputs().difference(grant.results)
    if missing and (stranger := min(missing - _parents(dag, task.id), default=None)):
        raise Refusal(
            f"the arguments of task {task.id!r} do not fit: it needs the result of {stranger!r}, "
            "which is not upstream of it"
        )


def _params(dag: Dag, grant: Grant) -> Any:
    try:
        return dag.params.load(grant.params)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise Refusal(f"the parameters of the run do not fit dag {dag.id!r} as it is now: {error}") from error


def _remaining(deadline: float | None) -> Callable[[], float | None]:
    if deadline is None:
        return lambda: None
    return lambda: deadline - mono()


def _wait_for(value: Awaitable[Any], seconds: float | None) -> Any:
    """What the awaitable gives within so many seconds: a coroutine can be ended in every runner.

    A SystemExit that ends the event loop, and no code of the task, is told where the coroutine waited.
    """
    import asyncio  # it takes 20 ms and makes every fork dearer; many programs have no use for it

    trace: TracebackType | None = None

    async def within() -> Any:
        nonlocal trace
        try:
            async with asyncio.timeout(seconds):
                return await value
        except asyncio.CancelledError as error:
            trace = error.__traceback__
            raise

    try:
        return asyncio.run(within())
    except SystemExit as error:
        if strip(error.__traceback__) is not None:
            raise
        raise error.with_traceback(trace) from None
