"""The difference between two texts: both can be read off it, and little that is equal is shown."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ppacer.ui.diff import CONTEXT, LINES_MAX, difference, numbered

texts = st.lists(st.sampled_from(["a", "b", "  c", ""]), max_size=30).map("\n".join)


def lines(text: str) -> list[str]:
    return text.splitlines()


@settings(max_examples=60)
@given(texts, texts)
def test_every_line_that_is_shown_stands_there_in_the_text(before: str, after: str) -> None:
    for line in difference(before, after):
        if line.kind != "gap":
            assert line.old == 0 or lines(before)[line.old - 1] == line.text
            assert line.new == 0 or lines(after)[line.new - 1] == line.text
            assert (line.old == 0, line.new == 0) == (line.kind == "added", line.kind == "removed")


@settings(max_examples=60)
@given(texts, texts)
def test_what_is_not_shown_is_equal(before: str, after: str) -> None:
    found = difference(before, after)
    removed = {line.old for line in found if line.kind == "removed"}
    added = {line.new for line in found if line.kind == "added"}
    kept = [text for at, text in enumerate(lines(before), 1) if at not in removed]
    assert kept == [text for at, text in enumerate(lines(after), 1) if at not in added]
    assert bool(found) == (lines(before) != lines(after))


def test_equal_lines_far_from_changes_are_counted() -> None:
    before = "\n".join(map(str, range(100)))
    after = before.replace("50", "fifty")
    found = difference(before, after)
    assert [line.text for line in found if line.kind == "gap"] == ["47 equal lines", "46 equal lines"]
    assert [(line.kind, line.text) for line in found if line.kind in ("added", "removed")] == [
        ("removed", "50"),
        ("added", "fifty"),
    ]
    assert len(found) == 2 + 2 * CONTEXT + 2


def test_a_text_by_itself_has_its_lines_numbered_up_to_a_limit() -> None:
    assert [(line.old, line.text) for line in numbered("a\n\nb")] == [(1, "a"), (2, ""), (3, "b")]
    assert len(numbered("\n" * (LINES_MAX + 5))) == LINES_MAX
    assert numbered("") == []
