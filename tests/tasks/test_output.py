import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppacer.tasks import output
from ppacer.tasks.output import LINE_MAX
from tasks.context import Context


def logged(chunks: list[bytes]) -> list[str]:
    """The lines logged of a pipe that delivers these chunks."""
    ctx = Context()
    from collections import deque

    stream = output._Stream(ctx.logger, logging.INFO, "stdout", deque())
    for chunk in chunks:
        stream.feed(chunk)
    stream.finish()
    return ctx.stdout


@given(st.lists(st.sampled_from(["a", "ż", "€", "🦆", "\n", "\r\n"])), st.data())
def test_lines_do_not_depend_on_how_the_bytes_arrive(parts: list[str], draw: st.DataObject) -> None:
    text = "".join(parts)
    raw = text.encode()
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    expected = [line.removesuffix("\r") for line in text.split("\n")]
    assert logged(chunks) == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("length", [0, 1, LINE_MAX - 1, LINE_MAX])
def test_a_line_up_to_the_limit_is_one_record(length: int) -> None:
    assert logged([b"x" * length + b"\n"]) == ["x" * length]


def test_a_longer_line_is_cut_in_pieces() -> None:
    for chunks in ([b"x" * (2 * LINE_MAX + 1) + b"\nend"], [b"x" * LINE_MAX, b"x" * LINE_MAX + b"x\nend"]):
        assert [len(line) for line in logged(chunks)] == [LINE_MAX, LINE_MAX, 1, 3]


@pytest.mark.parametrize("character", ["ż", "€", "🦆"])
@pytest.mark.parametrize("shift", range(4))
def test_no_character_is_cut_in_two(character: str, shift: int) -> None:
    text = "a" * shift + character * LINE_MAX
    pieces = logged([text.encode()])
    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= LINE_MAX


@given(st.binary())
def test_any_bytes_become_text(raw: bytes) -> None:
    for line in logged([raw]):
        line.encode("utf-8")


def test_bytes_that_are_no_text_are_replaced_even_when_a_piece_is_full_of_them() -> None:
    assert set("".join(logged([b"\x80" * (LINE_MAX + 10)]))) == {"\ufffd"}
