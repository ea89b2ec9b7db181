"""The secret of an access token: made here, told once, and known afterwards by its hash alone."""

import hashlib
import secrets

PREFIX = "ppt_"  # so that people and scanners of repositories see what it is
BYTES = 32


def new_secret() -> str:
    """A secret of 256 random bits, as text that can be pasted anywhere."""
    return PREFIX + secrets.token_urlsafe(BYTES)


def new_id() -> str:
    """The name of a token for programs, which is no secret."""
    return secrets.token_hex(8)


def hash_of(secret: str) -> str:
    """SHA-256, and no slow hash with a salt: those make guessable passwords dear to guess.

    Of 2^256 equally likely secrets none can be guessed, however fast each guess is; and a slow hash would be
    paid for at every request.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
