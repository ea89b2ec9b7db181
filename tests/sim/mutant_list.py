"""The planted bugs themselves, by the part of the product in which they sit."""

from collections.abc import Iterator

from sim.mutants import Mutant


def _in(module: str, *bugs: tuple[str, str, str, tuple[int, ...]], sqlite: bool = False) -> Iterator[Mutant]:
    """Each: its name, the old text, the new one, the invariants that were seen to notice it first."""
    for name, old, new, noticed in bugs:
        yield Mutant(name, module, old, new, frozenset(noticed) | ANYWHERE, sqlite)


ANYWHERE = frozenset({0, 34})  # an assertion of the product; memory beside the rows: they may be first always

_IF_LOST = "            if task.is_lost:\n                self._give_up_lost(run, position, now, out)\n"

ENGINE = _in(
    "engine.engine",
    (
        "one run more than the cap",
        "return self.active[dag_id] < self.room.get",
        "return self.active[dag_id] <= self.room.get",
        (17,),
    ),
    (
        "a failure counts more than a cancel",
        "if run.is_cancelled or (run.cancelling and not run.tasks):",
        "if (run.is_cancelled and not run.failed) or (run.cancelling and not run.tasks):",
        (6,),
    ),
    (
        "a restart does not give the retries back",
        "task.spent = task.lost = 0",
        "task.lost = 0",
        (3,),
    ),
    (
        "a restarted run stays cancelled",
        "run.cancelling, run.failed, run.is_cancelled, run.open = False, 0, False, 0",
        "run.cancelling, run.failed, run.open = False, 0, 0",
        (),
    ),
    (
        "given up one lost attempt too early",
        "if run.cancelling or spec.at_most_once or task.lost > LOST_MAX:",
        "if run.cancelling or spec.at_most_once or task.lost >= LOST_MAX:",
        (3,),
    ),
    (
        "at_most_once is forgotten when a lease ends",
        "if run.cancelling or spec.at_most_once or task.lost > LOST_MAX:",
        "if run.cancelling or task.lost > LOST_MAX:",
        (13,),
    ),
    (
        "any token will do",
        "holds = task.status is TaskStatus.RUNNING and task.token == token",
        "holds = task.status is TaskStatus.RUNNING",
        (9, 14),
    ),
    (
        "ready when one parent is missing",
        "if below.unmet == 0 and below.status is TaskStatus.NO_STATUS:",
        "if below.unmet <= 1 and below.status is TaskStatus.NO_STATUS:",
        (4,),
    ),
    (
        "a failure reaches the children only",
        "                todo.extend(run.graph.children[below])\n",
        "",
        (33,),
    ),
    (
        "a cancel forgets what is lost",
        _IF_LOST + "            elif",
        "            if",
        (13,),
    ),
    (
        "the next run does not begin",
        "            self._end(run, now, out)\n            self._fill_room(run.ref.dag_id, now, out)",
        "            self._end(run, now, out)",
        (13,),
    ),
    (
        "a lost attempt that failed is still offered",
        "        self._drop_lost(task)\n        self._move(task, TaskStatus.FAILED_PENDING_RETRY)",
        "        self._move(task, TaskStatus.FAILED_PENDING_RETRY)",
        (16,),
    ),
    (
        "the timer of a retry names the wrong attempt",
        "heapq.heappush(self.retries, (retry_at, run.ref.run_id, position, task.retry))",
        "heapq.heappush(self.retries, (retry_at, run.ref.run_id, position, task.retry + 1))",
        (13,),
    ),
    (
        "timers of retries are not restored",
        "heapq.heappush(self.retries, (task.retry_at, row.ref.run_id, position, task.retry))",
        "pass",
        (13,),
    ),
    (
        "what was found is still offered",
        "            self._drop_lost(task)\n            task.lost -= 1",
        "            task.is_lost = False\n            task.lost -= 1",
        (16,),
    ),
    (
        "what was found still counts as a loss",
        "            task.lost -= 1\n            out.append(AttemptFound",
        "            out.append(AttemptFound",
        (),
    ),
    (
        "lost attempts are not offered after a start",
        "if task.status is TaskStatus.SCHEDULED or task.is_lost:",
        "if task.status is TaskStatus.SCHEDULED:",
        (16,),
    ),
    (
        "cancelled tasks are still counted as ready",
        "            self.ready_count -= 1\n            was, reason",
        "            was, reason",
        (16,),
    ),
    (
        "what fails after a cancel is FAILED",
        "status = TaskStatus.CANCELLED if run.cancelling else TaskStatus.FAILED",
        "status = TaskStatus.FAILED",
        (19,),
    ),
    (
        "which code ran is forgotten at a success",
        "took = (event.peak_memory, event.body_hash, event.cpu_seconds)",
        "took = (event.peak_memory, None, event.cpu_seconds)",
        (21,),
    ),
    (
        "a run that waits for room has it",
        "        if self.has_room(dag_id):\n            self._begin(run, now, out)",
        "        if self.has_room(dag_id) or run.restart:\n            self._begin(run, now, out)",
        (17,),
    ),
)

RECOVERY = _in(
    "engine.recovery",
    (
        "a restart wipes successes out after a start",
        "if row.restart < restart and row.status is not TaskStatus.SUCCESS:",
        "if row.restart < restart:",
        (),
    ),
    (
        "after a start every repetition has cost a retry",
        "task.spent += row.status is TaskStatus.FAILED_PENDING_RETRY and row.reason in SPENDING",
        "task.spent += row.status is TaskStatus.FAILED_PENDING_RETRY",
        (),
    ),
    (
        "retries are given back by a start",
        "    task.spent += row.status is TaskStatus.FAILED_PENDING_RETRY and row.reason in SPENDING\n",
        "",
        (3,),
    ),
    (
        "the loss at hand is not counted after a start",
        "task.lost += task.is_lost or row.reason is Reason.LOST",
        "task.lost += row.reason is Reason.LOST",
        (),
    ),
    (
        "refusals are forgotten by a start",
        "    if row.reason is Reason.REFUSED:\n        count_refusal(task, row.executor)\n",
        "",
        (),
    ),
    (
        "ended parents count as successful after a start",
        "if task.status is TaskStatus.SUCCESS:",
        "if task.status in TASK_FINAL:",
        (4, 15),
    ),
    (
        "a start forgets what was cancelled",
        "run.is_cancelled |= task.status is TaskStatus.CANCELLED",
        "run.is_cancelled = False",
        (6,),
    ),
)

RETRIES = _in(
    "engine.retries",
    (
        "one retry more than allowed",
        "task.spent >= spec.retries",
        "task.spent > spec.retries",
        (3,),
    ),
    (
        "what was handed back is repeated though it may run once",
        "return None if spec.at_most_once and begun else ZERO",
        "return ZERO",
        (23,),
    ),
    (
        "back-off begins one step too far",
        "spec.retry_backoff ** (nth - 1)",
        "spec.retry_backoff**nth",
        (30,),
    ),
    (
        "jitter of twice the share",
        "seconds *= 1 + spec.retry_jitter *",
        "seconds *= 1 + 2 * spec.retry_jitter *",
        (30,),
    ),
    (
        "delays have no limit",
        "seconds = min(spec.retry_delay * spec.retry_backoff ** (nth - 1), spec.retry_delay_max)",
        "seconds = spec.retry_delay * spec.retry_backoff ** (nth - 1)",
        (30,),
    ),
)

WATCHER = _in(
    "scheduler.watcher",
    (
        "the cursor jumps to now",
        "after = next_point(schedule, point, point)",
        "after = next_point(schedule, now, point)",
        (7,),
    ),
    (
        "missed points are judged as of the beginning of the gap",
        "settled = settle_missed(schedule, at, gap.end, cursor.dag.catch_up)",
        "settled = settle_missed(schedule, at, gap.begin, cursor.dag.catch_up)",
        (29,),
    ),
    (
        "the points of a pause run after it",
        "after = next_point(schedule, now, start)",
        "after = next_point(schedule, start, start)",
        (29,),
    ),
    (
        "a dag at its cap waits for ever",
        "            self._push(self.cursors[dag_id])",
        "            pass",
        (13,),
    ),
    (
        "a pause comes one point too late",
        "if cursor is None or cursor.paused_at is not None or cursor.disabled is not None:",
        "if cursor is None or cursor.disabled is not None:",
        (18,),
    ),
    (
        "a gap reaches into the future",
        "Gap(gap.begin, min(gap.end, now))",
        "Gap(gap.begin, gap.end)",
        (29,),
    ),
    (
        "a point that has a run already is left out",
        "                yield PointsSkipped(dag.id, point, after)\n            else:",
        "                pass\n            else:",
        (7,),
    ),
)

CATCH_UP = _in(
    "schedule.catch_up",
    (
        "the newest point is missed too",
        "    recent = _first_within(schedule, cursor, now, RECENT)\n",
        "    return next_point(schedule, now, cursor)\n",
        (29,),
    ),
    (
        "one more than is to be caught up",
        "return found[-count:] if len(found) >= count",
        "return found[-count - 1 :] if len(found) >= count",
        (29,),
    ),
    (
        "the past before the registration",
        "earliest = start if catch_up else max(start, earliest)",
        "earliest = start",
        (27,),
    ),
)

FIXED = _in(
    "schedule.fixed",
    (
        "a point too far when asked on a point",
        "steps = (current - self.start) // self.interval + 1",
        "steps = -((self.start - current) // self.interval) + 1",
        (7,),
    ),
)

WALL = _in(
    "schedule.wall_clock",
    (
        "nothing runs after a gap of the clock",
        "if point > current:  # not so",
        "if point > current and _wall(zone, point) == wall:  # not so",
        (13, 24),
    ),
    (
        "twice in a repeated hour",
        "instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)",
        "instant = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)",
        (24,),
    ),
)

TASKS = _in(
    "scheduler.task_scheduler",
    (
        "one attempt more than slots",
        "max(0, self.slots - len(self.held) + len(self.ended))",
        "max(0, self.slots - len(self.held) + len(self.ended) + 1)",
        (17,),
    ),
    (
        "half a lease",
        "session.lease_end = now.mono + self.lease\n",
        "session.lease_end = now.mono + self.lease / 2\n",
        (7, 14),
    ),
    (
        "an attempt is missing after half a lease",
        "since + self.lease <= now.mono",
        "since + self.lease / 2 <= now.mono",
        (14,),
    ),
    (
        "no lease for the executor to end what is over time",
        "now.mono + spec.timeout + self.lease",
        "now.mono + spec.timeout",
        (31,),
    ),
    (
        "a stopped program takes others for dead",
        "if gap <= self.lease / 2:",
        "if gap >= 0.0:",
        (31,),
    ),
    (
        "anybody takes back what is lost",
        "        for token in tokens:\n            lost = self.engine.lost.get(token)\n",
        (
            "        for token, lost in list(self.engine.lost.items()):\n"
            "            executor = self.engine.runs[lost[0]].tasks[lost[1]].executor or executor\n"
        ),
        (12, 17),
    ),
    (
        "slots are not given back",
        "                session.drop(token)\n            session.ended.clear()",
        "            session.ended.clear()",
        (35,),
    ),
    (
        "what an executor holds is forgotten with memory",
        "                if task.token in known:",
        "                if task.token in known and task.executor == LOCAL:",
        (22,),
    ),
    (
        "an unknown executor is gone at once",
        "                elif task.executor == LOCAL:",
        "                elif task.executor != LOCAL:",
        (14,),
    ),
    (
        "timeouts are not enforced",
        "elif held.deadline is not None and held.deadline <= now.mono:",
        "elif held.deadline is not None and held.deadline + 60.0 <= now.mono:",
        (31,),
    ),
    (
        "the tokens of an executor that was away stay held",
        "session.is_gone = session.lease_end <= now.mono",
        "session.is_gone = session.lease_end <= now.mono and not session.held",
        (13,),
    ),
)

_COMMIT = "        if work.changes:\n            self.store.apply(work.changes)\n"
_ANNOUNCE = "        self.memory.committed(work.changes, now)\n        self._announce(work, now)\n"

ROUNDS = _in(
    "scheduler.rounds",
    (
        "answered before it is committed",
        _COMMIT + _ANNOUNCE,
        _ANNOUNCE + _COMMIT,
        (20,),
    ),
    (
        "an unclear commit did not happen",
        "if request.unclear is not None and request.unclear.happened():",
        "if False:",
        (26,),
    ),
    (
        "the same report again is refused",
        "return work.taken.get(report.token) is report.end or was_taken(self.store, report)",
        "return False",
        (11,),
    ),
    (
        "commands for a run that ends in this round are decided at once",
        "case CancelRun(run_id) | RestartRun(run_id) if work.has_ended(run_id):",
        "case CancelRun(run_id) | RestartRun(run_id) if work is None:",
        (),
    ),
)

RECOVERED = _in(
    "scheduler.recovery",
    (
        "memory is kept after a failed commit",
        "            self.read_back(now)\n            self._rounds.make(now, timers=True)",
        "            self._rounds.make(now, timers=True)",
        (25, 26),
    ),
    (
        "one bad report spoils the others",
        "                flags.append(self._report_alone(ask.executor, unwritable(report, error), now))",
        "                flags.append(False)",
        (26,),
    ),
)

SCHEDULER = _in(
    "scheduler.scheduler",
    (
        "a gap of ten minutes is no gap",
        "if gap > GAP:",
        "if gap > 10 * GAP:",
        (29,),
    ),
    (
        "what was missed before the start is only late",
        "        self.memory.watcher.missed(DAWN, now.utc)\n",
        "",
        (29,),
    ),
    (
        "nobody wakes it for a retry",
        "(self.memory.engine.next_due(), self.memory.watcher.next_wake())",
        "(None, self.memory.watcher.next_wake())",
        (30,),
    ),
)

_CONFLICT = '            raise ConflictError(\n                f"dag {dag_id!r} has'

COMMANDS = _in(
    "scheduler.commands",
    (
        "a restart of which nobody knows the end happens twice",
        "lambda row: row.restart >= number",
        "lambda row: row.restart > number",
        (26,),
    ),
    (
        "the same trigger again is another run",
        _CONFLICT,
        "            return self._memory.triggered_ref(dag_id, exec_ts)\n" + _CONFLICT,
        (26,),
    ),
    (
        "a closed run stays in memory",
        "            engine.forget(run_id)\n",
        "",
        (),
    ),
    (
        "a pause is answered and not written",
        "changes: list[Change] = list(self._memory.watcher.pause(self._known(dag_id), now.utc))",
        "changes: list[Change] = list(self._memory.watcher.pause(self._known(dag_id), now.utc))[1:]",
        (11,),
    ),
)

MEMORY = _in(
    "scheduler.memory",
    (
        "dags at their cap are not looked at again",
        "        self.watcher.unblock(dag_ids)\n",
        "",
        (13,),
    ),
    (
        "a backfill is not looked at again",
        "        self.backfills.wake(dag_ids)\n",
        "",
        (10,),
    ),
    (
        "two triggers of one instant",
        "if (dag_id, exec_ts) in self._fresh or self.store.has_run(dag_id, exec_ts):",
        "if self.store.has_run(dag_id, exec_ts):",
        (),
    ),
    (
        "run numbers begin anew",
        "        self._newest_run = self.store.newest_run_id()\n",
        "        self._newest_run = max(self._newest_run, self.store.newest_run_id() - 1)\n",
        (),
    ),
    (
        "room is not filled after a start",
        "            changes += engine.handle(RoomChanged(dag_id, room), now.utc)\n",
        "            pass\n",
        (13,),
    ),
    (
        "a removed dag has room for sixteen",
        "        engine.room = self.store.removed_rooms()\n",
        "",
        (17,),
    ),
    (
        "lost attempts of a start are not written",
        "            changes += engine.handle(lost, now.utc)\n",
        "            engine.handle(lost, now.utc)\n",
        (17,),
    ),
)

GRANTS = _in(
    "scheduler.grants",
    (
        "results of the first parent only",
        "    for parent in spec.parents:\n",
        "    for parent in spec.parents[:1]:\n",
        (21,),
    ),
)

BACKFILLS = _in(
    "scheduler.backfills",
    (
        "a backfill has one run too many at once",
        "engine.backfilling[one.ref.backfill_id] < one.max_active_runs",
        "engine.backfilling[one.ref.backfill_id] <= one.max_active_runs",
        (36,),
    ),
    (
        "a paused backfill goes on",
        "            one.paused_at is None\n            and dag_id in",
        "            dag_id in",
        (36,),
    ),
    (
        "a backfill ends before its runs have",
        "if one.is_over and not engine.backfilling[backfill_id]:",
        "if one.is_over:",
        (36,),
    ),
    (
        "a point that had a run counts as one that got one",
        "yield BackfillMoved(one.ref.backfill_id, position, ref is None)",
        "yield BackfillMoved(one.ref.backfill_id, position, False)",
        (36,),
    ),
)

BACKFILL_COMMANDS = _in(
    "scheduler.backfill_commands",
    (
        "the cancel of a backfill leaves one run",
        "    for run_id in mine:\n",
        "    for run_id in mine[1:]:\n",
        (36,),
    ),
    (
        "newest first is oldest first",
        "return free[::-1] if newest_first else free",
        "return free",
        (36,),
    ),
)

BATCH = _in(
    "store.batch",
    (
        "the begin of a run is lost when it ends in the same batch",
        'row.update(new, StartedAt=row["StartedAt"] or new["StartedAt"])',
        "row.update(new)",
        (24,),
    ),
    (
        "a trigger by hand moves the cursor",
        "if change.event not in (ScheduleEvent.MANUALLY_TRIGGERED, ScheduleEvent.OUT_OF_BAND):",
        "if change.event is not ScheduleEvent.OUT_OF_BAND:",
        (24,),
    ),
    (
        "the time of a retry is not written",
        '            "RetryAt": self.stamp(change.retry_at),\n',
        "",
        (13,),
    ),
    sqlite=True,
)

HOT = _in(
    "store.hot",
    (
        "a restarted run is still to be cancelled",
        '**_set(runs, "CancelRequestedAt"),',
        '"CancelRequestedAt": sa.func.coalesce(_parameter("CancelRequestedAt"), runs.c.CancelRequestedAt),',
        (),
    ),
    (
        "a run begins again when it goes on",
        'sa.func.coalesce(runs.c.StartedAt, _parameter("StartedAt"))',
        'sa.func.coalesce(_parameter("StartedAt"), runs.c.StartedAt)',
        (24,),
    ),
    sqlite=True,
)

STORE = _in(
    "store.store",
    (
        "lost attempts are read as running",
        "is_lost=row.LostAt is not None,",
        "is_lost=False,",
        (13, 25),
    ),
    (
        "the number of restarts is not read",
        "restart=row.Restarts,",
        "restart=0,",
        (6,),
    ),
    sqlite=True,
)

SYNC = _in(
    "store.sync",
    (
        "a changed schedule keeps the old cursor",
        '        values |= {"LastScheduleAt": None, "NextScheduleAt"',
        '        values |= {"NextScheduleAt"',
        (24,),
    ),
    sqlite=True,
)

PARTS = (
    ENGINE,
    RECOVERY,
    RETRIES,
    WATCHER,
    CATCH_UP,
    FIXED,
    WALL,
    TASKS,
    ROUNDS,
    RECOVERED,
    SCHEDULER,
    COMMANDS,
    MEMORY,
    GRANTS,
    BACKFILLS,
    BACKFILL_COMMANDS,
)
MUTANTS = [mutant for part in (*PARTS, BATCH, HOT, STORE, SYNC) for mutant in part]
