"""One run of one dag, from trigger to end, in a temporary database."""

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ppacer.app import ENDED
from ppacer.app.program import Program
from ppacer.config import Settings, make_mask
from ppacer.dag import Registry
from ppacer.engine import RUN_FINAL
from ppacer.engine.changes import Change, RunChanged
from ppacer.errors import PpacerError
from ppacer.executor.warm import WarmParent
from ppacer.notify import Sender
from ppacer.scheduler import CancelRun, TriggerRun
from ppacer.store.reads import Reads
from ppacer.store.views import RunDetail
from ppacer.tasklog import LogRecord


class Once(RunDetail, frozen=True):
    """A run that is over, with what its tasks returned: plain JSON values, by task."""

    results: dict[str, Any]


Progress = Callable[[Sequence[Change], Sequence[LogRecord]], None]


def run_to_end(
    registry: Registry,
    settings: Settings,
    sender: Sender,
    warm: WarmParent | None,
    params: dict[str, Any],
    on_progress: Progress | None,
) -> Once:
    """Triggers the only dag, waits for the end of the run, reads it back. Ctrl-C cancels the run first."""
    ended = threading.Event()

    def watch(changes: Sequence[Change]) -> None:
        try:
            if on_progress is not None:
                on_progress(changes, ())
        finally:  # afterwards, so that the last words have been said when `run_to_end` returns
            if any(isinstance(change, RunChanged) and change.status in RUN_FINAL for change in changes):
                ended.set()

    with tempfile.TemporaryDirectory(prefix="ppacer-") as folder:
        settings = msgspec.structs.replace(
            settings, db=str(Path(folder, "scheduler.db")), logs_db=str(Path(folder, "logs.db"))
        )
        mask = make_mask(os.environ, settings.secrets)
        whole = Program(registry, settings, sender, mask, warm, http=False, scheduled=False)
        with whole.running() as program:
            if on_progress is not None:
                program.on_records(lambda records: on_progress((), records))
            program.on_changes(watch)
            ref = program.scheduler.submit(TriggerRun(next(iter(registry)), params)).future.result()
            _wait(program, ended, ref.run_id)
            program.outbox.finish()  # the alerts are rows by now, and the database is about to go
            program.logs.flush(2.0)
            reads = Reads(settings.db, mask)
            try:
                detail = reads.run_detail(ref.run_id)
                texts = reads.results(ref.run_id)
            finally:
                reads.close()
    results = {task_id: msgspec.json.decode(text) for task_id, text in texts.items()}
    return Once(detail.run, detail.tasks, detail.attempts, results)


def _wait(program: Program, ended: threading.Event, run_id: int) -> None:
    try:
        _until(program, ended)
    except KeyboardInterrupt:
        program.scheduler.submit(CancelRun(run_id))
        _until(program, ended)


def _until(program: Program, ended: threading.Event) -> None:
    while not ended.wait(0.5):
        if not program.is_alive():
            raise PpacerError(ENDED)
