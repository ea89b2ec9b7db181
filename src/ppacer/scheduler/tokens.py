"""Commands about access tokens: what may be made, what may be revoked."""

from datetime import datetime

from ppacer.dag.check import check_id
from ppacer.engine.changes import TokenCreated, TokenRevoked
from ppacer.errors import ConflictError, NotFoundError, ParamsError
from ppacer.scheduler.instants import in_utc
from ppacer.scheduler.requests import LOCAL, CreateToken, RevokeToken
from ppacer.store.tokens import TokenRow


def create(command: CreateToken, rows: list[TokenRow], actor: str, now: datetime) -> TokenCreated:
    """A token with a name that no other has. Raises ConflictError, DagError and ParamsError."""
    check_id("token", command.name)
    if command.name == LOCAL:
        raise ParamsError(f"the name {LOCAL!r} means those who need no token; choose another one")
    expires_at = None if command.expires_at is None else in_utc("the expiry", command.expires_at)
    if expires_at is not None and expires_at <= now:
        raise ParamsError(f"a token that expires at {expires_at.isoformat()} would never count")
    if any(row.name == command.name and row.revoked_at is None for row in rows):
        raise ConflictError(
            f"there is a token {command.name!r} already; choose another name, or revoke it first with "
            f"`ppacer token revoke {command.name}`"
        )
    return TokenCreated(
        command.token_id, command.name, command.role, command.token_hash, now, actor, expires_at
    )


def revoke(command: RevokeToken, rows: list[TokenRow], now: datetime) -> tuple[TokenRow, TokenRevoked]:
    """The token of this name, revoked. Raises NotFoundError."""
    for row in rows:
        if row.name == command.name and row.revoked_at is None:
            return row, TokenRevoked(row.token_id, now)
    raise NotFoundError(f"there is no token {command.name[:200]!r}; `ppacer token list` lists them")
