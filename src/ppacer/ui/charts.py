"""Where the bars of small charts stand: numbers for SVG, made of read models. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from ppacer.api.why import about
from ppacer.engine import RunStatus
from ppacer.store.views import AttemptView, CellView, HourView, RunMark, RunView

BAR, GAP = 6, 2  # pixels of the bars of latest runs
TALL, BELOW = 24, 5  # of the highest bar, and of what hangs below the line
HOUR_WIDTH, HOUR_HEIGHT = 20, 72
SPARK_BAR, SPARK_TALL = 4, 18
TRACK = 1000  # units of a time axis, however wide it is shown
ORDER = (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.RUNNING, RunStatus.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle with the class of its state, and what it says when pointed at."""

    state: str
    x: float
    y: float
    width: float
    height: float
    title: str = ""
    run_id: int = 0


@dataclass(frozen=True, slots=True)
class Drawing:
    """Bars, the room they need, and the same in words."""

    bars: list[Bar]
    width: int
    height: int
    words: str
    floor: float = TALL


def latest_runs(runs: Sequence[RunMark], places: int, now: datetime) -> Drawing:
    """A bar for each run, the newest at the right end of so many places; as high as it took long."""
    spans = [span_of(run, now) for run in runs]
    longest = max(spans, default=timedelta()) or timedelta(seconds=1)
    first = places - len(runs)
    bars = [
        _run_bar(run, (first + at) * (BAR + GAP), span, span / longest, now)
        for at, (run, span) in enumerate(zip(runs, spans, strict=True))
    ]
    return Drawing(
        bars, places * (BAR + GAP) - GAP, TALL + BELOW, _in_words(Counter(run.status for run in runs))
    )


def _run_bar(run: RunMark, x: int, span: timedelta, share: float, now: datetime) -> Bar:
    height = round(3 + (TALL - 3) * min(1.0, share), 1)
    hangs = BELOW if run.status == RunStatus.FAILED else 0
    title = f"run {run.run_id}: {run.status}, {run.exec_ts:%Y-%m-%d %H:%M:%S} UTC"
    title += f", {about(span)}" if run.started_at else ""
    return Bar(run.status, x, round(TALL - height, 1), BAR, height + hangs, title, run.run_id)


def day(hours: Sequence[HourView]) -> Drawing:
    """A column for each hour, its parts by state."""
    highest = max((sum(hour.runs.values()) for hour in hours), default=0) or 1
    bars = [bar for at, hour in enumerate(hours) for bar in _column(hour, at * HOUR_WIDTH, highest)]
    total = sum((Counter(hour.runs) for hour in hours), Counter[str]())
    return Drawing(bars, len(hours) * HOUR_WIDTH, HOUR_HEIGHT, _in_words(total))


def _column(hour: HourView, x: int, highest: int) -> list[Bar]:
    counts = ", ".join(f"{hour.runs[status]} {status}" for status in ORDER if hour.runs.get(status))
    title = f"from {hour.begin:%H:%M} UTC: {counts}"
    bars, floor = [], float(HOUR_HEIGHT)
    for status in ORDER:
        if count := hour.runs.get(status):
            height = max(2.0, HOUR_HEIGHT * count / highest)
            floor -= height
            bars.append(Bar(status, x + 1, round(floor, 2), HOUR_WIDTH - 2, round(height, 2), title))
    return bars


def attempts(rows: Sequence[AttemptView], begin: datetime, end: datetime, now: datetime) -> list[Bar]:
    """The attempts of a task between the begin and the end of its run."""
    whole = max((end - begin).total_seconds(), 0.001)

    def at(moment: datetime) -> float:
        return round(min(max((moment - begin).total_seconds() / whole, 0.0), 1.0) * TRACK, 1)

    return [
        Bar(row.status, (x := at(row.started_at)), 4, max(4.0, round(at(row.ended_at or now) - x, 1)), 12)
        for row in rows
        if row.started_at is not None
    ]


@dataclass(frozen=True, slots=True)
class Spark:
    """Durations of the past as one path, that of now as a bar behind them, and the height of the median."""

    path: str
    now: Bar
    median: float
    width: int
    words: str


def span_of(one: RunView | RunMark | CellView, now: datetime) -> timedelta:
    """How long a run or an attempt took, or has taken by now; nothing when it has not begun."""
    return timedelta() if one.started_at is None else max(timedelta(), (one.ended_at or now) - one.started_at)


def typical(spans: Sequence[timedelta]) -> timedelta:
    """The median of durations, of which there is one at least."""
    return timedelta(seconds=median(span.total_seconds() for span in spans))


def spark(before: Sequence[timedelta], took: timedelta, state: str, words: str) -> Spark:
    """How long something took before, oldest first, and now."""
    longest = max(*before, took) or timedelta(seconds=1)

    def height(span: timedelta) -> float:
        return round(max(1.0, SPARK_TALL * (span / longest)), 1)

    step = SPARK_BAR + 1
    path = "".join(
        f"M{at * step} {SPARK_TALL}v-{height(span):g}h{SPARK_BAR}V{SPARK_TALL}z"
        for at, span in enumerate(before)
    )
    x, tall = len(before) * step + 2, height(took)
    bar = Bar(state, x, round(SPARK_TALL - tall, 1), SPARK_BAR + 1, tall)
    return Spark(path, bar, round(SPARK_TALL - height(typical(before)), 1), x + SPARK_BAR + 1, words)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in ORDER if counts.get(status)) or "none"
