"""The fixtures of the API: a whole program, and what asks it."""

from api.fixtures import gate, live, patience, shared

__all__ = ["gate", "live", "patience", "shared"]
