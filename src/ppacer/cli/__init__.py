"""The command line. Every command is a module that is imported when it is called; `--help` imports none."""

from ppacer.cli.group import Commands, Entry
from ppacer.version import VERSION

SECTIONS: dict[str, dict[str, Entry]] = {
    "Begin": {
        "demo": Entry("demo", "Run example dags with their web page: the place to begin."),
        "serve": Entry("serve", "Run the dags of a file on schedule, with web page and API."),
        "run": Entry("run", "Run one dag once, here and now, and show how it goes."),
        "check": Entry("check", "Import a file of dags and say what is in it, or what is wrong."),
        "next": Entry("next", "Say when a cron expression or a dag runs next."),
    },
    "Look": {
        "dags": Entry("dags", "List the dags, with their next and their latest run."),
        "runs": Entry("runs", "List the latest runs."),
        "show": Entry("show", "Show a run with its tasks, or a task with its attempts."),
        "logs": Entry("logs", "Print what the tasks of a run have said, and follow it."),
        "executors": Entry("executors", "List the executors, with what they run."),
        "why": Entry("why", "Say why a dag, run or task is where it is."),
    },
    "Act": {
        "trigger": Entry("change", "Start a run of a dag now."),
        "cancel": Entry("change", "End a run."),
        "restart": Entry("change", "Let a failed or cancelled run go on."),
        "pause": Entry("change", "Stop scheduled runs of a dag."),
        "unpause": Entry("change", "Begin scheduled runs of a dag again."),
        "backfill": Entry("backfill", "Run the points of the past that have no run, some at once."),
    },
    "Grow": {
        "drain": Entry("executors", "Give an executor nothing new: what it has it finishes."),
        "undrain": Entry("executors", "Give an executor work again."),
        "scheduler": Entry("separate", "Schedule the dags of a file, for executors elsewhere."),
        "executor": Entry("separate", "Run the tasks of a file for a scheduler elsewhere."),
    },
    "Care": {
        "token": Entry("token", "Make, list and revoke access tokens."),
        "audit": Entry("audit", "List the commands that were given: who, when, what."),
        "db": Entry("db", "Check, upgrade, back up and measure the database."),
        "torture": Entry("torture", "Kill a ppacer again and again, and say what it has lost."),
    },
}

main = Commands(SECTIONS, VERSION)
