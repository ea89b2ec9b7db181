"""Content hashes: identical code, edges, configuration and schedule give the identical version."""

import hashlib
import json
from typing import Any

import msgspec


def digest(*parts: Any) -> str:
    """SHA-256 of plain values, as 64 hex digits; the order of keys does not matter."""
    return hashlib.sha256(_encoder.encode(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {type(value).__name__: msgspec.structs.asdict(value)}
    raise TypeError(f"{value!r} is no part of a fingerprint")


_encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
