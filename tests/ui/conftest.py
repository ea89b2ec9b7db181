"""The fixtures of the API, a whole program and what asks it; and a browser, where there is one."""

import os
from collections.abc import Generator

import pytest

from api.fixtures import gate, live, patience, shared
from ui.browser import browser, engine, served

__all__ = ["browser", "engine", "gate", "live", "patience", "served", "shared"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where PPACER_TEST_PAGES is "always", as on CI, a test that is skipped has failed."""
    report = yield
    if report.skipped and os.environ.get("PPACER_TEST_PAGES") == "always":
        report.outcome, report.longrepr = "failed", f"{report.nodeid} must not be skipped: {report.longrepr}"
    return report
