"""What a task is: the protocol, its configuration, and the context it gets when it runs."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from ppacer.choices import LABEL_WORDS, LABELS_MAX, RUNNERS, is_label
from ppacer.clock import ZERO, in_words
from ppacer.dag import values
from ppacer.dag.check import is_whole, shown
from ppacer.dag.fingerprint import digest
from ppacer.errors import DagError, PpacerError
from ppacer.notify import DEFAULT_FAILURE_TEMPLATE, DEFAULT_RETRY_TEMPLATE, Sender, check_template

RETRIES_MAX = 1_000
SPAN_MAX = timedelta(days=366)  # twice of it (with jitter) after now is still a date
SPAN = f"a timedelta of at most {SPAN_MAX.days} days"


class Task(Protocol):
    """One step of a dag: anything with an id and an `execute`. An exception means failure."""

    @property
    def id(self) -> str: ...

    def execute(self, ctx: "TaskContext") -> Any: ...


def _is_span(value: object) -> bool:
    return isinstance(value, timedelta) and ZERO <= value <= SPAN_MAX


def _is_number(value: object, low: int, high: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_sender(value: object) -> bool:
    return callable(getattr(value, "send", None)) and not isinstance(value, type)


def _are_labels(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) <= LABELS_MAX and all(map(is_label, value))


# A field of TaskConfig, whether a value is possible, and the words for what is.
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("timeout", lambda x: x is None or (_is_span(x) and x > ZERO), f"{SPAN} and above zero, or None"),
    ("retries", lambda x: is_whole(x) and 0 <= x <= RETRIES_MAX, f"a whole number from 0 to {RETRIES_MAX:,}"),
    ("retry_delay", _is_span, f"{SPAN}, not below zero"),
    ("retry_backoff", lambda x: _is_number(x, 1, 100), "a factor from 1 to 100"),
    ("retry_delay_max", _is_span, f"{SPAN}, not below zero"),
    ("retry_jitter", lambda x: _is_number(x, 0, 1), "a share from 0 to 1"),
    ("alert_on_failure", _is_bool, "True or False"),
    ("alert_on_retry", _is_bool, "True or False"),
    ("notifier", lambda x: x is None or _is_sender(x), "an object with a method `send`, or None"),
    ("runner", lambda x: x is None or x in RUNNERS, f"one of {', '.join(RUNNERS)}, or None"),
    ("at_most_once", _is_bool, "True or False"),
    ("labels", _are_labels, f"a list of at most {LABELS_MAX} words; {LABEL_WORDS}"),
)


def _refusal(name: str, value: object, want: str) -> str:
    seconds = SPAN in want and isinstance(value, int | float) and not isinstance(value, bool)
    advice = f"; write timedelta(seconds={value})" if seconds else ""
    written = in_words(value) if isinstance(value, timedelta) else shown(value)
    return f"{name} is {written}; it must be {want}{advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """How one task is run; the defaults are those of the original.

    `timeout` is the limit of one attempt (None: no limit). After a failure up to `retries` more attempts
    follow, the n-th after `retry_delay * retry_backoff**(n-1)`, at most `retry_delay_max`, made longer by
    a share of at most `retry_jitter` (0.2 = up to 20 %), which depends on the identity of the attempt only.
    `at_most_once`: an attempt whose end is unknown is not repeated. `runner` is one of `RUNNERS`; None
    leaves the choice to the executor. Only an executor that carries all `labels` gets the task.
    """

    timeout: timedelta | None = timedelta(seconds=600)
    retries: int = 0
    retry_delay: timedelta = ZERO
    retry_backoff: float = 1.0
    retry_delay_max: timedelta = timedelta(days=1)
    retry_jitter: float = 0.0
    alert_on_failure: bool = True
    alert_on_retry: bool = False
    notifier: Sender | None = None
    failure_template: str = DEFAULT_FAILURE_TEMPLATE
    retry_template: str = DEFAULT_RETRY_TEMPLATE
    runner: str | None = None
    at_most_once: bool = False
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, is_right, want in _RULES:
            if not is_right(getattr(self, name)):
                raise DagError(_refusal(name, getattr(self, name), want))
        object.__setattr__(self, "labels", tuple(sorted(set(self.labels))))
        if self.retry_delay_max < self.retry_delay:
            raise DagError(
                f"retry_delay is {in_words(self.retry_delay)} and retry_delay_max only "
                f"{in_words(self.retry_delay_max)}; give a larger retry_delay_max too"
            )
        if self.at_most_once and self.retries:
            raise DagError("a task with at_most_once=True cannot have retries: a retry is a second execution")
        for name in ("failure_template", "retry_template"):
            try:
                check_template(getattr(self, name))
            except PpacerError as error:
                raise DagError(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The dag run an attempt belongs to. `trigger` says who started it: `schedule`, `manual`, `backfill`."""

    dag_id: str
    exec_ts: datetime
    run_id: int
    params: Any = None
    trigger: str = "schedule"


@runtime_checkable
class CancelSignal(Protocol):
    """Says whether somebody wants the attempt to end; `threading.Event` is one."""

    def is_set(self) -> bool: ...


def _no_limit() -> float | None:
    return None


@dataclass(slots=True, kw_only=True)
class TaskContext:
    """What a task knows while it runs.

    `retry` counts the attempts of this task in this run: 0, 1, 2 …; `attempt_token` is a random text that
    no other attempt has, to be used as an idempotency key towards other systems. `logger` writes to the
    task log; use `extra={...}` for attributes. `deadline` is on the clock of `time.monotonic`, in seconds.
    """

    run: RunInfo
    task_id: str
    retry: int
    attempt_token: str
    logger: logging.Logger
    notifier: Sender
    deadline: float | None = None
    remaining: Callable[[], float | None] = _no_limit
    cancel_signal: CancelSignal | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    parents: Collection[str] | None = None  # None: not known, any name may be asked for

    @property
    def cancelled(self) -> bool:
        """True once the attempt was cancelled or is past its deadline; long loops ask this now and then."""
        if self.cancel_signal is not None and self.cancel_signal.is_set():
            return True
        left = self.remaining()
        return left is not None and left <= 0

    def result(self, task_id: str) -> Any:
        """What the parent task `task_id` returned, as plain JSON values; None when it returned nothing.

        Raises DagError for a task that is no parent of this one: its result may not be there yet.
        """
        if self.parents is not None and task_id not in self.parents:
            known = ", ".join(sorted(self.parents)[:10]) or "none"
            raise DagError(f"task {task_id!r} is no parent of {self.task_id!r}; its parents: {known}")
        text = self.results.get(task_id)
        return None if text is None else values.decode(text)


CONFIG_FIELDS = frozenset(field.name for field in fields(TaskConfig))


def check_options(task_id: str, options: Mapping[str, Any]) -> None:
    """Options are fields of TaskConfig; a wrong one is reported where it is written, with the task's id."""
    unknown = sorted(options.keys() - CONFIG_FIELDS)
    if unknown:
        from difflib import get_close_matches  # only to help with a typing error

        meant = get_close_matches(unknown[0], CONFIG_FIELDS, 1)
        advice = f"did you mean {meant[0]!r}?" if meant else f"it knows {', '.join(sorted(CONFIG_FIELDS))}"
        raise DagError(f"task {task_id!r}: a task has no option {unknown[0]!r}; {advice}")
    try:
        TaskConfig(**options)
    except DagError as error:
        raise DagError(f"task {task_id!r}: {error}") from error


def config_as_dict(config: TaskConfig) -> dict[str, Any]:
    """A TaskConfig as plain values, for `dagtasks.TaskConfig`; of a notifier only its type is kept."""
    plain: dict[str, Any] = {}
    for one in fields(config):
        name, value = one.name, getattr(config, one.name)
        if name == "notifier":
            value = None if value is None else type(value).__name__
        elif name.endswith("_template") and value == one.default:
            continue  # two long texts that say nothing about this task
        elif name == "labels" and not value:
            continue  # most tasks have none, and had their fingerprints before there were labels
        elif name in ("retry_backoff", "retry_jitter"):
            value = float(value)
        plain[name] = value.total_seconds() if isinstance(value, timedelta) else value
    return plain


def config_hash(config: TaskConfig) -> str:
    """The part of a fingerprint that a TaskConfig is."""
    try:
        return _config_hash(config)
    except TypeError:  # a notifier that cannot be hashed
        return _config_hash.__wrapped__(config)


def with_options(config: TaskConfig, options: Mapping[str, Any]) -> TaskConfig:
    """The same configuration with other values in some fields."""
    try:
        return _with_options(config, tuple(options.items()))
    except TypeError:
        return _with_options.__wrapped__(config, tuple(options.items()))


# Many dags have a few configurations, and to make or hash one takes 20 µs.
@lru_cache(maxsize=1024)
def _config_hash(config: TaskConfig) -> str:
    return digest(config_as_dict(config))


@lru_cache(maxsize=1024)
def _with_options(config: TaskConfig, options: tuple[tuple[str, Any], ...]) -> TaskConfig:
    return replace(config, **dict(options))
