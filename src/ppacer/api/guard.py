"""Who may talk to the server at all: known hosts only, and no other site's page may change anything.

A browser that was lured to another site can send requests to 127.0.0.1, and DNS rebinding can make them
look local; the Host allow-list and the same-origin rule stop both from the first day.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppacer.api.problems import problem

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY_BYTES_MAX = 2 * 1024 * 1024


class Guard:
    """ASGI middleware in front of everything."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = {host.lower() for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            status, code, detail = refusal
            await problem(status, code, detail)(scope, receive, send)
            return
        await self.app(scope, _limited(receive), _hardened(send))

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if _host_name(host) not in self.hosts:
            return 421, "unknown_host", "this server does not answer to this host name; see allowed_hosts"
        if method in SAFE:
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "cross_origin", "another site may not change anything here"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "cross_origin", "another site may not change anything here"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            return 413, "body_too_large", f"a request body has at most {BODY_BYTES_MAX:,} bytes"
        return None


def _host_name(host: str) -> str:
    """The name without the port: `[::1]:9321` → `::1`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _limited(receive: Receive) -> Receive:
    """Ends a body that is longer than it said, or than it may be."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > BODY_BYTES_MAX else message

    return limited


_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; "
     b"base-uri 'none'; form-action 'self'"),
]  # fmt: skip


def _hardened(send: Send) -> Send:
    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(pair for pair in _HEADERS if pair[0] not in present),
            ]
        await send(message)

    return hardened
