"""Kills a real ppacer again and again, and looks afterwards whether it has kept its promises.

`torture` plays rounds: start `ppacer serve`, give it work over HTTP, kill it or its task processes, compare
what the tasks wrote, what was answered, and what is in the database. `ppacer torture` and tests/crash use it.
"""

from ppacer.torture.campaign import Campaign, Plan, Verdict

__all__ = ["Campaign", "Plan", "Verdict"]
