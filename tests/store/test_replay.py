"""A real database between two lives of the engine: the rows give back the engine that wrote them."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.oracle import picture
from engine.play import finish, graphs, moves, play, possible
from engine.world import World
from ppacer.dag import Graph
from ppacer.engine import Engine
from ppacer.engine.changes import Change
from ppacer.engine.events import Event, Triggered
from ppacer.store import Store

pytestmark = pytest.mark.slow

SOME = settings(max_examples=25)


class StoredWorld(World):
    """A world whose changes go into a database, and whose memory comes from there."""

    def __init__(self, db: str) -> None:
        super().__init__()
        self.db = db
        self.store = Store(db)
        self.graphs: dict[tuple[str, str], Graph] = {}
        self.batch: list[Change] = []

    def _fold(self, event: Event) -> list[Change]:
        if isinstance(event, Triggered):
            event = Triggered(event.ref, event.graph, f"v{event.ref.run_id}", event.params)
            self.graphs[event.ref.dag_id, event.version] = event.graph
            self._keep_graphs()
        changes = super()._fold(event)
        self.batch += changes
        return changes

    def commit(self) -> None:
        """Writes what has gathered, as one batch."""
        self.store.apply(self.batch)
        self.batch = []

    def forget_everything(self) -> None:
        """The program ends and starts again."""
        self.commit()
        self.store.close()
        self.store = Store(self.db)
        self._keep_graphs()
        self.engine = self.restored()
        self.rows.check(self.engine)

    def _keep_graphs(self) -> None:
        for (dag_id, version), graph in self.graphs.items():
            self.store.keep_graph(dag_id, version, graph)

    def restored(self) -> Engine:
        """An engine made from the rows of the database alone."""
        engine = Engine()
        engine.room = dict(self.engine.room)
        for row, graph, attempts in self.store.open_runs():
            engine.restore(row, graph, attempts)
        return engine


def told(rows: tuple[object, ...]) -> tuple[object, ...]:
    """A run as the store tells it, with the attempts in one order; the graph is the same object or equal."""
    row, graph, attempts = rows
    assert isinstance(graph, Graph)
    assert isinstance(attempts, list)
    return row, graph.to_json(), sorted(attempts, key=lambda a: (a.task_id, a.retry))


def test_the_rows_give_back_the_engine_that_wrote_them(new_db: Callable[[], str]) -> None:
    @SOME
    @given(
        st.lists(graphs(), min_size=1, max_size=2),
        st.lists(st.tuples(moves, st.integers(0, 2)), min_size=20, max_size=40),
    )
    def check(shapes: list[Graph], story: list[tuple[tuple[str, int], int]]) -> None:
        world = StoredWorld(new_db())
        try:
            tell(world, shapes, story)
        finally:
            world.store.close()

    check()


def tell(world: StoredWorld, shapes: list[Graph], story: list[tuple[tuple[str, int], int]]) -> None:
    """Plays the story, and compares whenever something was written."""
    world.room(2, "d")
    world.trigger(shapes[0])
    for (move, pick), commit in story:
        play(world, shapes, possible(world, move), pick)
        if commit == 0:  # mostly several events are one batch
            world.commit()
            assert picture(world.restored()) == picture(world.engine)
    finish(world)
    world.commit()
    for run_id in world.rows.runs:
        stored = world.store.run(run_id)
        assert stored is not None
        assert told(stored) == told(world.rows.run(run_id))
    assert list(world.store.open_runs()) == []
