"""The routes of administrators: access tokens, and what everybody has done."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from ppacer.api.access import Permission
from ppacer.api.door import Door
from ppacer.api.parameters import limit, text, whole
from ppacer.api.route import Route, answer, origin_of
from ppacer.api.secret import hash_of, new_id, new_secret
from ppacer.api.wire import Audit, NewToken, Nothing, TokenMade, Tokens, TokenView
from ppacer.scheduler import CreateToken, RevokeToken
from ppacer.store.tokens import TokenRow

AUDIT_QUERY = (
    text("dag_id", "Only what was about this dag."),
    whole("run_id", "Only what was about this run."),
    text("actor", "Only what this token did; `local`: who needed none."),
    text("command", "Only this command, such as trigger."),
    whole("before", "Only rows with a lower audit_id: `next` of the page before."),
    limit(20),
)


def token_routes(door: Door) -> list[Route]:
    """All of them over `door`."""
    api, admin = TokenRoutes(door), Permission.ADMIN
    make = partial(Route, "POST", permission=admin)
    return [
        Route("GET", "/api/v1/tokens", api.tokens, admin, answer=Tokens),
        make(
            "/api/v1/tokens",
            api.create_token,
            body=NewToken,
            answer=TokenMade,
            status=201,
            problems=("not_possible", "conflict"),
        ),
        make(
            "/api/v1/tokens/{name}/revoke",
            api.revoke_token,
            body=Nothing,
            answer=TokenView,
            problems=("not_found",),
        ),
        Route("GET", "/api/v1/audit", api.audit, admin, query=AUDIT_QUERY, answer=Audit),
    ]


class TokenRoutes:
    """The endpoints."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def tokens(self, request: Request) -> Tokens:
        """Every access token, without its secret."""
        return Tokens([view_of(row) for row in self.door.reads.tokens()])

    async def create_token(self, request: Request, body: NewToken) -> Response:
        """Makes an access token; its secret is in this answer and nowhere else."""
        secret = new_secret()
        command = CreateToken(body.name, body.role, body.expires_at, new_id(), hash_of(secret))
        row = await self._obey(command, request)
        is_new = row.token_id == command.token_id
        return answer(TokenMade(view_of(row), secret if is_new else None), 201)

    async def revoke_token(self, request: Request, name: str, body: Nothing) -> TokenView:
        """Lets the holder of a token in no more."""
        return view_of(await self._obey(RevokeToken(name), request))

    async def _obey(self, command: CreateToken | RevokeToken, request: Request) -> TokenRow:
        try:
            row: TokenRow = await self.door.command(command, origin_of(request))
        finally:
            self.door.tokens.forget()  # whatever became of it
        return row

    def audit(
        self,
        request: Request,
        dag_id: str | None,
        run_id: int | None,
        actor: str | None,
        command: str | None,
        before: int | None,
        limit: int,
    ) -> Audit:
        """Every command that was given, carried out or refused, newest first."""
        rows = self.door.reads.audit(
            dag_id=dag_id, run_id=run_id, actor=actor, command=command, before=before, limit=limit
        )
        return Audit(rows, rows[-1].audit_id if len(rows) == limit else None)


def view_of(row: TokenRow) -> TokenView:
    """A token as its administrators see it."""
    return TokenView(
        row.token_id, row.name, row.role, row.created_at, row.created_by, row.expires_at, row.revoked_at
    )
