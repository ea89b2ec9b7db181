"""What can travel between tasks, and how it looks when it arrives."""

import json
import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppacer.dag import values
from ppacer.errors import ResultError

MIB = 1024 * 1024


class Level(IntEnum):
    HIGH = 3


class Kind(StrEnum):
    A = "a"


class OddText(str):
    def __str__(self) -> str:
        return "something else"


class OddFloat(float):
    """Such as numpy's float64."""


class OddInt(int):
    pass


@dataclass
class Point:
    x: int
    when: datetime | None = None


class Row(msgspec.Struct):
    id: int
    tags: set[str] = set()


class Typed(TypedDict):
    a: int


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
@settings(max_examples=200)
def test_json_values_arrive_as_they_were(value: Any) -> None:
    text = values.encode(value)
    if value is None:
        assert text is None
    else:
        assert text is not None
        assert values.decode(text) == value
        assert type(values.decode(text)) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ü", '"ü"'),
        ({"b": 1, "a": 2}, '{"b":1,"a":2}'),  # in the order of the task
        ((1, 2), "[1,2]"),
        ({5}, "[5]"),
        (b"\xff", '"/w=="'),
        (bytearray(b"\xff"), '"/w=="'),
        (datetime(2024, 1, 2, 3, tzinfo=UTC), '"2024-01-02T03:00:00Z"'),
        (datetime(2024, 1, 2, 3), '"2024-01-02T03:00:00"'),  # noqa: DTZ001 - also without a zone
        (date(2024, 1, 2), '"2024-01-02"'),
        (timedelta(seconds=90), '"PT90S"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.10"), '"1.10"'),
        (Level.HIGH, "3"),
        (Kind.A, '"a"'),
        (Point(1), '{"x":1,"when":null}'),
        (Row(1, {"a"}), '{"id":1,"tags":["a"]}'),
        ({1: "a", Kind.A: "b"}, '{"1":"a","a":"b"}'),
        (Path("/a"), '"/a"'),
        (PurePosixPath("b"), '"b"'),
        (OddText("plain"), '"plain"'),
        (OddFloat(1.5), "1.5"),
        (OddInt(7), "7"),
        (deque([1, 2]), "[1,2]"),
        (range(3), "[0,1,2]"),
        (OrderedDict(a=1), '{"a":1}'),
        (defaultdict(list, a=[1]), '{"a":[1]}'),
        (Counter("aab"), '{"a":2,"b":1}'),
        (2**100, "1267650600228229401496703205376"),
        (-0.0, "-0.0"),
        (0, "0"),
        (False, "false"),
        ("", '""'),
        ([], "[]"),
    ],
)
def test_a_result_has_this_json(value: Any, text: str) -> None:
    assert values.encode(value) == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "not JSON"),
        (math.inf, "not JSON"),
        ({"a": [-math.inf]}, "not JSON"),
        (OddFloat("nan"), "not JSON"),
        (
            object(),
            "a value of type object cannot be passed between tasks: JSON has no form for the type object",
        ),
        (
            [1, 1j],
            "a value of type list cannot be passed between tasks: JSON has no form for the type complex",
        ),
        (print, "JSON has no form for the type builtin_function_or_method"),
        (int, "JSON has no form for the type type"),
        ((i for i in "ab"), "generator; make it a list"),
        ({}.items(), "dict_items; make it a list"),
        (Fraction(1, 3), "JSON has no form for the type Fraction"),
        ({(1, 2): 3}, "Only dicts with str-like or number-like keys"),
        ({None: 3}, "Only dicts with str-like or number-like keys"),
        ("\ud800", "the result holds text that is no Unicode"),
        ({"\udc80": 1}, "no Unicode"),
        ([10**5000], "not JSON"),
    ],
)
def test_what_is_not_json_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ResultError, match=words) as caught:
        values.encode(value)
    assert str(caught.value).isprintable()


def test_an_object_that_raises_when_it_is_looked_at_is_refused() -> None:
    class Broken(int):
        def __int__(self) -> int:
            raise RuntimeError("broken")

    with pytest.raises(ResultError, match="a value of type Broken cannot be passed between tasks: broken"):
        values.encode(Broken(1))


def test_a_result_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    loop: dict[str, Any] = {}
    loop["again"] = loop
    for value in (deep, loop):
        with pytest.raises(ResultError, match="recursion"):
            values.encode(value)
    while deep:  # taken apart by hand: freeing it would recurse as well
        deep = deep.pop()


def test_deep_nesting_that_could_be_written_can_be_read_back_or_is_a_result_error() -> None:
    depth = sys.getrecursionlimit() // 2
    text = "[" * depth + "]" * depth
    value = json.loads(text)
    assert values.decode(values.encode(value) or "") == value
    with pytest.raises(ResultError, match="cannot be read back"):
        values.decode("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ResultError, match="cannot be read back"):
        values.decode("{")


def test_one_mib_is_possible_and_one_byte_more_is_not() -> None:
    assert values.RESULT_BYTES_MAX == MIB
    assert len(values.encode("a" * (MIB - 2)) or "") == MIB
    with pytest.raises(
        ResultError, match="the result has 1,048,577 bytes and the limit is 1,048,576; write large"
    ):
        values.encode("a" * (MIB - 1))
    assert values.encode("ü" * (MIB // 2 - 1)) is not None
    with pytest.raises(ResultError, match="1,048,578 bytes"):  # bytes count, not characters
        values.encode("ü" * (MIB // 2))


@pytest.mark.parametrize(("limit", "fits"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_limit_can_be_set(limit: int, fits: bool) -> None:
    if fits:
        assert values.encode("", limit) == '""'
    else:
        with pytest.raises(ResultError, match="the result has 2 bytes"):
            values.encode("", limit)


@pytest.mark.parametrize(
    ("plain", "annotation", "seen"),
    [
        ([1], list[int], [1]),
        ({"a": 1}, Typed, {"a": 1}),
        ({"x": 1, "when": "2024-01-02T03:00:00Z"}, Point, Point(1, datetime(2024, 1, 2, 3, tzinfo=UTC))),
        ({"id": 1, "tags": ["a"]}, Row, Row(1, {"a"})),
        ({"1": [{"id": 1}]}, dict[int, list[Row]], {1: [Row(1)]}),
        ("2024-01-02", date, date(2024, 1, 2)),
        ("PT90S", timedelta, timedelta(seconds=90)),
        ("1.10", Decimal, Decimal("1.10")),
        (3, Level, Level.HIGH),
        ("/a", Path, Path("/a")),
        (None, int | None, None),
        ({"a": 1}, "no such type", {"a": 1}),
        ({"a": 1}, 5, {"a": 1}),
        ({"a": 1}, Exception, {"a": 1}),
        ([{"a": 1}], list[Exception], [{"a": 1}]),
        ({"e": {"a": 1}}, dict[str, tuple[Exception, ...]], {"e": {"a": 1}}),
        (5, list[int] | tuple[int], 5),  # a union that msgspec cannot tell apart
    ],
)
def test_plain_values_become_the_declared_type(plain: Any, annotation: Any, seen: Any) -> None:
    converted = values.convert(plain, annotation, "it")
    assert converted == seen
    assert type(converted) is type(seen)


@dataclass(frozen=True)
class Inner:
    a: int = 1
    b: str = "x"


@dataclass
class Outer:
    inner: Inner
    also: dict[str, list[Inner]]
    c: int = 3


@dataclass(slots=True)
class Slotted:
    a: int = 1


class Holder(msgspec.Struct):
    outer: Outer
    slotted: Slotted
    children: list["Holder"] = []


def test_what_was_converted_can_be_passed_on_whole() -> None:
    plain = {"outer": {"inner": {"a": 2}, "also": {"k": [{}]}}, "slotted": {}}
    holder = values.convert({**plain, "children": [plain]}, Holder, "it")
    inner = {"inner": {"a": 2, "b": "x"}, "also": {"k": [{"a": 1, "b": "x"}]}, "c": 3}
    whole = {"outer": inner, "slotted": {"a": 1}}
    assert values.decode(values.encode(holder) or "") == whole | {"children": [whole | {"children": []}]}


class Tree(msgspec.Struct):
    value: int
    children: "list[Tree]" = []


def test_types_that_hold_themselves_are_judged() -> None:
    good = {"value": 1, "children": [{"value": 2}]}
    assert values.convert(good, Tree, "it") == Tree(1, [Tree(2)])
    with pytest.raises(ResultError, match=r"it does not fit its annotation: .*\$.children\[0\].value"):
        values.convert({"value": 1, "children": [{"value": "x"}]}, Tree, "it")


def test_a_class_that_refuses_its_values_is_a_result_error_whatever_it_raises() -> None:
    @dataclass
    class Picky:
        a: int

        def __post_init__(self) -> None:
            raise KeyError("not this one")

    with pytest.raises(ResultError, match=r"it does not fit its annotation: .*not this one"):
        values.convert({"a": 1}, Picky, "it")


def test_constants_have_one_order_in_every_process() -> None:
    words = [f"w{i}" for i in range(50)]
    assert values.constant(set(words)) == values.constant(frozenset(reversed(words))) == sorted(words)
    assert values.constant(Row(1, set(words))) == {"id": 1, "tags": sorted(words)}
    assert values.constant({frozenset("ba"), frozenset("dc")}) == [["a", "b"], ["c", "d"]]
