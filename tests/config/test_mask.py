"""The values of secret environment variables are hidden, and nothing else."""

import json

import pytest

from ppacer.config import make_mask, masked


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


@pytest.mark.parametrize("name", ["GIT_AUTHOR_NAME", "AUTHOR", "CO_AUTHORS", "CERT_AUTHORITY"])
def test_an_author_is_no_secret(name: str) -> None:
    assert make_mask({name: "Robert"})("by Robert") == "by Robert"


@pytest.mark.parametrize("name", ["BASIC_AUTH", "HTTP_AUTHORIZATION", "npm_config__auth", "OAUTH_KEY"])
def test_what_lets_somebody_in_is_a_secret(name: str) -> None:
    assert make_mask({name: "hunter2"})("by hunter2") == "by ***"


def test_of_a_secret_with_several_lines_each_is_hidden_for_itself() -> None:
    mask = make_mask({"PRIVATE_KEY": "--BEGIN--\r\n  MIIEvQIBADAN\n==\n--END--\n"})
    assert mask("--BEGIN--") == mask("--END--") == "***"
    assert mask("x MIIEvQIBADAN\n") == "x ***\n"
    assert mask("a == b") == "a == b"  # too short for a secret of its own
    assert mask("--BEGIN--\r\n  MIIEvQIBADAN\n==\n--END--\n") == "***"


def test_everything_inside_a_value_is_hidden() -> None:
    mask = make_mask({"TOKEN": "hunter2"})
    value = {"hunter2": ["hunter2", ("a hunter2",), {"x": None}], "n": 1, "yes": True}
    assert masked(value, mask) == {"***": ["***", ["a ***"], {"x": None}], "n": 1, "yes": True}
    assert masked(value, make_mask({})) is value


def test_a_value_without_end_is_cut() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert "hunter2" not in str(masked(value, make_mask({"TOKEN": "hunter2"})))


def test_a_secret_is_hidden_also_where_it_is_quoted() -> None:
    secret = 'pass"w\u00f6rd\\1'
    mask = make_mask({"TOKEN": secret})
    assert mask(repr(secret)) == "'***'"
    assert mask(json.dumps(secret)) == mask(json.dumps(secret, ensure_ascii=False)) == '"***"'
