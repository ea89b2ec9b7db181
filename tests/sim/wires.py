"""Time and the network: a heap of what will happen, and calls whose two messages may be lost on their way."""

import heapq
from collections import deque
from collections.abc import Callable, Sized
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any

from ppacer.errors import SchedulerUnavailable
from ppacer.scheduler.requests import HERE, Ask, Request

if TYPE_CHECKING:
    from sim.world import World

LATENCIES = (0.0005, 0.002, 0.01, 0.05)
DELAYS = (0.5, 2.0, 9.0, 40.0)

Heard = Callable[[Any], None]
OVER = ("CANCELLED", "FINISHED")


class Timeline:
    """What happens next; `time` is the true time in seconds, which nobody inside the simulation can read."""

    def __init__(self) -> None:
        self.time = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0  # of two things at one time the earlier made comes first

    def after(self, delay: float, act: Callable[..., None], *arguments: Any) -> None:
        """`act(*arguments)` happens so many seconds from now."""
        self._count += 1
        heapq.heappush(self._heap, (self.time + delay, self._count, act, arguments))

    def at(self, time: float, act: Callable[..., None], *arguments: Any) -> None:
        """`act(*arguments)` happens then."""
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, act, arguments))

    def happen(self) -> None:
        """Time moves to the next thing, and it happens."""
        self.time, _, act, arguments = heapq.heappop(self._heap)
        act(*arguments)

    def happen_until(self, end: float, news: Sized = ()) -> None:
        """All things up to this time happen, or as many as it takes until there is something in `news`."""
        heap = self._heap
        while heap and heap[0][0] <= end and not news:
            self.time, _, act, arguments = heapq.heappop(heap)
            act(*arguments)


class Promise:
    """What a `Future` is to one thread: the scheduler asks it the same questions, at a tenth of the cost."""

    __slots__ = ("_error", "_state", "_value")

    def __init__(self) -> None:
        self._state = "PENDING"
        self._value: Any = None
        self._error: BaseException | None = None

    def cancel(self) -> bool:
        """As the future's: not when somebody has begun to answer."""
        if self._state == "PENDING":
            self._state = "CANCELLED"
        return self._state == "CANCELLED"

    def cancelled(self) -> bool:
        """As the future's."""
        return self._state == "CANCELLED"

    def done(self) -> bool:
        """As the future's."""
        return self._state in OVER

    def set_running_or_notify_cancel(self) -> bool:
        """As the future's."""
        if self._state == "CANCELLED":
            return False
        assert self._state == "PENDING", self._state
        self._state = "RUNNING"
        return True

    def set_result(self, value: Any) -> None:
        """As the future's."""
        self._finish()
        self._value = value

    def set_exception(self, error: BaseException) -> None:
        """As the future's; without the frames, whose variables lead back to this promise."""
        self._finish()
        self._error = error.with_traceback(None)

    def _finish(self) -> None:
        if self._state in OVER:
            raise InvalidStateError(self._state)
        self._state = "FINISHED"

    def outcome(self) -> Any:
        """What it was answered with: a value, or an exception."""
        assert self._state == "FINISHED", self._state
        return self._value if self._error is None else self._error


class Waiting:
    """Calls that are given up after the same time: one timer for all of them, as most are over by then."""

    def __init__(self, timeline: Timeline, patience: float) -> None:
        self.timeline, self.patience = timeline, patience
        self._calls: deque[tuple[float, Call]] = deque()
        self._is_armed = False

    def add(self, call: "Call") -> None:
        """It begins to wait now."""
        self._calls.append((self.timeline.time + self.patience, call))
        if not self._is_armed:
            self._arm()

    def _arm(self) -> None:
        self._is_armed = True
        self.timeline.at(self._calls[0][0], self._ring)

    def _ring(self) -> None:
        calls, time = self._calls, self.timeline.time
        while calls and (calls[0][1].is_over or calls[0][0] <= time):
            calls.popleft()[1].give_up()
        self._is_armed = False
        if calls:
            self._arm()


class Sent(Request):
    """A request as it arrived at the scheduler. It knows whom to answer, and dies with the scheduler."""

    __slots__ = ("call", "world")
    future: Any  # a Promise

    def __init__(self, ask: Ask, call: "Call | None", world: "World") -> None:
        self.ask, self.origin, self.unclear, self.trouble, self._taken = ask, HERE, None, None, None
        self.future = Promise()
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
            world.waiting(patience).add(self)
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
        if not request.future.cancelled():
            self.link.carry(self._end, request.future.outcome())

    def _end(self, value: Any) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.requests = []  # no knot stays behind
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
        delay = LATENCIES[int(world.wires.random() * len(LATENCIES))]
        if world.chance.strikes("delay"):
            delay += world.chance.pick("delay", DELAYS) * world.wires.random()
        world.timeline.after(delay, deliver, *arguments)
