"""The `ppacer` command itself: finds the command that is meant, and turns every end into an exit code."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from ppacer.cli import exits
from ppacer.errors import LoadError, PpacerError

ABOUT = """Runs workflows on schedule: define dags in Python, start one program, and they run.

Commands that read ask the scheduler that runs on the database (--db, ./scheduler.db by default), or read the
file itself when none does. Commands that change something need a running scheduler. Another one is named by
--url or PPACER_URL.
"""


class Entry(NamedTuple):
    """Where a command is, and its line in the help: the module holds it as `<name>_command`."""

    module: str
    help: str


class Commands(click.Group):
    """The group of all commands."""

    def __init__(self, sections: Mapping[str, Mapping[str, Entry]], version: str) -> None:
        super().__init__(
            "ppacer",
            help=ABOUT,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            no_args_is_help=True,
        )
        self.sections = sections
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}
        click.version_option(version, prog_name="ppacer", message="%(prog)s %(version)s")(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, imported now."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        command: click.Command = getattr(import_module(f"ppacer.cli.{entry.module}"), f"{name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and with a guess at what was meant."""
        name = args[0]
        if name not in self._entries and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self._entries, n=1)
            hint = f"did you mean `ppacer {near[0]}`?" if near else "`ppacer --help` lists them."
            raise click.UsageError(f"There is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, from the table alone: importing them all would take its time."""
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in section.items()], col_max=10)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in exits.MEANINGS.items()], col_max=10)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. A reader that is gone, as with `| head`, ends it silently; click would give 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            if not _reader_is_gone():  # then it was another pipe, which is a bug
                raise
            _write_into_nothing()
            return exits.BROKEN_PIPE

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs one command and ends the program with its exit code."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # what the terminal cannot show must not end a command
                stream.reconfigure(errors="backslashreplace")
        run = super().main
        sys.exit(
            _code(lambda: run(args, prog_name or "ppacer", complete_var, standalone_mode=False, **extra))
        )


def _code(run: Any) -> int:
    """What `run` returns as an exit code; our errors become one sentence on stderr."""
    try:
        code = run()
        sys.stdout.flush()
        return code if isinstance(code, int) else exits.OK
    except click.UsageError as error:
        _show_usage(error)
        return exits.USAGE
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except BrokenPipeError:  # by the flush
        _write_into_nothing()
        return exits.BROKEN_PIPE
    except PpacerError as error:
        if isinstance(error, LoadError) and error.traceback:
            click.echo(error.traceback.rstrip(), err=True)
        click.echo(f"ppacer: {error}", err=True)
        return exits.code_of(error)


def _reader_is_gone() -> bool:
    import select

    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _write_into_nothing() -> None:
    """What is still to be written would fail again, at the latest when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_usage(error: click.UsageError) -> None:
    """What is wrong in a sentence, and where to read how it is right."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        error.show()
        return
    click.echo(f"ppacer: {error.format_message()}", err=True)
    if error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nMore: {error.ctx.command_path} --help", err=True)
