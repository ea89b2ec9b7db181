"""The fixtures of these tests stand in `fixtures`, because those of the pages use them too."""

from api.fixtures import gate, live, patience, shared

__all__ = ["gate", "live", "patience", "shared"]
