"""Versions: identical code, identical version; every change flips exactly the right hash."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ppacer
from ppacer.dag import Dag, Node, TaskConfig, config_as_dict, task
from ppacer.dag.fingerprint import digest
from ppacer.schedule import Cron, Fixed

PROGRAM = """
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Literal
from ppacer.dag import *
from ppacer.schedule import *

class Color(Enum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Params:
    names: frozenset[str] = frozenset({"a", "b", "c", "d"})
    colors: set[Color] = field(default_factory=set)
    kind: Literal["x", "y", "z"] = "x"
    limit: int = 5

@dataclass
class Given:
    words: set[str]

@dataclass
class Print:
    id: str
    message: str = "hello"
    words: list[str] = field(default_factory=lambda: ["a", "b"])
    lock: object = field(default_factory=object)
    def execute(self, ctx): print(self.message)

@task(retries=2, timeout=timedelta(seconds=1))
def extract(ctx, words=(), named=None): return 1

@task
def load(rows): return rows

with Dag("etl", schedule=Cron("15 3 * * *", tz="Europe/Warsaw"), tags={"x", "y", "z"}, params=Params) as etl:
    a = extract({"q", "w", "e", "r", "t"}, named={"k": frozenset("xyz"), "g": Given({"1", "2", "3"})})
    load([a, {"x": a}]) >> [Node(Print("p")), Node(Print("q", "bye"))]
new_year = datetime(2024, 1, 1, tzinfo=timezone.utc)
fixed = Dag("fixed", Node(Print("p")), schedule=Fixed(new_year, timedelta(hours=1)))
for dag in (etl, fixed):
    print(dag.version, dag.hash_meta, dag.hash_tasks, dag.graph.to_json(), sorted(dag.bodies.items()))
"""


def test_the_same_program_has_the_same_version_in_every_process(tmp_path: Path) -> None:
    outputs = set()
    for seed, folder in (("0", "one"), ("1", "two"), ("4242", "three")):
        file = tmp_path / folder / "program.py"
        file.parent.mkdir()
        file.write_text(PROGRAM)
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path(ppacer.__file__).parent.parent),
        }
        done = subprocess.run(
            [sys.executable, file], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop()) > 500


@task
def extract(limit: int = 5) -> list[int]:
    return [limit]


@task
def load(rows: list[int]) -> None: ...


@task
def clean() -> None: ...


@dataclass
class Print:
    id: str
    message: str = "hello"
    secret: str = field(default="", repr=False)

    def execute(self, ctx: object) -> None: ...


@dataclass
class Params:
    limit: int = 5


@dataclass
class OtherParams:
    limit: int = 6


@dataclass
class Mail:
    def send(self, template: str, data: object) -> None: ...


@dataclass
class Chat(Mail):
    pass


def etl(
    draw: Callable[..., Any] = lambda a, b, c: b >> c,
    extract: Any = extract,
    clean: Any = clean,
    given: tuple[Any, ...] = (),
    more: Callable[[], Any] = lambda: None,
    **arguments: Any,
) -> Dag:
    with Dag("etl", **{"schedule": Cron("@daily"), **arguments}) as dag:
        a = extract(*given)
        b = load(a)
        draw(a, b, clean())
        more()
    return dag


def hashes(dag: Dag) -> tuple[str, str, str]:
    return dag.hash_meta, dag.hash_tasks, dag.version


def test_identical_code_is_an_identical_version() -> None:
    assert hashes(etl()) == hashes(etl())
    assert [len(text) for text in hashes(etl())] == [64, 64, 16]
    assert int(etl().version, 16) >= 0


def other_extract() -> Any:
    @task
    def extract(limit: int = 5) -> list[int]:
        return [limit, limit]

    return extract


START = datetime(2024, 1, 1, tzinfo=UTC)
META: list[dict[str, Any]] = [
    {"schedule": Cron("@hourly")},
    {"schedule": Cron("@daily", tz="Europe/Warsaw")},
    {"schedule": Cron("@daily").starts(START)},
    {"schedule": None},
    {"schedule": Fixed(START, timedelta(hours=1))},
    {"catch_up": True},
    {"catch_up": 1},
    {"catch_up": 3},
    {"catch_up": timedelta(seconds=1)},
    {"tags": ["a"]},
    {"tags": ["a", "b"]},
    {"max_active_runs": 1},
    {"params": Params},
    {"params": OtherParams},
]
TASKS: list[dict[str, Any]] = [
    {"draw": lambda a, b, c: None},
    {"draw": lambda a, b, c: a >> c},
    {"draw": lambda a, b, c: c >> b},
    {"draw": lambda a, b, c: [a, b] >> c},
    {"more": clean.with_options(id="again")},
    {"more": lambda: Node(Print("print"))},
    {"more": lambda: Node(Print("print", "bye"))},
    {"more": lambda: Node(SimpleNamespace(id="print", execute=print, n=1))},
    {"more": lambda: Node(SimpleNamespace(id="print", execute=print, n=2))},
    {"clean": clean.with_options(id="wipe")},
    {"extract": other_extract()},
    {"given": (5,)},
    {"given": (6,)},
    {"config": TaskConfig(retries=1)},
    {"config": TaskConfig(runner="thread")},
    {"config": TaskConfig(notifier=Mail())},
    {"config": TaskConfig(notifier=Chat())},
    {"config": TaskConfig(failure_template="{task_id}")},
    {"config": TaskConfig(retry_template="{task_id}")},
    {"config": TaskConfig(alert_on_failure=False)},
    *(
        {"clean": clean.with_options(**options)}
        for options in (
            {"retries": 3},
            {"retries": 4},
            {"timeout": timedelta(seconds=1)},
            {"timeout": None},
            {"retry_delay": timedelta(seconds=1)},
            {"retry_backoff": 2},
            {"retry_delay_max": timedelta(hours=1)},
            {"retry_jitter": 0.5},
            {"alert_on_failure": False},
            {"alert_on_retry": True},
            {"runner": "pool"},
            {"at_most_once": True},
            {"notifier": Mail()},
            {"failure_template": "{dag_id}"},
        )
    ),
]


@pytest.mark.parametrize("number", range(len(META)))
def test_a_change_of_schedule_or_attributes_flips_the_meta_hash_only(number: int) -> None:
    meta, tasks, version = hashes(etl())
    changed = etl(**META[number])
    assert (changed.hash_meta != meta, changed.hash_tasks == tasks, changed.version != version) == (True,) * 3


@pytest.mark.parametrize("number", range(len(TASKS)))
def test_a_change_of_edges_configuration_or_code_flips_the_hash_of_tasks_only(number: int) -> None:
    meta, tasks, version = hashes(etl())
    changed = etl(**TASKS[number])
    assert (changed.hash_meta == meta, changed.hash_tasks != tasks, changed.version != version) == (True,) * 3


def test_all_these_versions_differ_from_each_other() -> None:
    versions = [etl(**changes).version for changes in ({}, *META, *TASKS)]
    assert len(set(versions)) == len(versions)


def test_another_id_is_another_version() -> None:
    assert Dag("a", Node(Print("p"))).version != Dag("b", Node(Print("p"))).version


def test_the_order_of_definition_does_not_matter() -> None:
    ordered = etl(draw=lambda a, b, c: b << c)
    with Dag("etl", schedule=Cron("@daily")) as other:
        c = clean()
        b = load(extract())
        c >> b
    assert list(other.nodes) != list(ordered.nodes)
    assert hashes(other) == hashes(ordered)


def test_options_equal_to_the_default_and_the_default_are_the_same_configuration() -> None:
    same = [
        etl(clean=clean.with_options(retries=0)),
        etl(clean=clean.with_options(retry_backoff=1)),
        etl(clean=clean.with_options(retry_backoff=1.0)),
        etl(config=TaskConfig()),
        etl(config=TaskConfig(retry_jitter=0)),
    ]
    assert {dag.version for dag in same} == {etl().version}


def test_a_default_for_all_and_the_option_for_each_are_the_same_configuration() -> None:
    options: dict[str, Any] = {"retries": 2}
    each = etl(
        extract=extract.with_options(**options),
        clean=clean.with_options(**options),
        config=TaskConfig(retries=2),
    )
    assert each.version == etl(config=TaskConfig(retries=2)).version


@pytest.mark.parametrize(
    "values", [(1, 2), (1, 1.0), (1, True), (None, ""), ([], {}), (["a"], "a"), ({"a": 1}, {"a": 2})]
)
def test_constants_that_differ_are_different_code(values: tuple[Any, Any]) -> None:
    take = task(lambda x: x, id="take")
    versions = set()
    for value in values:
        with Dag("d") as dag:
            take(value)
        versions.add(dag.version)
    assert len(versions) == 2


def test_the_order_of_keys_in_a_constant_does_not_matter() -> None:
    take = task(lambda x: x, id="take")
    versions = set()
    for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        with Dag("d") as dag:
            take(value)
        versions.add(dag.version)
    assert len(versions) == 1


def test_a_passed_result_and_a_constant_that_looks_like_it_differ() -> None:
    take = task(lambda x=None: x, id="take")
    with Dag("d") as passed:
        take(clean())
    with Dag("d") as constant:
        clean() >> take({"task_id": "clean"})
    assert passed.bodies["take"].hash != constant.bodies["take"].hash


def test_what_functools_partial_fills_in_is_code() -> None:
    import functools

    bodies = [
        functools.partial(extract.fn, 1),
        functools.partial(extract.fn, 2),
        functools.partial(extract.fn),
    ]
    versions = {etl(extract=task(fn, id="extract")).version for fn in bodies}
    assert len(versions) == 3


def test_attributes_that_are_secret_private_or_not_plain_do_not_count() -> None:
    class Odd:
        def __init__(self, **attributes: Any) -> None:
            self.id = "odd"
            self.__dict__.update(attributes)

        def execute(self, ctx: object) -> None: ...

    def version(thing: Any) -> str:
        return Dag("d", Node(thing)).version

    plain = version(Odd())
    assert version(Odd(_cache=1)) == version(Odd(lock=object())) == version(Odd(at=START)) == plain
    assert version(Print("p", secret="a")) == version(Print("p", secret="b"))
    assert (
        len(
            {
                plain,
                version(Odd(n=1)),
                version(Odd(n=2)),
                version(Odd(path=Path("a"))),
                version(Odd(m=[1, {"a": 2}])),
            }
        )
        == 5
    )


def test_the_configuration_as_plain_values() -> None:
    plain = config_as_dict(
        TaskConfig(timeout=timedelta(seconds=1.5), notifier=Mail(), failure_template="{task_id}")
    )
    assert plain == {
        "timeout": 1.5,
        "retries": 0,
        "retry_delay": 0.0,
        "retry_backoff": 1.0,
        "retry_delay_max": 86400.0,
        "retry_jitter": 0.0,
        "alert_on_failure": True,
        "alert_on_retry": False,
        "notifier": "Mail",
        "failure_template": "{task_id}",
        "runner": None,
        "at_most_once": False,
    }


def test_whole_numbers_and_fractions_of_one_value_have_one_text() -> None:
    whole, fraction = (
        TaskConfig(retry_backoff=2, retry_jitter=1),
        TaskConfig(retry_backoff=2.0, retry_jitter=1.0),
    )
    assert digest(config_as_dict(whole)) == digest(config_as_dict(fraction))


def test_the_attributes_as_plain_values() -> None:
    dag = Dag("d", tags=["a"], catch_up=timedelta(minutes=1), max_active_runs=3, params=Params)
    assert {key: value for key, value in dag.attributes.items() if key != "Params"} == {
        "CatchUp": 60.0,
        "Tags": ["a"],
        "MaxActiveRuns": 3,
    }
    assert dag.attributes["Params"]["$defs"]["Params"]["properties"] == {
        "limit": {"type": "integer", "default": 5}
    }
    assert Dag("d").attributes["Params"] is None


def test_a_digest_is_of_values_and_not_of_their_text() -> None:
    assert digest("a", "b") != digest("ab")
    assert digest(["a", "b"]) != digest("a", "b")
    assert digest(1) != digest("1")
    assert digest("\udc80") != digest("?")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    with pytest.raises(TypeError, match="is no part of a fingerprint"):
        digest(object())


def test_the_indentation_around_a_task_is_not_part_of_it() -> None:
    text = "@task\ndef extract(limit: int = 5) -> list[int]:\n    return [limit]\n"
    assert etl().bodies["extract"].source == text == textwrap.dedent(text)
