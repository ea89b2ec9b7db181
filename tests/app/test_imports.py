"""What a start does not import: half of its time is imports."""

import subprocess
import sys

LATER = {"alembic", "jinja2", "psycopg", "rich", "sqlalchemy.dialects.postgresql", "urllib3"}


def test_a_start_imports_nothing_that_only_some_programs_need() -> None:
    code = "import sys, ppacer.app.program, ppacer.api.server, ppacer.ui.pages; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert LATER & set(done.stdout.split()) == set()
