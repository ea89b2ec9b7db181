"""Hides the values of secret environment variables wherever text is kept or shown."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

LOOKS_SECRET = re.compile(
    r"(?i)(secret|token|passw|passphrase|credential|api_?key|access_?key|private_?key|dsn|database_url"
    r"|auth(?!or)|authori[sz])"  # no authors, no authorities
)
CHARS_MIN = 6  # a shorter value would hide ordinary words
DEPTH_MAX = 64
HIDDEN = "***"

Mask = Callable[[str], str]


def make_mask(environ: Mapping[str, str], names: Iterable[str] = ()) -> Mask:
    """A function that replaces the values of variables that look like secrets, or are named, by `***`.

    Of a value with several lines every line is a secret of its own: logs are cut into lines. Errors quote
    values as `repr` and JSON write them.
    """
    named = set(names)
    values = {
        form
        for name, value in environ.items()
        if name in named or (LOOKS_SECRET.search(name) and not _is_harmless(value))
        for part in (value, *map(str.strip, value.splitlines()))
        if len(part) >= CHARS_MIN
        for form in (
            part,
            repr(part)[1:-1],
            json.dumps(part)[1:-1],
            json.dumps(part, ensure_ascii=False)[1:-1],
        )
    }
    if not values:
        return str
    pattern = re.compile("|".join(re.escape(value) for value in sorted(values, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)


def masked(value: Any, mask: Mask, depth: int = DEPTH_MAX) -> Any:
    """The value with every text in it masked; where it goes deeper than anything can be shown, it is cut."""
    if isinstance(value, str) or mask is str:
        return mask(value) if isinstance(value, str) else value
    if isinstance(value, Mapping | list | tuple) and not depth:
        return "…"
    if isinstance(value, Mapping):
        return {masked(key, mask, 0): masked(inner, mask, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, mask, depth - 1) for inner in value]
    return value


def _is_harmless(value: str) -> bool:
    """Paths to key files and switches are no secrets themselves."""
    return value.lower() in ("enabled", "disabled", "required") or (
        value.startswith("/") and ":" not in value
    )
