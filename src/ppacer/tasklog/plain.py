"""What a task wrote, without what could take over a terminal or mislead a reader: colours, other control."""

import re

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])?")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text without escape sequences and control characters; tabs and ends of lines stay."""
    return text if text.isprintable() else CONTROL.sub("", ESCAPE.sub("", text))
