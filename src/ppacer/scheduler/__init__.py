"""The scheduler: creates runs (DagRunWatcher), hands out attempts (TaskScheduler), owns every write."""

from ppacer.scheduler.client import LocalClient
from ppacer.scheduler.outbox import Outbox, has_alert
from ppacer.scheduler.requests import (
    CancelRun,
    Command,
    CreateToken,
    Origin,
    PauseDag,
    RestartRun,
    RevokeToken,
    TriggerRun,
    UnpauseDag,
)
from ppacer.scheduler.scheduler import Scheduler, State
from ppacer.scheduler.standby import Standby
from ppacer.scheduler.watcher import DagRunWatcher

__all__ = [
    "CancelRun",
    "Command",
    "CreateToken",
    "DagRunWatcher",
    "LocalClient",
    "Origin",
    "Outbox",
    "PauseDag",
    "RestartRun",
    "RevokeToken",
    "Scheduler",
    "Standby",
    "State",
    "TriggerRun",
    "UnpauseDag",
    "has_alert",
]
