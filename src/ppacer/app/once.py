"""One run of one dag, from trigger to end, in a temporary database."""

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

import msgspec

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


LOOK_SECONDS = 0.2  # between two looks for Ctrl-C
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
        with Program(registry, settings, sender, mask, warm, http=False, scheduled=False) as program:
            if on_progress is not None:
                program.on_records(lambda records: on_progress((), records))
            program.on_changes(watch)
            with Interrupts() as interrupts:
                ref = program.scheduler.submit(TriggerRun(next(iter(registry)), params)).future.result()
                _wait(program, ended, ref.run_id, interrupts)
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


class Interrupts:
    """Notices Ctrl-C, which would raise KeyboardInterrupt in the midst of anything, and could be lost there.

    The second one does raise it.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._mine: list[signal.Signals] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            wanted = (signal.SIGINT, signal.SIGTERM)
            self._mine = [one for one in wanted if signal.getsignal(one) is signal.default_int_handler]
        for number in self._mine:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._mine:
            signal.signal(number, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.has_come:
            signal.default_int_handler(number, frame)
        self.has_come = True


def _wait(program: Program, ended: threading.Event, run_id: int, interrupts: Interrupts) -> None:
    """Returns when the run has ended, which it is told to do after Ctrl-C."""
    is_cancelled = False
    while not ended.wait(LOOK_SECONDS):
        if interrupts.has_come and not is_cancelled:
            program.scheduler.submit(CancelRun(run_id))
            is_cancelled = True
        if not program.is_alive():
            raise PpacerError("a part of the program has ended by itself; the log says why")
