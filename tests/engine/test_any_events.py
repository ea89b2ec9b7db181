"""Any graph, any events in any order: after each of them the oracle finds every invariant in place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.play import finish, graphs, moves, play, possible
from engine.world import World
from ppacer.dag import Graph

SOME = settings(max_examples=75)

pairs = st.lists(graphs(), min_size=1, max_size=2)


@pytest.mark.slow
@SOME
@given(pairs, st.lists(moves, min_size=20, max_size=60))
def test_every_invariant_holds_after_every_event_and_all_runs_end(
    shapes: list[Graph], story: list[tuple[str, int]]
) -> None:
    world = World()
    world.room(2, "d")
    world.trigger(shapes[0])
    for move, pick in story:
        play(world, shapes, possible(world, move), pick)
    finish(world)


@pytest.mark.slow
@SOME
@given(pairs, st.lists(moves, min_size=20, max_size=40))
def test_an_engine_that_forgets_everything_at_every_step_decides_the_same(
    shapes: list[Graph], story: list[tuple[str, int]]
) -> None:
    """34: only the order of grants may differ, so each claim takes everything that is ready."""
    steady, forgetful = World(), World()
    for world in (steady, forgetful):
        world.room(2, "d")
        world.trigger(shapes[0])
    for wish, pick in story:
        steady.now = forgetful.now = steady.now + 0.001  # no two runs begin to wait at the same moment
        move = possible(forgetful, wish)
        if move == "claim":
            steady.claim(steady.engine.ready_count)
            forgetful.claim(forgetful.engine.ready_count)
        elif move != "forget":
            play(steady, shapes, move, pick)
            play(forgetful, shapes, move, pick)
        forgetful.forget_everything()
        assert statuses(steady) == statuses(forgetful)


def statuses(world: World) -> dict[int, tuple[str, dict[str, str]]]:
    return {run_id: (world.status(run_id), world.statuses(run_id)) for run_id in world.rows.runs}
