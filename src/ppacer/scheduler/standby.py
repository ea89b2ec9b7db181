"""What answers in a program whose scheduler does not lead: readers are served, everything else is refused."""

from collections.abc import Mapping

from ppacer.dag import Dag
from ppacer.errors import StandsBy
from ppacer.protocol import Answer
from ppacer.scheduler.requests import HERE, Ask, Heartbeat, Origin, Reports, Request
from ppacer.scheduler.scheduler import State
from ppacer.store.leader import Leader


class Standby:
    """Stands in for a scheduler until this program leads; safe from any thread."""

    def __init__(self, registry: Mapping[str, Dag]) -> None:
        self.registry = registry
        self.leader: Leader | None = None  # who leads instead, as far as is known
        self.problem: str | None = None  # why that cannot be known
        self._is_stopping = False

    @property
    def state(self) -> State:
        """What this program does."""
        return State.STOPPING if self._is_stopping else State.STANDBY

    @property
    def trouble(self) -> str:
        """Why nothing can be asked of it."""
        if self.leader is not None:
            where = self.leader.url or self.leader.holder
            return f"this scheduler stands by; ask the one that leads: {where}"
        if self.problem is not None:
            return f"this scheduler waits for its database: {self.problem}"
        return "this scheduler stands by, and does not know yet who leads: ask again"

    def refuse_commands(self) -> None:
        """The program is ending."""
        self._is_stopping = True

    def submit(self, ask: Ask, origin: Origin = HERE) -> Request:
        """Answers at once, in the place of a scheduler.

        While another one leads, attempts that were granted by us before are ended: they will be granted anew.
        """
        request = Request(ask, origin)
        if request.take():
            match ask:
                case Heartbeat(_, tokens) if self.leader is not None:
                    request.answer(Answer(cancel=list(tokens)))
                case Reports(_, reports) if self.leader is not None:
                    request.answer(Answer(accepted=[False] * len(reports)))
                case _:
                    request.answer(StandsBy(self.trouble))
        return request
