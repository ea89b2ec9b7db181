"""What a form that was sent has to say on the page shown next: one sentence, in a cookie till then."""

from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "ppacer_notice"
CHARS_MAX = 500
SECONDS = 30


def keep_notice(answer: Response, text: str) -> Response:
    """The answer, with a sentence for the next page."""
    answer.set_cookie(
        COOKIE, quote(text[:CHARS_MAX]), max_age=SECONDS, httponly=True, samesite="strict", path="/"
    )
    return answer


def notice_of(request: Request) -> str:
    """The sentence that the last form has left; empty when there is none."""
    return unquote(request.cookies.get(COOKIE, ""))


def forget_notice(answer: Response, request: Request) -> Response:
    """The answer, after which the sentence was told."""
    if COOKIE in request.cookies:
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return answer
