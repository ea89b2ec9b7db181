"""The dags a program knows."""

from collections.abc import Iterable, Iterator, Mapping

from ppacer.dag.check import shown
from ppacer.dag.dag import Dag
from ppacer.errors import DagError, DuplicateIdError


class Registry(Mapping[str, Dag]):
    """A mapping from id to Dag; a second dag with the same id is an error."""

    def __init__(self, dags: Iterable[Dag] = ()) -> None:
        self._dags: dict[str, Dag] = {}
        if not isinstance(dags, Iterable):
            raise DagError(f"a registry takes a list of dags, not {shown(dags)}; write Registry([…])")
        for dag in dags:
            self.add(dag)

    def add(self, dag: Dag) -> None:
        """Adds a dag; one without a `with` block is built now. DuplicateIdError when its id is taken."""
        if not isinstance(dag, Dag):
            raise DagError(f"{shown(dag)} is not a Dag")
        dag.finish()
        if self._dags.setdefault(dag.id, dag) is not dag:
            raise DuplicateIdError("dag", dag.id, "this registry")

    def __getitem__(self, dag_id: str) -> Dag:
        return self._dags[dag_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dags)

    def __len__(self) -> int:
        return len(self._dags)
