"""Idempotency: the same command with the same key again is answered as before, and does nothing more.

The reply is a row that is written in the transaction of the command. So it is there exactly when the command
has happened, whatever became of the answer, the connection or the program.
"""

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from ppacer.engine import RunRef
from ppacer.engine.changes import ReplyKept
from ppacer.errors import (
    CommandError,
    ConflictError,
    DagError,
    KeyReusedError,
    NotFoundError,
    ParamsError,
    PpacerError,
    ScheduleError,
)
from ppacer.scheduler.requests import CreateToken, Request
from ppacer.scheduler.work import Work
from ppacer.store import Store
from ppacer.store.backfills import BackfillRef
from ppacer.store.tokens import TokenRow

REFUSALS: dict[str, type[PpacerError]] = {
    kind.__name__: kind
    for kind in (ConflictError, DagError, NotFoundError, ParamsError, ScheduleError, CommandError)
}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reply as it is kept: one of these."""

    run: RunRef | None = None
    text: str | None = None
    token: TokenRow | None = None
    backfill: BackfillRef | None = None
    refusal: str | None = None
    detail: str = ""

    @property
    def value(self) -> Any:
        """The reply itself."""
        if self.refusal is not None:
            return REFUSALS[self.refusal](self.detail)
        return self.run or self.token or self.backfill or self.text


def earlier(store: Store, request: Request, work: Work) -> Any:
    """What the same command was answered before, in this round or in the last days; None for a new one.

    A key that was used for another command is answered with KeyReusedError.
    """
    origin = request.origin
    if origin.key is None:
        return None
    found = work.kept.get((origin.actor, origin.key)) or store.reply(origin.actor, origin.key)
    if found is None:
        return None
    fingerprint, reply = found
    if fingerprint != _fingerprint(request.ask):
        return KeyReusedError(f"the idempotency key {origin.key!r} was used for another command before")
    return msgspec.json.decode(reply, type=Reply).value


def keep(request: Request, reply: Any, at: datetime, work: Work) -> None:
    """Has the reply written with the round; does nothing for a command without a key."""
    origin = request.origin
    if origin.key is not None:
        kept = _fingerprint(request.ask), msgspec.json.encode(_kept(reply)).decode()
        work.kept[origin.actor, origin.key] = kept
        work.changes.append(ReplyKept(origin.actor, origin.key, at, *kept))


def _kept(reply: Any) -> Reply:
    match reply:
        case RunRef():
            return Reply(run=reply)
        case TokenRow():
            return Reply(token=reply)
        case BackfillRef():
            return Reply(backfill=reply)
        case PpacerError():
            kinds = (kind.__name__ for kind in type(reply).__mro__)
            name = next((kind for kind in kinds if kind in REFUSALS), CommandError.__name__)
            return Reply(refusal=name, detail=str(reply))
    return Reply(text=reply)


def _fingerprint(command: Any) -> str:
    """The same for the same command. The secret of a token does not count: it is new in each request."""
    if isinstance(command, CreateToken):
        command = msgspec.structs.replace(command, token_id="", token_hash="")
    text = msgspec.json.encode([type(command).__name__, command], order="deterministic")
    return hashlib.sha256(text).hexdigest()
