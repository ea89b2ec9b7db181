"""Who may talk to the server at all: known hosts only, and no other site's page may change anything.

A browser that was lured to another site can send requests to 127.0.0.1, and DNS rebinding can make them
look local; the Host allow-list and the same-origin rule stop both from the first day.
"""

import asyncio
import re
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppacer.api.problems import RequestError, problem
from ppacer.config import WILDCARDS

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY_BYTES_MAX = 2 * 1024 * 1024
EXECUTORS = "/api/v1/executors/"
EXECUTORS_BODY_BYTES_MAX = 64 * 1024 * 1024
"""Executors send the results of many tasks at once."""
BODY_SECONDS = 9.0  # and more for what has come: a large body over a slow line is no attack
BYTES_PER_SECOND = 20_000
TOO_SLOW = "the request body was not whole in time"
HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::[0-9]{1,5})?", re.IGNORECASE)

CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""Scripts and styles are files of ours: what a value of a user has smuggled into a page does nothing."""

# On every answer, those to requests that cannot be parsed included.
HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("content-security-policy", CONTENT),
)


class Guard:
    """ASGI middleware in front of everything.

    A wildcard among the hosts stands for every address: what is rebound is a name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = {_host_name(host) or host.lower() for host in (*LOOPBACK, *hosts)} - WILDCARDS
        self.takes_addresses = not WILDCARDS.isdisjoint(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = EXECUTORS_BODY_BYTES_MAX if scope["path"].startswith(EXECUTORS) else BODY_BYTES_MAX
        refusal = self.refusal(scope["method"], Headers(scope=scope), limit)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            await self.app(scope, _limited(receive, limit), send)
        except asyncio.CancelledError:  # the server ends, and a slow client has not sent or read all
            detail = "the server is stopping; a command may still be carried out"
            await problem(503, "no_answer", detail)(scope, receive, send)

    def refusal(self, method: str, headers: Headers, limit: int) -> Response | None:
        """The answer to what may not be asked like this; None: it may."""
        hosts = headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return problem(
                400, "bad_host", "a request names its host once, in the header Host: name or name:port"
            )
        if name not in self.hosts and not (self.takes_addresses and _is_address(name)):
            name = name[:100]
            detail = (
                f"this server does not answer to the host name {name!r}; if it is one of its own, start it "
                f'with PPACER_ALLOWED_HOSTS={name}, or with allowed_hosts = ["{name}"] in ppacer.toml'
            )
            return problem(421, "unknown_host", detail)
        if method in SAFE:
            return None
        if not _is_same_origin(headers, hosts[0]):
            return problem(403, "cross_origin", "another site may not change anything here")
        length = headers.get("content-length", "0")
        if len(length) > 15 or (length.isdecimal() and int(length) > limit):
            return problem(413, "body_too_large", _too_large(limit))
        return None


def _host_name(host: str) -> str | None:
    """The name without the port, in lower case: `[::1]:9321` → `::1`; None for what is no host at all."""
    found = HOST.fullmatch(host)
    return None if found is None else (found["v6"] or found["name"]).lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return name not in WILDCARDS


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Programs send neither header; a browser sends both, and no page can make it lie."""
    own = {f"http://{host}".lower(), f"https://{host}".lower()}  # https: behind a proxy that ends TLS
    sites = set(headers.getlist("sec-fetch-site"))
    return (
        sites <= {"same-origin", "none"} and {origin.lower() for origin in headers.getlist("origin")} <= own
    )


def _too_large(limit: int) -> str:
    return f"a request body has at most {limit:,} bytes"


def _limited(receive: Receive, limit: int) -> Receive:
    """Refuses a body that is too long or takes too long; after it one may wait for the client to leave."""
    seen = 0
    begin = asyncio.get_running_loop().time()
    end: float | None = begin + BODY_SECONDS

    async def limited() -> Message:
        nonlocal seen, end
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise RequestError(TOO_SLOW, 408, "request_timeout") from None
        seen += len(message.get("body", b""))
        end = begin + BODY_SECONDS + seen / BYTES_PER_SECOND
        if seen > limit:
            raise RequestError(_too_large(limit), 413, "body_too_large")
        if not message.get("more_body"):
            end = None
        return message

    return limited
