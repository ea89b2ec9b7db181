"""The drawing of a dag: every task is there, nothing overlaps, everything leads to the right."""

import re
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from api.dags import NASTY
from ppacer.store.views import TaskView
from ppacer.ui.environment import _environment
from ppacer.ui.graph import (
    ALIKE_MAX,
    BENDS_MAX,
    HEIGHT,
    LAYERS_MAX,
    NODES_MAX,
    Node,
    Picture,
    lay_out,
    picture,
)
from ui.markup import Element, parse

Parents = tuple[tuple[int, ...], ...]
enough = settings(max_examples=50)


@st.composite
def graphs(draw: st.DrawFn, most: int = 24) -> Parents:
    """Any dag: each node behind some of those before it."""
    count = draw(st.integers(0, most))
    above = [draw(st.sets(st.integers(0, at - 1), max_size=4)) if at else set() for at in range(count)]
    return tuple(tuple(sorted(parents)) for parents in above)


def tasks(parents: Parents, status: str = "SUCCESS") -> list[TaskView]:
    """Tasks in that order, with names of different lengths."""
    names = [f"t{at}{'x' * (at * 7 % 23)}" for at in range(len(parents))]
    return [
        TaskView(names[at], [names[parent] for parent in above], status, 0, 0)
        for at, above in enumerate(parents)
    ]


def drawn(parents: Parents) -> Picture:
    return picture(tasks(parents), lambda task: f"/{task.task_id}")


def ends(path: str) -> tuple[float, float, float, float]:
    """Where a path begins and ends."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
    if re.search(r"C[^H]*$", path):
        return numbers[0], numbers[1], numbers[-2], numbers[-1]
    height = numbers[1] if "C" not in path else numbers[-2]
    return numbers[0], numbers[1], numbers[-1], height


def overlap(one: Node, other: Node) -> bool:
    beside = one.x + one.width <= other.x or other.x + other.width <= one.x
    return not beside and abs(one.y - other.y) < HEIGHT


@enough
@given(graphs())
def test_every_task_has_its_box_and_no_two_overlap(parents: Parents) -> None:
    found = drawn(parents)
    assert [node.url for node in found.nodes] == [f"/{task.task_id}" for task in tasks(parents)]
    assert not any(overlap(one, other) for one, other in combinations(found.nodes, 2))
    for node in found.nodes:
        assert 0 <= node.x <= node.x + node.width <= found.width
        assert 0 <= node.y <= node.y + node.height <= found.height


@enough
@given(graphs())
def test_every_box_stands_right_of_its_parents_and_every_path_leads_to_the_right(parents: Parents) -> None:
    found = drawn(parents)
    for at, above in enumerate(parents):
        for parent in above:
            assert found.nodes[parent].x + found.nodes[parent].width < found.nodes[at].x
    assert all(begin < end for begin, _, end, _ in map(ends, found.edges))


@enough
@given(graphs())
def test_paths_lead_from_each_parent_to_each_child(parents: Parents) -> None:
    """Through bends, which begin where another path has ended."""
    found = drawn(parents)
    leads: dict[tuple[float, float], set[tuple[float, float]]] = {}
    for x, y, there, to in map(ends, found.edges):
        leads.setdefault((x, y), set()).add((there, to))

    def reached(at: tuple[float, float]) -> set[tuple[float, float]]:
        return {end for step in leads.get(at, ()) for end in {step} | reached(step)}

    for at, above in enumerate(parents):
        child = found.nodes[at]
        for parent in above:
            node = found.nodes[parent]
            begin = (node.x + node.width, node.y + HEIGHT / 2)
            assert (child.x, child.y + HEIGHT / 2) in reached(begin)


@enough
@given(graphs())
def test_bends_lie_on_no_box(parents: Parents) -> None:
    found = drawn(parents)
    for path in found.edges:
        if tail := re.search(r" ([\d.]+)H([\d.]+)$", path):
            height, right = float(tail[1]), float(tail[2])
            column = [node for node in found.nodes if node.x < right <= node.x + node.width]
            assert all(not node.y < height < node.y + HEIGHT for node in column)


def test_a_chain_is_a_straight_line() -> None:
    found = drawn(((), (0,), (1,), (2,)))
    assert len({node.y for node in found.nodes}) == 1
    assert all("C" not in edge for edge in found.edges)


def test_the_ends_of_a_diamond_stand_in_the_middle() -> None:
    first, upper, lower, last = drawn(((), (0,), (0,), (1, 2))).nodes
    assert first.y == last.y == (upper.y + lower.y) / 2


def test_crossings_that_need_not_be_are_none() -> None:
    """Three roots, whose children were written down in the other order."""
    nodes = drawn(((), (), (), (2,), (1,), (0,))).nodes
    assert [node.y for node in nodes[:3]] == [node.y for node in nodes[:2:-1]]


def test_no_task_is_no_box() -> None:
    assert drawn(()) == Picture([], [], drawn(()).width, drawn(()).height, "no tasks")


def test_many_tasks_between_the_same_others_are_one_box() -> None:
    fan = ((), *(((0,),) * NODES_MAX), tuple(range(1, NODES_MAX + 1)))
    found = picture(tasks(fan), lambda task: f"/{task.task_id}")
    assert [node.name[:2] for node in found.nodes] == ["t0", "1,", "t1"]
    assert [node.url is None for node in found.nodes] == [False, True, False]
    assert "1,000 SUCCESS" in found.nodes[1].title
    assert len(found.edges) == 2


def test_few_tasks_that_are_alike_are_drawn_one_by_one() -> None:
    few = ((), *(((0,),) * ALIKE_MAX))
    assert len(drawn(few).nodes) == ALIKE_MAX + 1
    assert [node.name for node in drawn((*few, (0,))).nodes][1:] == [f"{ALIKE_MAX + 1} tasks"]
    other = (*few, (0,), (7,))
    assert len(drawn(other).nodes) == len(other)


def test_a_layer_is_one_box_when_boxes_are_still_too_many() -> None:
    pairs = ((), *(((0,),) * NODES_MAX), *((at,) for at in range(1, NODES_MAX + 1)))
    found = drawn(pairs)
    assert [node.name for node in found.nodes] == ["t0", "1,000 tasks", "1,000 tasks"]
    assert len(found.edges) == 2


def test_a_long_chain_has_a_limit_too() -> None:
    chain = ((), *((at,) for at in range(5 * NODES_MAX)))
    assert len(drawn(chain).nodes) <= LAYERS_MAX


def test_the_worst_state_of_a_box_is_seen_first() -> None:
    fan = tasks(((), *(((0,),) * NODES_MAX)))
    fan[7] = TaskView(fan[7].task_id, fan[7].parents, "FAILED", 0, 0)
    found = picture(fan, lambda task: None)
    assert [node.state for node in found.nodes] == ["SUCCESS", "FAILED"]
    assert found.words == "1,001 tasks: 1 FAILED, 1,000 SUCCESS"


def test_too_many_bends_are_straight_paths() -> None:
    wide = tuple((*({0, at - 1} if at else ()),) for at in range(BENDS_MAX + 3))
    assert len(lay_out(wide, (50.0,) * len(wide)).edges) == sum(map(len, wide))


def rendered(found: Picture) -> Element:
    template = _environment().from_string(
        '{% from "parts/graph.html" import graph %}{{ graph(picture, "Tasks of x") }}'
    )
    return parse(template.render(picture=found))


def test_the_drawing_tells_and_links_every_task() -> None:
    tree = rendered(drawn(((), (0,), (0,))))
    assert tree.one("svg")["aria-label"] == "Tasks of x: 3 tasks: 3 SUCCESS"
    assert [link.one("title").text for link in tree.all("a")] == [
        f"{task.task_id}: SUCCESS" for task in tasks(((), (0,), (0,)))
    ]
    assert len(tree.all("path", class_="edge")) == 2


def test_names_are_text() -> None:
    only = TaskView(NASTY, [], "SUCCESS", 0, 0)
    tree = rendered(picture([only], lambda task: f"/{NASTY}"))
    assert tree.one("a").one("title").text == f"{NASTY}: SUCCESS"
    assert not tree.all("img")
