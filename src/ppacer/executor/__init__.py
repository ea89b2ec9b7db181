"""Executors: they claim attempts, run them by one of the runners, and report how they ended.

`thread` and `async` share the program; `process` and `pool` run in children, forked from a warm parent.
"""
