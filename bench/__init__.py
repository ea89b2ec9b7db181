"""`python3 dev.py bench`: what ppacer costs on this machine, beside its budgets."""
