"""The dags of the workloads, for an executor that is a program of its own."""

from bench.workloads import chain, diamond, fan

CHAIN, FAN, DIAMOND = chain(), fan(), diamond()
