"""The pure heart: events in, changes out. See `engine.py` for the map."""

from ppacer.engine.engine import Engine
from ppacer.engine.model import (
    RUN_FINAL,
    TASK_FINAL,
    AttemptRow,
    Reason,
    RunRef,
    RunRow,
    RunStatus,
    ScheduleEvent,
    TaskStatus,
    Trigger,
)

__all__ = [
    "RUN_FINAL",
    "TASK_FINAL",
    "AttemptRow",
    "Engine",
    "Reason",
    "RunRef",
    "RunRow",
    "RunStatus",
    "ScheduleEvent",
    "TaskStatus",
    "Trigger",
]
