"""Tables and lines, on a terminal and off it."""

import io
import os

import pytest

from ppacer.cli.screen import Cell, Column, Row, Screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Ascii(io.StringIO):
    """A stream that cannot show our shapes."""

    encoding = "ascii"


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> tuple[Screen, Terminal]:
    """A screen on a terminal of this width."""
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((columns, 24)))
    stream = Terminal()
    return Screen(stream), stream


COLUMNS = [
    Column("N", right=True),
    Column("NAME", flexible=True),
    Column("STATE", keep=8),
    Column("MORE", keep=3),
]
ROWS: list[Row] = [
    ["1", "short", Cell("✓ SUCCESS", "green"), "x"],
    ["200", "a-name-that-is-much-longer-than-the-others", Cell("✗ FAILED", "red"), "y"],
]


def test_off_a_terminal_nothing_is_cut_or_coloured() -> None:
    stream = io.StringIO()
    Screen(stream).table(COLUMNS, ROWS)
    assert stream.getvalue().splitlines() == [
        "  N  NAME                                        STATE      MORE",
        "  1  short                                       ✓ SUCCESS  x",
        "200  a-name-that-is-much-longer-than-the-others  ✗ FAILED   y",
    ]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80])
def test_a_table_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    out, stream = terminal(monkeypatch, width)
    out.colours = False
    out.table(COLUMNS, ROWS)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 3


def test_on_a_narrow_terminal_the_least_important_columns_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    out, stream = terminal(monkeypatch, 30)
    out.colours = False
    out.table(COLUMNS, ROWS)
    assert stream.getvalue().splitlines() == [
        "  N  NAME            STATE",
        "  1  short           ✓ SUCCESS",
        "200  a-name-that-i…  ✗ FAILED",
    ]


def test_a_column_without_values_is_left_out() -> None:
    stream = io.StringIO()
    Screen(stream).table([Column("A"), Column("B"), Column("C")], [["1", "", "x"], ["2", "", "y"]])
    assert stream.getvalue() == "A  C\n1  x\n2  y\n"


def test_states_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    out, stream = terminal(monkeypatch, 80)
    out.table([Column("STATE")], [[out.state("FAILED")]])
    assert "\x1b[31m✗ FAILED\x1b[0m" in stream.getvalue()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_and_dumb_terminals_are_honoured(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    out, stream = terminal(monkeypatch, 80)
    out.table([Column("STATE")], [[out.state("FAILED")]])
    assert stream.getvalue() == "STATE\n✗ FAILED\n"


def test_shapes_become_ascii_where_the_stream_has_no_others() -> None:
    stream = Ascii()
    out = Screen(stream)
    out.table(
        [Column("STATE")], [[out.state(status)] for status in ("SUCCESS", "FAILED", "RUNNING", "NO_STATUS")]
    )
    assert stream.getvalue() == "STATE\n+ SUCCESS\nx FAILED\n> RUNNING\n. WAITING\n"


def test_wide_characters_keep_the_columns_aligned() -> None:
    stream = io.StringIO()
    Screen(stream).table([Column("A"), Column("B")], [["日本", "1"], ["abcd", "2"], ["e\u0301", "3"]])
    assert stream.getvalue() == "A     B\n日本  1\nabcd  2\ne\u0301     3\n"


HOSTILE = "a\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jb\x08c\x9b2J\u202egnp.exe\r\x1bM\x1b"


def test_foreign_text_cannot_take_over_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = terminal(monkeypatch, 80)
    assert out.clean(HOSTILE) == "a\x1b[31mred\x1b[0m bc2Jgnp.exe\x1b[0m"
    assert Screen(io.StringIO()).clean(HOSTILE) == "ared bc2Jgnp.exe"


def test_foreign_text_in_a_table_is_one_line() -> None:
    stream = io.StringIO()
    Screen(stream).table([Column("A")], [["a\n\x1b[2Jb\tc"]])
    assert stream.getvalue() == "A\na b c\n"


def test_plain_text_is_left_as_it_is() -> None:
    text = "žluťoučký kůň\t日本 👍"
    assert Screen(io.StringIO()).clean(text) == text


def test_a_table_without_rows_has_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table([Column("A"), Column("B")], [])
    assert capsys.readouterr().out.split() == ["A", "B"]
