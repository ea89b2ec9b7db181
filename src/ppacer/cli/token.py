"""`ppacer token`: make, list and revoke access tokens, through the scheduler that runs, or without one."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from ppacer.choices import Role
from ppacer.cli.options import asking, asking_or_making, print_json
from ppacer.errors import ConfigError

if TYPE_CHECKING:
    from ppacer.api.wire import TokenView
    from ppacer.cli.backend import Backend

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SPAN = re.compile(r"(?P<count>[1-9][0-9]{0,4})(?P<unit>[mhdw])")


@click.group("token")
def token_command() -> None:
    """Make, list and revoke access tokens.

    On this machine nobody needs one; a scheduler that other machines can reach lets nobody in without.
    """


@token_command.command("create")
@click.argument("name")
@click.option(
    "--role", required=True, type=click.Choice([str(role) for role in Role]), metavar="ROLE",
    help=f"What its holder may do: {', '.join(Role)}.",
)  # fmt: skip
@click.option("--expires", metavar="SPAN", help="How long it counts: 12h, 90d, 52w (for ever).")
@asking_or_making
def create_command(backend: "Backend", name: str, role: str, expires: str | None, as_json: bool) -> None:
    """Make an access token called NAME. Its secret is printed now, and never again.

    The database is made when there is none yet: the first token is needed before a scheduler listens.
    """
    made = backend.create_token(name, Role(role), _end(expires))
    if as_json:
        print_json(made)
    elif made.secret is None:
        click.echo(f"token {name} was made, but its secret was lost on the way: ppacer token revoke {name}")
    else:
        click.echo(f"token {name} ({role}) is made; this is its secret, shown only now:", err=True)
        click.echo(made.secret)


@token_command.command("list")
@asking
def list_command(backend: "Backend", as_json: bool) -> None:
    """List all tokens, also those that count no more."""
    tokens = backend.tokens()
    if as_json:
        print_json(tokens)
        return
    if not tokens:
        click.echo("no token yet: ppacer token create NAME --role ROLE")
        return
    from ppacer.cli.screen import Column, Screen
    from ppacer.clock import SystemClock

    now = SystemClock().now().utc
    rows = [[one.name, one.role, _state(one, now), _day(one.created_at), one.created_by] for one in tokens]
    Screen().table([Column(name) for name in ("TOKEN", "ROLE", "STATE", "MADE", "BY")], rows)


@token_command.command("revoke")
@click.argument("name")
@asking
def revoke_command(backend: "Backend", name: str, as_json: bool) -> None:
    """Let the holder of the token NAME in no more, from now on."""
    revoked = backend.revoke_token(name)
    if as_json:
        print_json(revoked)
    else:
        click.echo(f"token {name} counts no more")


def _end(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    span = SPAN.fullmatch(expires)
    if span is None:
        raise ConfigError(f"--expires {expires} is not a span such as 12h, 90d or 52w")
    from ppacer.clock import SystemClock

    return SystemClock().now().utc + timedelta(**{UNITS[span["unit"]]: int(span["count"])})


def _state(token: "TokenView", now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {_day(token.revoked_at)}"
    if token.expires_at is None:
        return "counts"
    return f"{'expired' if token.expires_at <= now else 'counts until'} {_day(token.expires_at)}"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
