"""Rows of access tokens, for those who judge requests and those who list them; no secret is in them."""

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from ppacer.choices import Role
from ppacer.store.schema import tokens


class TokenRow(msgspec.Struct, frozen=True):
    """One token. It counts while it is neither expired nor revoked."""

    token_id: str
    name: str
    role: Role
    token_hash: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def counts(self, now: datetime) -> bool:
        """Whether its holder may come in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def every_token() -> sa.Select[Any]:
    """All of them, oldest first, each row in the order of the fields of TokenRow."""
    t = tokens.c
    columns = (t.TokenId, t.Name, t.Role, t.TokenHash, t.CreatedAt, t.CreatedBy, t.ExpiresAt, t.RevokedAt)
    return sa.select(*columns).order_by(t.CreatedAt, t.TokenId)
