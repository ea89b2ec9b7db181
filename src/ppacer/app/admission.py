"""Before a server listens: may it, and under which names?"""

import socket
from datetime import datetime
from urllib.parse import urlsplit

from ppacer.config import WILDCARDS, Settings, is_loopback
from ppacer.errors import ConfigError
from ppacer.store import Store


def check_tokens(settings: Settings, now: datetime) -> None:
    """Raises ConfigError when tokens are needed and there is none: nobody could come in, or everybody."""
    if not settings.needs_token:
        return
    if _has_token(settings, now):
        return
    why = "require_token is set" if settings.require_token else f"other machines can reach {settings.host}"
    otherwise = "" if settings.require_token else " (--insecure lets everybody in without one)"
    raise ConfigError(
        f"{why}, and there is no access token: make one with "
        f"`ppacer token create NAME --role admin --db {settings.db_shown}`, then start again{otherwise}"
    )


def hosts_of(settings: Settings) -> tuple[str, ...]:
    """The host names that are answered: those of the settings, and under which this machine is reached."""
    others = tuple(host for host in settings.allowed_hosts if host not in WILDCARDS)
    if is_loopback(settings.host):
        return others
    names = (socket.gethostname(), socket.getfqdn()) if settings.host in WILDCARDS else ()
    return (*others, settings.host, *names)


def url_for_others(url: str) -> str:
    """Where other machines find what listens here at `url`; they cannot go to a wildcard."""
    parts = urlsplit(url)
    return f"http://{socket.gethostname()}:{parts.port}" if parts.hostname in WILDCARDS else url


def _has_token(settings: Settings, now: datetime) -> bool:
    """Whether there is one that counts; a start that is refused makes no database."""
    if settings.db_file is not None and not settings.db_file.exists():
        return False
    store = Store(settings.db)
    try:
        return any(row.counts(now) for row in store.token_rows())
    finally:
        store.close()
