"""The values of secret environment variables are hidden, and nothing else."""

import pytest

from ppacer.config import make_mask


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "API_KEY", "apikey", "GITHUB_TOKEN", "CLIENT_SECRET", "DATABASE_URL"]
)
def test_what_looks_secret_is_hidden(name: str) -> None:
    mask = make_mask({name: "hunter2!"})
    assert mask("login with hunter2! now") == "login with *** now"


def test_named_variables_are_hidden_whatever_their_name() -> None:
    assert make_mask({"SHOP": "squirrel"}, ["SHOP"])("a squirrel") == "a ***"
    assert make_mask({"SHOP": "squirrel"})("a squirrel") == "a squirrel"


@pytest.mark.parametrize(("value", "hidden"), [("12345", False), ("123456", True)])
def test_short_values_would_hide_ordinary_words(value: str, hidden: bool) -> None:
    assert (make_mask({"TOKEN": value})(value) == "***") is hidden


def test_a_path_to_a_key_file_is_no_secret() -> None:
    assert make_mask({"SSL_PRIVATE_KEY": "/etc/ssl/key.pem"})("/etc/ssl/key.pem") == "/etc/ssl/key.pem"


def test_the_longer_secret_is_hidden_whole() -> None:
    mask = make_mask({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefghi"})
    assert mask("abcdefghi abcdef") == "*** ***"


def test_characters_with_a_meaning_in_patterns_are_plain() -> None:
    assert make_mask({"TOKEN": "a.c*e+("})("aXc*e+( a.c*e+(") == "aXc*e+( ***"


def test_without_secrets_text_is_the_same_object() -> None:
    text = "x" * 10
    assert make_mask({"HOME": "/root/elsewhere"})(text) is text
