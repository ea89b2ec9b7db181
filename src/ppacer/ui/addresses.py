"""Addresses of pages with what was asked of them."""

from typing import Any
from urllib.parse import urlencode


def address(path: str, **question: Any) -> str:
    """The path with the parameters that say something; a list stands for a parameter given several times."""
    query = urlencode({name: value for name, value in question.items() if value}, doseq=True)
    return f"{path}?{query}" if query else path
