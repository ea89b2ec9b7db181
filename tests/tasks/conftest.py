"""The context of a task."""

import pytest

from tasks.context import Context


@pytest.fixture
def ctx() -> Context:
    return Context()
