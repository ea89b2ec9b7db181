"""The fixtures of the API, a whole program and what asks it; and a browser, where there is one."""

from api.fixtures import gate, live, patience, shared
from ui.browser import browser, engine, served

__all__ = ["browser", "engine", "gate", "live", "patience", "served", "shared"]
