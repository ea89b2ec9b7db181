"""The scheduler: creates runs (DagRunWatcher), hands out attempts (TaskScheduler), owns every write."""

from ppacer.scheduler.client import LocalClient
from ppacer.scheduler.outbox import Outbox, has_alert
from ppacer.scheduler.requests import (
    CancelBackfill,
    CancelRun,
    Command,
    CreateToken,
    DrainExecutor,
    Origin,
    PauseBackfill,
    PauseDag,
    RestartRun,
    RevokeToken,
    StartBackfill,
    TriggerRun,
    UndrainExecutor,
    UnpauseBackfill,
    UnpauseDag,
)
from ppacer.scheduler.scheduler import Scheduler, State
from ppacer.scheduler.standby import Standby
from ppacer.scheduler.watcher import DagRunWatcher

__all__ = [
    "CancelBackfill",
    "CancelRun",
    "Command",
    "CreateToken",
    "DagRunWatcher",
    "DrainExecutor",
    "LocalClient",
    "Origin",
    "Outbox",
    "PauseBackfill",
    "PauseDag",
    "RestartRun",
    "RevokeToken",
    "Scheduler",
    "Standby",
    "StartBackfill",
    "State",
    "TriggerRun",
    "UndrainExecutor",
    "UnpauseBackfill",
    "UnpauseDag",
    "has_alert",
]
