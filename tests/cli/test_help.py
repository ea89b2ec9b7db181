"""What `--help` says, how fast, and that docs/cli.md says it too."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.terminal import call, clean_environ, command, really
from ppacer.cli import SECTIONS, exits, main, options
from ppacer.engine import RunStatus, TaskStatus
from ppacer.version import VERSION

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
HEAVY = ("sqlalchemy", "msgspec", "urllib3", "rich", "starlette", "uvicorn", "alembic", "jinja2")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, those of groups as well."""
    context = click.Context(main)
    for name in main.list_commands(context):
        found = main.get_command(context, name)
        assert found is not None
        yield name, found
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", command) for inner, command in found.commands.items())


ALL = dict(commands())


def test_help_lists_every_command_with_its_sentence() -> None:
    shown = call("--help").out
    for section, entries in SECTIONS.items():
        assert f"\n{section}:\n" in shown
        for name, entry in entries.items():
            assert re.search(rf"^  {name} +{re.escape(entry.help)}$", shown, re.MULTILINE), name


def test_help_tells_the_exit_codes() -> None:
    shown = call("--help").out
    for code in exits.MEANINGS:
        assert re.search(rf"^  {code} ", shown, re.MULTILINE), code


@pytest.mark.parametrize("args", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(args: str) -> None:
    code = (
        f"import sys; from ppacer.cli import main\ntry: main(['{args}'])\nfinally: print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in re.findall(r"'([\w.]+)'", done.stdout)}
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_of_its_own(name: str) -> None:
    ended = call(*name.split(), "--help")
    assert ended.code == 0
    assert f"Usage: ppacer {name}" in ended.out
    assert ALL[name].help


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_help(name: str) -> None:
    for parameter in ALL[name].params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_the_version_is_printed() -> None:
    assert call("--version").out == f"ppacer {VERSION}\n"


def test_python_dash_m_is_the_same_program(folder: Path) -> None:
    assert really("--version", cwd=folder).out == f"ppacer {VERSION}\n"


def test_without_arguments_there_is_help_and_the_code_of_wrong_usage(folder: Path) -> None:
    ended = really(cwd=folder)
    assert ended.code == exits.USAGE
    assert "Usage: ppacer" in ended.out + ended.err


@pytest.mark.parametrize(("typed", "meant"), [("rns", "runs"), ("tigger", "trigger"), ("log", "logs")])
def test_a_mistyped_command_is_guessed(typed: str, meant: str) -> None:
    ended = call(typed)
    assert ended.code == exits.USAGE
    assert ended.said == f"There is no command {typed!r}; did you mean `ppacer {meant}`?"


def test_an_unknown_command_is_answered_with_where_they_are_listed() -> None:
    assert call("xyzzy").said == "There is no command 'xyzzy'; `ppacer --help` lists them."


def test_a_wrong_option_gets_a_sentence_and_the_usage() -> None:
    ended = call("runs", "--limit", "many")
    assert ended.code == exits.USAGE
    assert ended.err.splitlines()[0].startswith("ppacer: Invalid value for '--limit': 'many'")
    assert "Usage: ppacer runs" in ended.err


def test_the_copied_words_are_those_of_the_engine() -> None:
    assert tuple(RunStatus) == options.RUN_STATUSES


def test_every_status_has_a_shape() -> None:
    from ppacer.cli.screen import STATES

    assert set(STATES) == {*RunStatus, *TaskStatus}
    assert len({shape for shape, _, _ in STATES.values()}) == len(STATES)
    assert len({shape for _, shape, _ in STATES.values()}) == len(STATES)


# --- the documentation ----------------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """The sections of docs/cli.md by the command of their heading, with `inherit` for what all share."""
    parts = re.split(r"^## `ppacer ([\w ]+)`.*$", DOCS.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)) | {"": parts[0]}


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_documented_with_an_example(name: str) -> None:
    assert name in documented(), f"docs/cli.md has no section `ppacer {name}`"
    if not isinstance(ALL[name], click.Group):
        assert f"$ ppacer {name}" in documented()[name], "the section shows no call"


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_documented(name: str) -> None:
    text, shared = documented().get(name, ""), documented()[""]
    for parameter in ALL[name].params:
        if isinstance(parameter, click.Option):
            names = [option for option in parameter.opts if option.startswith("--")]
            assert any(f"`{option}" in text or f"`{option}" in shared for option in names), names


def test_the_documentation_names_no_option_or_command_that_is_gone() -> None:
    known = {option for command in [main, *ALL.values()] for p in command.params for option in p.opts} | {
        "--help"
    }
    assert set(re.findall(r"`(--[\w-]+)", DOCS.read_text("utf-8"))) <= known
    assert set(documented()) - {""} == set(ALL)


def test_every_exit_code_is_documented() -> None:
    for code, meaning in exits.MEANINGS.items():
        assert f"| {code} | {meaning} |" in documented()[""]


def test_a_closed_pipe_ends_a_command_silently(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        done = subprocess.run(
            command("next", "* * * * *", "-n", "1000"),
            cwd=folder, env=clean_environ(), stdout=gone, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == exits.BROKEN_PIPE
