"""The first token on a server: it is made before any scheduler has been there."""

import json
from pathlib import Path

from click.testing import CliRunner

from postgresql.server import Server
from ppacer.cli import main
from ppacer.store import Store


def test_the_first_token_makes_the_tables(postgresql: Server) -> None:
    url = postgresql.empty()
    made = CliRunner().invoke(main, ["token", "create", "first", "--role", "admin", "--json", "--db", url])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["secret"].startswith("ppt_")
    listed = CliRunner().invoke(main, ["token", "list", "--json", "--db", url])
    assert [token["name"] for token in json.loads(listed.stdout)] == ["first"]
    postgresql.drop(url)


def test_nothing_to_list_is_a_sentence(tmp_path: Path) -> None:
    db = str(tmp_path / "scheduler.db")
    Store(db).close()
    for command, words in (("token list", "no token yet"), ("audit", "no such command was given")):
        listed = CliRunner().invoke(main, [*command.split(), "--db", db])
        assert listed.exit_code == 0, listed.output
        assert words in listed.stdout
