"""Who may do what: each route needs a permission, each role has some, each caller has a role."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool as in_thread
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from ppacer.api.problems import RequestError
from ppacer.api.secret import hash_of
from ppacer.choices import Role
from ppacer.clock import Clock
from ppacer.engine.changes import Change, TokenCreated, TokenRevoked
from ppacer.errors import StoreError
from ppacer.scheduler.requests import LOCAL
from ppacer.store.tokens import TokenRow

log = logging.getLogger("ppacer.api")

COOKIE = "ppacer_token"
STALE_SECONDS = 5.0  # after which rows are read again, in case another program has changed them
PATIENCE_SECONDS = 1.0  # with a database that hangs; then those rows count that are known
NO_TOKEN = (
    "this needs an access token: Authorization: Bearer ppt_…, for ppacer's commands in PPACER_TOKEN or "
    "--token-file; `ppacer token create` makes one"
)
NO_SUCH_TOKEN = "this access token is unknown, expired or revoked"


class Permission(StrEnum):
    """What a route needs of its caller; PUBLIC: nothing, not even a token."""

    PUBLIC = "public"
    VIEW = "view"
    COMMAND = "command"
    ADMIN = "admin"
    EXECUTE = "execute"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.OPERATOR: frozenset({Permission.VIEW, Permission.COMMAND}),
    Role.ADMIN: frozenset(Permission),
    Role.EXECUTOR: frozenset({Permission.EXECUTE}),
}
"""An executor runs code of the user on other machines: what it can tell us is all it may do."""


class Caller(NamedTuple):
    """Whoever sent a request: the name of the token, and its role."""

    name: str
    role: Role


SOMEBODY_HERE = Caller(LOCAL, Role.ADMIN)  # on this machine, where no token is needed


class Tokens:
    """The tokens that count. Rows are read when they have changed, and not for each request."""

    def __init__(self, read: Callable[[], list[TokenRow]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._rows: dict[str, TokenRow] | None = None  # by hash
        self._stale_at = 0.0  # monotonic
        self._version = 0  # counts changes
        self._known = 0  # the version that the rows have at least
        self._reading: tuple[asyncio.Task[None], float] | None = None  # and until when it is waited for
        self._revoked: set[str] = set()  # ids, for as long as rows cannot be read

    def changed(self, changes: Sequence[Change]) -> None:
        """Hears of everything that is committed, in the scheduler's thread."""
        if any(isinstance(change, TokenCreated | TokenRevoked) for change in changes):
            self._revoked.update(change.token_id for change in changes if isinstance(change, TokenRevoked))
            self.forget()

    def forget(self) -> None:
        """The next request reads the rows again."""
        self._version += 1
        self._stale_at = 0.0

    async def find(self, secret: str) -> Caller | None:
        """Who has this secret; None when it does not count (any more)."""
        await self._refresh()
        return self._found(secret)

    def find_at_once(self, secret: str) -> Caller | None:
        """As `find`, but None also when the rows have to be read first."""
        return None if self._clock.now().mono >= self._stale_at else self._found(secret)

    def _found(self, secret: str) -> Caller | None:
        wanted = hash_of(secret)
        row = (self._rows or {}).get(wanted)
        if row is None or row.token_id in self._revoked or not hmac.compare_digest(row.token_hash, wanted):
            return None
        return Caller(row.name, row.role) if row.counts(self._clock.now().utc) else None

    async def _refresh(self) -> None:
        """Waits for the rows when they are old. One reading is for all who come meanwhile.

        Executors whose heartbeats waited for a database that hangs would lose what they run. Only a change
        that is known of is waited for in any case.
        """
        while self._clock.now().mono >= self._stale_at:
            now = asyncio.get_running_loop().time()
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_again()), now + PATIENCE_SECONDS
            reading, end = self._reading
            is_known = self._rows is not None and self._known == self._version
            await asyncio.wait({reading}, timeout=max(0.0, end - now) if is_known else None)
            if not reading.done():
                return
            reading.result()

    async def _read_again(self) -> None:
        version = self._version
        try:
            rows = await in_thread(self._read)
        except StoreError:  # who was known may go on while the database is away
            if self._rows is None:
                raise
        else:
            self._rows, self._known = {row.token_hash: row for row in rows if row.revoked_at is None}, version
        finally:
            self._reading = None
        self._stale_at = self._clock.now().mono + STALE_SECONDS
        if version != self._version:  # changed while they were read
            self._stale_at = 0.0


class Access:
    """Judges each request before its endpoint runs: credential → role → permission."""

    def __init__(self, tokens: Tokens, needs_token: bool) -> None:
        self._tokens = tokens
        self._needs_token = needs_token

    async def judge(self, scope: Scope, permission: Permission) -> Caller:
        """Who calls; raises RequestError for whom may not."""
        caller = await self.caller(Headers(scope=scope))
        scope["caller"] = caller
        if permission not in PERMISSIONS[caller.role]:
            roles = " or ".join(role for role in Role if permission in PERMISSIONS[role])
            raise RequestError(
                f"the role {caller.role} of token {caller.name!r} may not do this; it needs {roles}",
                403,
                "forbidden",
            )
        return caller

    def admits_at_once(self, headers: Headers, permission: Permission) -> bool:
        """Whether this caller certainly may; False: that is for `judge` to say."""
        secret = secret_in(headers)
        if secret is None:
            return not self._needs_token
        caller = self._tokens.find_at_once(secret)
        return caller is not None and permission in PERMISSIONS[caller.role]

    async def caller(self, headers: Headers) -> Caller:
        """Who sends these headers. Where none is needed, a token that is given counts all the same."""
        secret = secret_in(headers)
        if secret is None:
            if self._needs_token:
                raise unauthorized(NO_TOKEN)
            return SOMEBODY_HERE
        caller = await self._tokens.find(secret)
        if caller is None:
            raise unauthorized(NO_SUCH_TOKEN)
        return caller


def unauthorized(detail: str) -> RequestError:
    """The refusal of a credential."""
    return RequestError(detail, 401, "unauthorized", {"www-authenticate": 'Bearer realm="ppacer"'})


def secret_in(headers: Headers) -> str | None:
    """The credential of a request: that of programs counts more than the cookie of a browser."""
    given = headers.getlist("authorization")
    if given:
        scheme, _, secret = given[0].partition(" ")
        return secret.strip() if len(given) == 1 and scheme.lower() == "bearer" else ""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(COOKIE)
