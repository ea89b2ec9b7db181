"""The row that every command leaves, carried out or refused: who, from where, what, and what became of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ppacer.dag.check import ID_GRAMMAR
from ppacer.engine import RunRef
from ppacer.engine.changes import Audited
from ppacer.errors import PpacerError
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
from ppacer.store.backfills import BackfillRef
from ppacer.store.store import INTEGER_MAX

DONE = "done"
DETAILS_CHARS_MAX = 10_000  # the parameters of a run are in its row, in full
ERROR_CHARS_MAX = 2_000
RUN_ID_DIGITS = 10  # fewer fit every column

NAMES: dict[type, str] = {
    TriggerRun: "trigger",
    CancelRun: "cancel",
    RestartRun: "restart",
    DrainExecutor: "drain",
    UndrainExecutor: "undrain",
    PauseDag: "pause",
    UnpauseDag: "unpause",
    StartBackfill: "start_backfill",
    PauseBackfill: "pause_backfill",
    UnpauseBackfill: "unpause_backfill",
    CancelBackfill: "cancel_backfill",
    CreateToken: "create_token",
    RevokeToken: "revoke_token",
}


def audited(command: Command, origin: Origin, reply: Any, at: datetime) -> Audited:
    """What the audit says of a command and its reply, which is an error when it was refused."""
    error = reply if isinstance(reply, PpacerError) else None
    told = reply if isinstance(reply, RunRef | BackfillRef) else command
    dag_id, run_id = getattr(told, "dag_id", None), getattr(told, "run_id", None)
    return Audited(
        at,
        origin.actor,
        origin.address,
        NAMES[type(command)],
        _possible(dag_id),
        run_id if run_id is not None and 0 <= run_id <= INTEGER_MAX else None,
        _details(command),
        DONE if error is None else error.code,
        None if error is None else str(error)[:ERROR_CHARS_MAX].replace("\0", "\\0"),
    )


def forbidden(command: str, origin: Origin, ids: Mapping[str, str], at: datetime) -> Audited:
    """What the audit says of somebody whose role may not do this."""
    dag_id, run_id = ids.get("dag_id"), ids.get("run_id", "")
    return Audited(
        at,
        origin.actor,
        origin.address,
        command,
        _possible(dag_id),
        int(run_id) if run_id.isascii() and run_id.isdigit() and len(run_id) < RUN_ID_DIGITS else None,
        msgspec.json.encode(ids).decode()[:DETAILS_CHARS_MAX],
        "forbidden",
        None,
    )


def _possible(dag_id: str | None) -> str | None:
    """An id, if it can be one: the column could not hold every text, and the details have it as JSON."""
    return dag_id if dag_id is not None and ID_GRAMMAR.fullmatch(dag_id) else None


def _details(command: Command) -> str:
    """What was asked for, as JSON; of a token not even the hash."""
    asked = msgspec.to_builtins(command)
    asked.pop("token_hash", None)
    text = msgspec.json.encode(asked).decode()
    if len(text) > DETAILS_CHARS_MAX:
        asked["params"] = f"{len(text):,} characters, too many to be kept here"
        text = msgspec.json.encode(asked).decode()
    return text if len(text) <= DETAILS_CHARS_MAX else "{}"
