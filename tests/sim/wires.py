"""Time and the network: a heap of what will happen, and calls whose two messages may be lost on their way."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from ppacer.errors import SchedulerUnavailable
from ppacer.scheduler.requests import Ask, Request

if TYPE_CHECKING:
    from sim.world import World

LATENCIES = (0.0005, 0.002, 0.01, 0.05)
DELAYS = (0.5, 2.0, 9.0, 40.0)

Heard = Callable[[Any], None]


class Timeline:
    """What happens next; `time` is the true time in seconds, which nobody inside the simulation can read."""

    def __init__(self) -> None:
        self.time = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = count()

    def after(self, delay: float, act: Callable[..., None], *arguments: Any) -> None:
        """`act(*arguments)` happens so many seconds from now."""
        heapq.heappush(self._heap, (self.time + delay, next(self._count), act, arguments))

    def next_at(self) -> float:
        """When the next thing happens."""
        return self._heap[0][0] if self._heap else float("inf")

    def happen(self) -> None:
        """Time moves to the next thing, and it happens."""
        self.time, _, act, arguments = heapq.heappop(self._heap)
        act(*arguments)


class Sent(Request):
    """A request as it arrived at the scheduler. It knows whom to answer, and dies with the scheduler."""

    __slots__ = ("call", "world")

    def __init__(self, ask: Ask, call: "Call | None", world: "World") -> None:
        super().__init__(ask)
        self.call, self.world = call, world

    def answer(self, value: Any) -> None:
        """The moment in which an answer leaves the scheduler: it may be killed just after it."""
        super().answer(value)
        self.world.answered.append(self)
        self.world.shelf.point()


class Call:
    """One question to the scheduler and its answer, as a client sees it: one of `answered` and `failed`."""

    __slots__ = ("answered", "ask", "failed", "is_over", "link", "requests", "world")

    def __init__(
        self, world: "World", link: "Link", ask: Ask, patience: float, answered: Heard, failed: Heard
    ) -> None:
        self.world, self.link, self.ask = world, link, ask
        self.answered, self.failed = answered, failed
        self.is_over = False
        self.requests: list[Sent] = []
        if link.is_far:  # inside one program nothing is lost, and the patience longer than any wait
            world.timeline.after(patience, self.give_up)
        link.carry(self._arrive)
        if link.is_far and world.chance.strikes("duplicate"):
            link.carry(self._arrive)
        if world.chance.strikes("give_up"):
            world.timeline.after(world.chance.pick("give_up", DELAYS), self.give_up)

    def _arrive(self) -> None:
        """The question has come to where the scheduler should be."""
        world = self.world
        if world.scheduler is None:
            self.link.carry(self._end, SchedulerUnavailable("connection refused"))
            return
        if world.is_asleep and self.link.is_far and world.wires.random() < 0.95:
            return  # nobody listens
        request = Sent(self.ask, self, world)
        self.requests.append(request)
        world.inbox.append(request)
        world.calls[self] = None

    def reply(self, request: Sent) -> None:
        """The scheduler has answered a request of this call: the answer sets out."""
        if request.future.cancelled():
            return
        error = request.future.exception(0)
        self.link.carry(self._end, request.future.result(0) if error is None else error)

    def _end(self, value: Any) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.requests.clear()  # no knot stays behind
        self.world.calls.pop(self, None)
        if isinstance(value, BaseException):
            self.failed(value)
        else:
            self.answered(value)

    def give_up(self) -> None:
        """The client waits no longer. The scheduler may notice, or not."""
        if self.is_over:
            return
        if not self.link.is_far and any(request.is_answered for request in self.requests):
            return  # as `LocalClient`: an answer that is there is taken
        if not self.link.is_far or self.world.wires.random() < 0.5:
            for request in self.requests:
                request.future.cancel()
        self._end(SchedulerUnavailable("no answer"))

    def cut(self) -> None:
        """The scheduler has died with the question."""
        self.link.carry(self._end, SchedulerUnavailable("connection reset"))


class Link:
    """The way between one client and the scheduler. A far one loses, delays and reorders messages."""

    def __init__(self, world: "World", is_far: bool) -> None:
        self.world, self.is_far = world, is_far
        self.is_cut = False

    def carry(self, deliver: Callable[..., None], *arguments: Any) -> None:
        """Delivers later, perhaps; what is delivered later may overtake."""
        world = self.world
        if not self.is_far:
            world.timeline.after(0.0001, deliver, *arguments)
            return
        if self.is_cut or world.chance.strikes("loss"):
            return
        delay = world.wires.choice(LATENCIES)
        if world.chance.strikes("delay"):
            delay += world.chance.pick("delay", DELAYS) * world.wires.random()
        world.timeline.after(delay, deliver, *arguments)
