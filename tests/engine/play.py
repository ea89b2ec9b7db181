"""Random histories for the property tests: a graph, and a list of moves that always find something to do."""

from typing import Any

from hypothesis import strategies as st

from engine.oracle import R, S
from engine.world import World, at, graph
from ppacer.dag import Graph
from ppacer.engine import Reason
from ppacer.engine.events import Claimed, Event, Failed, LeaseExpired, RetryDue, RunDue, Succeeded, Triggered

REASONS = [Reason.FAILED, Reason.FAILED, Reason.TIMED_OUT, Reason.HANDED_BACK, Reason.REFUSED, Reason.LOST]
RUNS_MAX = 4
MOVES = "trigger claim claim claim succeed succeed succeed fail fail lose lose find wait "
MOVES += "cancel restart room stale again forget"

configs = st.fixed_dictionaries(
    {},
    optional={
        "retries": st.integers(1, 3),
        "retry_delay": st.sampled_from([0.0, 1.0, 7.5]),
        "retry_backoff": st.sampled_from([1.0, 2.0]),
        "retry_jitter": st.sampled_from([0.0, 0.5]),
        "alert_on_retry": st.booleans(),
        "alert_on_failure": st.booleans(),
    },
)
once = st.just({"at_most_once": True})


@st.composite
def graphs(draw: Any) -> Graph:
    """Up to seven tasks, each with some of the tasks before it as parents."""
    lines, options = [], {}
    for n in range(draw(st.integers(0, 7))):
        parents = sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else []
        lines.append(f"t{n}: {' '.join(f't{parent}' for parent in parents)}")
        options[f"t{n}"] = draw(configs | configs | once)
    return graph(*lines, **options)


moves = st.tuples(
    st.sampled_from(MOVES.split()),
    st.integers(0, 9999),
)


def play(world: World, graphs: list[Graph], move: str, pick: int) -> None:
    """One possible move; `pick` chooses what it is about, and how."""
    running = held(world)
    if move == "trigger":
        run_id = len(world.rows.runs) + 1
        world.trigger(graphs[pick % len(graphs)], run_id, "de"[pick // 7 % 2])
    elif move == "claim":
        world.claim(1 + pick % 3, "xy"[pick // 3 % 2])
    elif move == "succeed":
        run_id, task_id = running[pick % len(running)]
        world.succeed(task_id, "1" if pick % 2 else None, run_id)
    elif move == "fail":
        run_id, task_id = running[pick % len(running)]
        world.fail(task_id, REASONS[pick // 3 % len(REASONS)], "no", run_id)
    elif move == "lose":
        run_id, task_id = running[pick % len(running)]
        world.lose(task_id, run_id)
    elif move == "find":
        run_id, task_id = running[pick % len(running)]
        world.find(task_id, run_id)
    elif move == "wait":
        world.wait(pick % 20)
    elif move == "cancel":
        world.cancel(1 + pick % len(world.rows.runs))
    elif move == "restart":
        ended = [id for id, run in world.rows.runs.items() if run.status in (R.FAILED, R.CANCELLED)]
        among = ended if ended and pick % 5 else list(world.rows.runs)
        world.restart(among[pick % len(among)])
    elif move == "room":
        world.room(1 + pick % 3, "de"[pick // 3 % 2])
    elif move == "again":
        again(world)
    elif move == "stale":
        assert world.handle(_nonsense(world, pick)) == []
    elif move == "forget":
        world.forget_everything()


def possible(world: World, move: str) -> str:
    """The move, or what has to come before it."""
    if move in ("succeed", "fail", "lose", "find") and not held(world):
        move = "claim"
    if move == "claim" and not world.engine.ready_count:
        move = "wait" if world.engine.next_due() else "trigger"
    if move == "trigger" and len(world.rows.runs) >= RUNS_MAX:
        move = "restart"
    return move


def again(world: World) -> None:
    """The latest event comes a second time; only a claim, whose tokens are fresh by contract, never does."""
    event = world.last
    if isinstance(event, RunDue | Triggered) and event.ref.run_id not in world.engine.runs:
        return  # its run has ended: that its number is not used twice is the store's business
    if event is not None and not isinstance(event, Claimed):
        assert world.handle(event) == []


def _nonsense(world: World, pick: int) -> Event:
    """A report or a timer about something that is not so."""
    run_id, task_id, retry = pick % (RUNS_MAX + 1), f"t{pick // 7 % 8}", pick // 50 % 5
    token = "never given"
    open_run = world.rows.runs.get(run_id)
    latest = -1 if open_run is None else world.rows.latest(run_id, task_id)
    match pick // 1000 % 5:
        case 0:
            return Succeeded(run_id, task_id, retry, token)
        case 1:
            return Failed(run_id, task_id, retry, token, REASONS[pick % len(REASONS)])
        case 2:
            return LeaseExpired(run_id, task_id, latest + 1 + retry)
        case 3:
            return RetryDue(run_id, task_id, latest + 1 + retry)
        case _:
            return Claimed("x", [], at(world.now))


def held(world: World) -> list[tuple[int, str]]:
    """Run and task of every attempt that is RUNNING."""
    latest = [(id, rows[-1]) for id, run in world.rows.runs.items() for rows in run.attempts.values()]
    return [(run_id, row.task_id) for run_id, row in latest if row.status is S.RUNNING]


def finish(world: World) -> None:
    """10: when nothing bad happens any more, every run ends."""
    for _ in range(1000):
        world.wait(100)
        for run_id, task_id in held(world):
            world.succeed(task_id, None, run_id)
        world.claim(5)
        if not world.engine.runs:
            break
    assert all(run.status in (R.SUCCESS, R.FAILED, R.CANCELLED) for run in world.rows.runs.values())
