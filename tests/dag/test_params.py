"""Declared parameters: defaults, conversion, and sentences that name the field."""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
import pytest

from ppacer.dag import Dag
from ppacer.dag.params import Params
from ppacer.errors import DagError, ParamsError
from ppacer.schedule import Cron


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Window:
    first: date
    days: int = 1


@dataclass
class Report:
    """What the report covers."""

    region: str = "eu"
    limit: int = 100
    since: date = date(2024, 1, 1)
    color: Color = Color.RED
    kind: Literal["full", "short"] = "full"
    names: list[str] = field(default_factory=list)
    windows: dict[int, Window] = field(default_factory=dict)
    pause: timedelta = timedelta(seconds=5)
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class Struct(msgspec.Struct, rename="camel"):
    row_limit: int = 10
    to_day: date | None = None


@dataclass
class NoDefault:
    day: date
    limit: int = 1


DEFAULTS = {
    "region": "eu",
    "limit": 100,
    "since": "2024-01-01",
    "color": "red",
    "kind": "full",
    "names": [],
    "windows": {},
    "pause": "PT5S",
    "share": 0.5,
}


def test_defaults_are_filled_in_as_plain_values() -> None:
    params = Dag("d", params=Report).params
    assert params.validate({}) == DEFAULTS
    assert params.load(DEFAULTS) == Report()
    assert params.names == list(DEFAULTS)
    assert params.type is Report
    json.dumps(params.validate({}))


def test_no_parameters_at_all() -> None:
    params = Dag("d").params
    assert (params.type, params.names, params.schema(), params.validate({}), params.load({})) == (
        None,
        [],
        None,
        {},
        {},
    )
    with pytest.raises(ParamsError, match="this dag takes no parameters, but got x, y"):
        params.validate({"x": 1, "y": 2})


def test_given_values_are_converted_also_deep_inside() -> None:
    params = Dag("d", params=Report).params
    plain = params.validate(
        {"windows": {"3": {"first": "2024-02-29"}}, "color": "blue", "limit": 5, "share": 1}
    )
    assert plain == DEFAULTS | {
        "windows": {"3": {"first": "2024-02-29", "days": 1}},
        "color": "blue",
        "limit": 5,
        "share": 1.0,
    }
    loaded = params.load(plain)
    assert loaded.windows == {3: Window(date(2024, 2, 29))}
    assert loaded.color is Color.BLUE
    assert params.validate(plain) == plain, "what was validated is valid"


def test_python_values_and_an_instance_are_taken_as_well() -> None:
    params = Dag("d", params=Report).params
    given = Report(since=date(2025, 1, 1), windows={1: Window(date(2024, 1, 1))}, color=Color.BLUE)
    plain = DEFAULTS | {
        "since": "2025-01-01",
        "windows": {"1": {"first": "2024-01-01", "days": 1}},
        "color": "blue",
    }
    assert params.validate(given) == plain  # type: ignore[arg-type]  # a kindness for scripts and tests
    assert params.validate({key: getattr(given, key) for key in DEFAULTS}) == plain


def test_a_struct_with_renamed_fields_is_known_by_the_outer_names() -> None:
    params = Dag("d", params=Struct, schedule=Cron("@daily")).params
    assert params.names == ["rowLimit", "toDay"]
    assert params.validate({"rowLimit": 3}) == {"rowLimit": 3, "toDay": None}
    assert params.load({"rowLimit": 3, "toDay": "2024-01-01"}) == Struct(3, date(2024, 1, 1))
    assert params.validate(Struct(7)) == {"rowLimit": 7, "toDay": None}  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="unknown parameter 'row_limit'; this dag takes rowLimit, toDay"):
        params.validate({"row_limit": 3})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"limt": 1}, "unknown parameter 'limt'; this dag takes region, limit, since"),
        ({5: 1}, "unknown parameter 5"),
        ({"limit": "5"}, "parameter 'limit' does not fit: Expected `int`, got `str`"),
        ({"limit": None}, "parameter 'limit' does not fit: Expected `int`, got `null`"),
        ({"limit": True}, "parameter 'limit' does not fit: Expected `int`, got `bool`"),
        ({"since": "2024-02-30"}, "parameter 'since' does not fit: .* date; it is written like 2026-01-31"),
        ({"color": "green"}, "'color' does not fit: Invalid enum value 'green'; it is one of 'blue', 'red'$"),
        ({"kind": "long"}, "'kind' does not fit: Invalid enum value 'long'; it is one of 'full', 'short'$"),
        ({"names": ["a", 5]}, r"parameter 'names\[1\]' does not fit: Expected `str`, got `int`"),
        ({"windows": {"1": {"first": 7}}}, r"parameter 'windows\[...\].first' does not fit"),
        ({"windows": {"x": {"first": "2024-01-01"}}}, "does not fit: Expected `int`, got `str`"),
        ({"share": 1.5}, "parameter 'share' does not fit: Expected `float` <= 1.0"),
        ({"share": float("nan")}, "parameters do not fit: the value is not JSON"),
        ({"region": object()}, "JSON has no form for the type object"),
        ({"region": "\ud800"}, "their JSON text holds text that is no Unicode"),
        ({"region": "x" * 1_048_576}, "their JSON text has .* bytes and the limit is 1,048,576"),
        (None, "parameters are names with values, not None"),
        ([1], r"parameters are names with values, not \[1\]"),
        ("limit=5", "parameters are names with values, not 'limit=5'"),
    ],
)
def test_what_does_not_fit_names_the_field(given: Any, sentence: str) -> None:
    with pytest.raises(ParamsError, match=sentence):
        Dag("d", params=Report).params.validate(given)


def test_a_parameter_without_default_needs_a_value_and_forbids_a_schedule() -> None:
    params = Dag("d", params=NoDefault).params
    with pytest.raises(ParamsError, match=r"^parameter 'day' is missing and has no default$"):
        params.validate({"limit": 3})
    assert params.validate({"day": "2024-01-01"}) == {"day": "2024-01-01", "limit": 1}
    with pytest.raises(
        ParamsError, match="dag 'd': its scheduled runs take the defaults, but parameter 'day' is miss"
    ):
        Dag("d", params=NoDefault, schedule=Cron("@daily"))


@dataclass
class WrongDefault:
    limit: int = "many"  # type: ignore[assignment]  # that is the mistake


@dataclass
class InfiniteDefault:
    share: float = float("inf")


@dataclass
class Refuses:
    limit: int = 5

    def __post_init__(self) -> None:
        raise KeyError("never")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (WrongDefault, "parameter 'limit' does not fit: Expected `int`, got `str`"),
        (Refuses, "parameters do not fit: 'never'"),
    ],
)
def test_a_default_that_is_wrong_is_found_when_the_dag_is_made(params: type, words: str) -> None:
    with pytest.raises(ParamsError, match=f"dag 'd': its scheduled runs take the defaults, but .*{words}"):
        Dag("d", params=params, schedule=Cron("@daily"))
    with pytest.raises(ParamsError, match=words):
        Dag("d", params=params).params.validate({})


class Plain:
    pass


class ArrayLike(msgspec.Struct, array_like=True):
    a: int = 1


@dataclass
class Unknown:
    a: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Foreign:
    a: Plain | None = None


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (Plain, "params=Plain must be a dataclass or a msgspec.Struct"),
        (dict, "params=dict must be a dataclass or a msgspec.Struct"),
        (Report(), "params=Report.* is not a class; write params=Report"),
        (Struct(), "params=Struct.* is not a class; write params=Struct"),
        ({"limit": 5}, "params={'limit': 5} is not a class; declare a dataclass or a msgspec.Struct"),
        (ArrayLike, "params=ArrayLike cannot be array_like"),
        (Unknown, "params=Unknown has a field that JSON cannot have: .*NoSuchName"),
        (InfiniteDefault, "params=InfiniteDefault has a field that JSON cannot have: the value is not JSON"),
        (Foreign, "params=Foreign has a field that JSON cannot have"),
    ],
)
def test_what_cannot_declare_parameters_is_refused_at_once(params: Any, words: str) -> None:
    with pytest.raises(ParamsError, match=f"^dag 'd': {words}") as caught:
        Dag("d", params=params)
    assert isinstance(caught.value, DagError)


def test_the_schema_describes_every_field() -> None:
    schema = Dag("d", params=Report).params.schema()
    assert schema is not None
    report = schema["$defs"]["Report"]
    assert set(report["properties"]) == set(DEFAULTS)
    assert report["properties"]["since"] == {"type": "string", "format": "date", "default": "2024-01-01"}
    report["properties"].clear()
    again = Dag("d", params=Report).params.schema()
    assert again is not None
    assert again["$defs"]["Report"]["properties"], "what one caller changes no other sees"


def test_parameters_of_an_older_declaration_are_a_value_error_that_names_the_field() -> None:
    params = Dag("d", params=Report).params
    with pytest.raises(ValueError, match="parameter 'limit' does not fit: Expected `int`, got `str`"):
        params.load({"limit": "5"})
    with pytest.raises(ValueError, match="'never'"):
        Dag("d", params=Refuses).params.load({})
    assert params.load({"limit": 5, "gone": 1}) == Report(limit=5)


def test_datetimes_keep_their_zone() -> None:
    @dataclass
    class At:
        at: datetime = datetime(2024, 1, 1, 12, tzinfo=UTC)

    params = Dag("d", params=At).params
    assert params.load(params.validate({"at": "2024-06-01T12:00:00+02:00"})).at == datetime(
        2024, 6, 1, 10, tzinfo=UTC
    )


OUT = PurePosixPath("out/x.csv")


@dataclass
class Files:
    """Where from, where to."""

    source: Path
    target: PurePosixPath = OUT
    more: list[Path] = field(default_factory=list)


class FilesStruct(msgspec.Struct, rename="camel"):
    """Where from, where to."""

    the_source: Path
    the_target: Path = Path("out/x.csv")


def test_paths_are_parameters() -> None:
    dag = Dag("d", params=Files)
    plain = dag.params.validate({"source": Path("a/b"), "more": ["c"]})
    assert plain == {"source": "a/b", "target": "out/x.csv", "more": ["c"]}
    assert dag.params.load(plain) == Files(Path("a/b"), OUT, [Path("c")])
    with pytest.raises(ParamsError, match="parameter 'source' does not fit"):
        dag.params.validate({"source": 1})


@pytest.mark.parametrize(
    ("kind", "names"), [(Files, ("source", "target")), (FilesStruct, ("theSource", "theTarget"))]
)
def test_paths_and_their_defaults_are_in_the_schema(kind: type, names: tuple[str, str]) -> None:
    schema = Dag("d", params=kind).params.schema()
    assert schema is not None
    found = schema["$defs"][kind.__name__]
    path = {"type": "string", "format": "path"}
    assert found["properties"][names[0]] == path
    assert found["properties"][names[1]] == path | {"default": "out/x.csv"}
    assert (found["required"], found["description"]) == ([names[0]], "Where from, where to.")


@dataclass
class Choices:
    """What may be chosen."""

    mode: Literal["a", "b"] | None = None
    size: Literal["S", 3] | int = 3
    many: Literal[tuple(f"w{at:02}" for at in range(30))] = "w00"  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "x"}, "'mode' does not fit: Invalid enum value 'x'; it is one of 'a', 'b', null$"),
        ({"size": "x"}, "'size' does not fit: Invalid enum value 'x'$"),
        ({"many": "x"}, "it is one of 'w00', .*, 'w19' …$"),
    ],
)
def test_what_can_be_chosen_is_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        Params(Choices).validate(given)
