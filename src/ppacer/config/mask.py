"""Hides the values of secret environment variables wherever text is kept or shown."""

import re
from collections.abc import Callable, Iterable, Mapping

LOOKS_SECRET = re.compile(
    r"(?i)(secret|token|passw|passphrase|credential|api_?key|access_?key|private_?key|auth|dsn|database_url)"
)
CHARS_MIN = 6  # a shorter value would hide ordinary words
HIDDEN = "***"

Mask = Callable[[str], str]


def make_mask(environ: Mapping[str, str], names: Iterable[str] = ()) -> Mask:
    """A function that replaces the values of variables that look like secrets, or are named, by `***`."""
    named = set(names)
    values = {
        value
        for name, value in environ.items()
        if len(value) >= CHARS_MIN
        and (name in named or (LOOKS_SECRET.search(name) and not _is_harmless(value)))
    }
    if not values:
        return str
    pattern = re.compile("|".join(re.escape(value) for value in sorted(values, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)


def _is_harmless(value: str) -> bool:
    """Paths to key files and switches are no secrets themselves."""
    return value.lower() in ("enabled", "disabled", "required") or (
        value.startswith("/") and ":" not in value
    )
