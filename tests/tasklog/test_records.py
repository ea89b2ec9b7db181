"""Whatever a task logs can be stored, within limits, and ordinary text is stored as it is."""

import json
import math
from collections import UserDict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.clock import to_text
from ppacer.tasklog import LEVELS, MESSAGE_BYTES_MAX, LogRecord
from ppacer.tasklog.records import VALUES_MAX, entries_of, row_of, storable
from tasklog.samples import AT, EXEC_TS, record

ANY_TEXT = st.text(st.characters(), max_size=300) | st.text("\0a\ud800\udcff€", max_size=300)
ODD = st.sampled_from([object(), b"\xff", {1, 2}, 3 + 4j, math.nan, math.inf, 10**30, Path("/x"), LogRecord])
ATTRIBUTES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | ODD,
    lambda values: (
        st.lists(values, max_size=4) | st.dictionaries(ANY_TEXT | st.integers(), values, max_size=4)
    ),
    max_leaves=20,
)


def stored(attributes: Any) -> Any:
    """What comes back for these attributes of a record."""
    [(columns, _)], invalid = entries_of([record(attributes=attributes)])
    assert invalid == 0
    return row_of((*columns, 1)).attributes


@given(ANY_TEXT, st.integers(100, 400))
def test_any_text_can_be_stored_within_its_limit(text: str, limit: int) -> None:
    kept = storable(text, limit)
    assert len(kept.encode("utf-8")) <= limit
    assert "\0" not in kept
    assert storable(kept, limit) == kept


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert storable(text) == text


def test_nul_and_lone_surrogates_are_spelled_out() -> None:
    assert storable("a\0b\udcffc") == r"a\x00b\udcffc"


@pytest.mark.parametrize("character", ["x", "€", "😀", "\0", "\udcff"])
def test_a_message_is_cut_only_when_it_is_longer_than_the_limit(character: str) -> None:
    width = len(storable(character).encode())
    fits = character * (MESSAGE_BYTES_MAX // width)
    assert storable(fits) == storable(character) * (MESSAGE_BYTES_MAX // width)
    cut = storable(fits + character)
    assert cut.endswith(f"… [cut: the whole had {len(fits) + 1} characters]")
    assert cut.startswith(storable(character) * 10)
    assert MESSAGE_BYTES_MAX - 4 <= len(cut.encode()) <= MESSAGE_BYTES_MAX


def test_a_gigantic_message_costs_no_more_than_its_limit() -> None:
    [(_, size)], _ = entries_of([record("x" * 10_000_000)])
    assert size < 4 * MESSAGE_BYTES_MAX


@given(st.dictionaries(ANY_TEXT | st.integers(), ATTRIBUTES, min_size=1, max_size=5))
def test_any_attributes_can_be_stored(attributes: Any) -> None:
    [(columns, _)], invalid = entries_of([record(attributes=attributes)])
    assert invalid == 0
    text = columns[-1]
    assert text is not None
    assert len(text.encode("utf-8")) <= MESSAGE_BYTES_MAX
    json.loads(text, parse_constant=pytest.fail)


def test_json_attributes_come_back_as_they_were() -> None:
    attributes = {"a": [1, -2.5, True, None, "é€😀"], "b": {"c": {}}, "d": 2**63 - 1}
    assert stored(attributes) == attributes


def test_what_is_no_json_becomes_its_text() -> None:
    odd = {
        "path": Path("/tmp"),
        "at": datetime(2024, 1, 1, tzinfo=UTC),
        "nan": math.nan,
        7: b"x",
        "big": 2**64,
    }
    assert stored(odd) == {
        "path": "/tmp",
        "at": "2024-01-01 00:00:00+00:00",
        "nan": "nan",
        "7": "b'x'",
        "big": str(2**64),
    }
    assert stored(UserDict({"a": (1, 2)})) == {"a": [1, 2]}


def test_attributes_that_fight_back_are_bounded() -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    knot: list[Any] = []
    knot.extend([knot, knot])
    assert stored({"a": Rude()}) == {"a": "<Rude: str() raised RuntimeError>"}
    assert "…" in str(stored({"a": knot}))
    kept = stored({"a": [0] * (VALUES_MAX + 1)})
    assert kept["a"][-1] == "…"
    assert len(kept["a"]) <= VALUES_MAX + 1


def test_attributes_beyond_the_limit_are_cut() -> None:
    kept = stored({"a": "x" * MESSAGE_BYTES_MAX})
    assert list(kept) == ["cut"]
    assert kept["cut"].startswith('{"a":"xxx')
    [(columns, _)], _ = entries_of([record(attributes={"a": '"' * MESSAGE_BYTES_MAX})])
    assert len(str(columns[-1])) <= MESSAGE_BYTES_MAX


def test_empty_attributes_are_none() -> None:
    assert stored({}) is None
    assert stored(None) is None


@pytest.mark.parametrize("level", LEVELS)
def test_known_levels_stay(level: str) -> None:
    assert entries_of([record(level=level)])[0][0][0][5] == level


@pytest.mark.parametrize(("given", "kept"), [("WARN", "WARNING"), ("FATAL", "CRITICAL"), ("chatty", "INFO")])
def test_other_levels_become_a_known_one(given: str, kept: str) -> None:
    assert entries_of([record(level=given)])[0][0][0][5] == kept


def test_times_are_stored_as_fixed_width_utc_text() -> None:
    (columns, _) = entries_of([record()])[0][0]
    assert (columns[1], columns[4]) == (to_text(EXEC_TS), to_text(AT))
    assert columns[1] == "2024-03-11T12:00:00.000000Z"


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "text",
        record(retry=-1),
        record(retry=2**31),
        record(retry="0"),
        record(message=cast(Any, b"bytes")),
        record(dag_id=None),
        record(at="now"),
        record(exec_ts=None),
        record(level=[]),
    ],
)
def test_what_is_no_record_is_counted_and_harms_no_neighbour(bad: Any) -> None:
    entries, invalid = entries_of([record("before"), bad, record("after")])
    assert [columns[6] for columns, _ in entries] == ["before", "after"]
    assert invalid == 1


def test_records_that_cannot_be_walked_raise_nothing() -> None:
    assert entries_of(None) == ([], 1)  # type: ignore[arg-type]  # that is what is tested


def test_neighbouring_attempts_are_told_apart() -> None:
    other = record(exec_ts=datetime(2025, 1, 1, tzinfo=UTC))
    given = [record(), record(retry=1), record(task_id="load"), record(dag_id="x"), other, record()]
    assert [row_of((*columns, 1)).exec_ts for columns, _ in entries_of(given)[0]] == [
        r.exec_ts for r in given
    ]
    assert [(*columns[:4:2], columns[3]) for columns, _ in entries_of(given)[0]] == [
        (r.dag_id, r.task_id, r.retry) for r in given
    ]


def test_attributes_edited_by_hand_can_still_be_read() -> None:
    columns = ("etl", to_text(EXEC_TS), "extract", 0, to_text(AT), "INFO", "hello")
    assert row_of((*columns, "{oops", 1)).attributes == {"text": "{oops"}
    assert row_of((*columns, "[1]", 1)).attributes == {"value": [1]}
