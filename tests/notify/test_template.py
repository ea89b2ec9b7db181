from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.errors import ConfigError
from ppacer.notify import (
    DEFAULT_FAILURE_TEMPLATE,
    DEFAULT_RETRY_TEMPLATE,
    MsgData,
    check_template,
    render,
    subject_of,
)
from ppacer.notify.template import SUBJECT_MAX, VALUE_MAX, shortened

NOON = datetime(2024, 3, 11, 12, tzinfo=UTC)
BARE = MsgData("etl", NOON)


def test_every_field_is_shown(data: MsgData) -> None:
    template = "{dag_id}|{exec_ts}|{task_id}|{retry}|{task_run_error}|{runtime_info}|{runtime_info[executor]}"
    expected = "etl|2024-03-11T12:00:00Z|load|2|ValueError: zażółć gęślą jaźń 🦆|executor: box-7|box-7"
    assert render(template, data) == expected


def test_what_is_not_there_is_shown_as_nothing() -> None:
    template = "[{task_id}{retry:03d}{task_run_error:.5}{runtime_info}{runtime_info[host]:>9}]"
    assert render(template, BARE).replace(" ", "") == "[]"


def test_times_are_shown_in_utc_and_in_the_format_asked_for() -> None:
    warsaw = datetime(2024, 7, 1, 0, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert render("{exec_ts:%d.%m.%Y %H:%M}", MsgData("etl", warsaw)) == "30.06.2024 22:30"
    assert render("{exec_ts}", MsgData("etl", warsaw)) == "2024-06-30T22:30:00.000005Z"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        MsgData("etl", datetime(2024, 3, 11))  # noqa: DTZ001 - the point of the test


def test_formats_and_doubled_braces_work(data: MsgData) -> None:
    assert render("{{{dag_id:>5}}} {retry:02d} {task_run_error:.10}", data) == "{  etl} 02 ValueError"


@pytest.mark.parametrize("template", [DEFAULT_FAILURE_TEMPLATE, DEFAULT_RETRY_TEMPLATE])
def test_the_default_templates_say_what_happened_in_their_first_line(template: str, data: MsgData) -> None:
    check_template(template)
    text = render(template, data)
    assert subject_of(text).startswith("ppacer: task load of dag etl failed")
    for fact in ("2024-03-11T12:00:00Z", "Retry: 2", "zażółć", "box-7"):
        assert fact in text


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{dagid}", "dagid"),
        ("{}", "{}"),
        ("{0}", "{0}"),
        ("{dag_id.__class__}", "dag_id.__class__"),
        ("{dag_id[0]}", "dag_id[0]"),
        ("{runtime_info.values}", "runtime_info.values"),
        ("{runtime_info[a][b]}", "runtime_info[a][b]"),
        ("{runtime_info[a].__class__}", "__class__"),
        ("{runtime_info[]}", "runtime_info"),
        ("{ dag_id }", " dag_id "),
        ("{dag_id", "'}'"),
        ("dag_id}", "'}'"),
        ("{dag_id!r}", "!r"),
        ("{dag_id:{retry}}", "nested"),
        ("{dag_id:1000000000}", "too wide"),
        ("{exec_ts:%999999Y}", "too wide"),
        ("{dag_id:d}", "does not fit"),
        ("{retry:%Y}", "does not fit"),
        ("", "empty"),
        (" \n", "empty"),
    ],
)
def test_a_bad_template_is_refused_and_the_place_named(template: str, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_template(template)
    assert named in str(error.value)
    assert len(str(error.value)) < 300


def test_a_value_is_data_and_never_a_template() -> None:
    hostile = "{dag_id.__class__.__mro__} {0} }{ {{"
    assert render("{task_run_error}", MsgData("etl", NOON, task_run_error=hostile)) == hostile


@given(st.text())
def test_any_text_is_either_refused_or_rendered(template: str) -> None:
    try:
        check_template(template)
    except ConfigError:
        return
    assert isinstance(render(template, BARE), str)


@given(st.text(st.characters()))
def test_any_error_text_becomes_valid_unicode(text: str) -> None:
    render("{task_run_error}", MsgData("etl", NOON, task_run_error=text + "\udcff")).encode("utf-8")


@pytest.mark.parametrize("length", [0, 1, VALUE_MAX, VALUE_MAX + 1, 10 * VALUE_MAX])
def test_a_long_value_keeps_both_ends(length: int) -> None:
    text = render("{task_run_error}", MsgData("etl", NOON, task_run_error="a" * length + "z"))
    assert len(text) == min(length + 1, VALUE_MAX)
    assert text[-1] == "z"
    assert (text == "a" * length + "z") == (length < VALUE_MAX)


@given(st.text(max_size=100), st.integers(20, 100))
def test_a_shortened_text_is_never_longer_than_asked(text: str, length_max: int) -> None:
    short = shortened(text, length_max)
    assert len(short) == min(len(text), length_max)
    assert short == text or (text.startswith(short[:1]) and text.endswith(short[-3:]))


@given(st.text(st.characters(codec="utf-8")))
def test_a_subject_is_one_line_of_bounded_length(text: str) -> None:
    subject = subject_of(text)
    assert len(subject.splitlines()) == 1
    assert 1 <= len(subject) <= SUBJECT_MAX


def test_the_subject_is_the_first_line_that_says_something() -> None:
    assert subject_of("\n \n  etl failed  \nbecause") == "etl failed"
    assert subject_of("a\tb\x00c") == "a b c"
    assert subject_of("\n\n") == "ppacer"
