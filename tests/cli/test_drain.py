"""An executor that is drained: who waits for it is told, also after a kill and another start."""

import signal
from pathlib import Path

from cli.terminal import call, serving, until


def test_what_waits_for_a_drained_executor_says_so_everywhere(tmp_path: Path) -> None:
    undrain = "`ppacer undrain local` gives it work"
    with serving(tmp_path) as server:
        server.ok("drain", "local")
        server.trigger("sleeper")
        until(lambda: undrain in server.ok("why", 1), "that the run waits for what is drained")
        assert "for an executor: local is drained" in server.ok("show", 1)
        assert "ABOUT" in (audit := server.ok("audit", "--command", "drain"))
        assert "executor=local" in audit
        server.stop(signal.SIGKILL)
    last = call("executors", "--db", server.db).out.splitlines()[-1]
    assert last == "No scheduler is running: this is what the last one wrote down"
    with serving(tmp_path) as again:
        until(lambda: "executor local is drained" in again.log.read_text(), "the line about it")
        assert undrain in again.ok("why", 1)
        again.ok("undrain", "local")
        again.running(1)
        again.ok("cancel", 1)
        assert again.ended(1)["run"]["status"] == "CANCELLED"
