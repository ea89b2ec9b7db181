"""Schedules in words, and how other values are shown."""

import pytest
from markupsafe import Markup

from ppacer.schedule import Cron, Fixed
from ppacer.ui.filters import code, plural, size
from ppacer.ui.words import schedule_in_words, zone_of


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0 * * * *", "every hour"),
        ("10,40 * * * *", "every hour at :10 and :40"),
        ("15 3 * * *", "every day at 03:15"),
        ("0 8,12,16 * * *", "every day at 08:00, 12:00 and 16:00"),
        ("0 */2 * * *", "every 2 hours at :00"),
        ("*/15 9-17 * * MON-FRI", "every 15 minutes, 09:00 to 17:59, on weekdays"),
        ("0 8 * * 1", "every Monday at 08:00"),
        ("0 8 * * MON,THU", "every Monday and Thursday at 08:00"),
        ("0 8 * * 0", "every Sunday at 08:00"),
        ("0 8 * * 2-4", "Tuesday to Thursday at 08:00"),
        ("0 0 1 * *", "on the 1st of the month at 00:00"),
        ("0 0 1,15 * *", "on the 1st and 15th of the month at 00:00"),
        ("0 0 L * *", "on the last day of the month at 00:00"),
        ("0 0 1 1 *", "on 1 January at 00:00"),
        ("0 6 * 7,8 *", "every day in July and August at 06:00"),
        ("@daily", "every day at 00:00"),
        ("*/7 1-5,9 13 * FRI", "*/7 1-5,9 13 * FRI"),
        ("0 0 13 * FRI", "0 0 13 * FRI"),
        ("1-4 3 * * *", "1-4 3 * * *"),
    ],
)
def test_a_cron_expression_in_words_or_as_it_is(expression: str, words: str) -> None:
    schedule = str(Cron(expression, tz="Europe/Warsaw"))
    assert schedule_in_words(schedule) == f"{words}, Europe/Warsaw"
    assert zone_of(schedule) == "Europe/Warsaw"


def test_other_schedules_in_words() -> None:
    from datetime import UTC, datetime, timedelta

    assert (
        schedule_in_words(str(Fixed(datetime(2024, 1, 1, tzinfo=UTC), timedelta(seconds=90))))
        == "every 1m30s"
    )
    assert schedule_in_words("bank holidays") == "bank holidays"
    assert schedule_in_words(None) == "by hand"
    assert zone_of(None) == zone_of("bank holidays") == "UTC"


@pytest.mark.parametrize("tz", ["my calendar", "../etc/passwd", "Europe", "a\0b", "x" * 300])
def test_the_text_of_ones_own_schedule_is_not_taken_for_a_cron(tz: str) -> None:
    schedule = f"Cron: 15 3 * * * ({tz})"
    assert zone_of(schedule) == "UTC"
    assert schedule_in_words(schedule) == schedule


@pytest.mark.parametrize(
    ("bytes", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (20 << 20, "20 MiB"),
        (3 << 40, "3 TiB"),
    ],
)
def test_sizes(bytes: int, words: str) -> None:
    assert size(bytes) == words


def test_counts() -> None:
    assert [plural(count, "run") for count in (0, 1, 2, 10_000)] == [
        "0 runs",
        "1 run",
        "2 runs",
        "10,000 runs",
    ]


def test_code_in_a_sentence() -> None:
    assert code("use `a <b>` now") == Markup("use <code>a &lt;b&gt;</code> now")
    assert code("one ` alone <i>") == Markup("one ` alone &lt;i&gt;")


def test_distances_in_a_sentence_go_on() -> None:
    at = "2026-11-27 07:52:49"
    clock = f'<time datetime="2026-11-27T07:52:49+00:00" data-show="clock" title="{at} UTC">{at} UTC</time>'
    ago, since = (
        clock.replace('"clock"', f'"{show}"').replace(f">{at} UTC<", f">{words}<")
        for show, words in (("ago", "in 20s"), ("since", "1.25s"))
    )
    again = "<b> is tried again at {} ({})."
    assert code(again.format(f"{at} UTC", "in 20s")) == Markup(
        again.replace("<b>", "&lt;b&gt;").format(clock, ago)
    )
    assert code(f"`a` runs since {at} UTC (for 1.25s) at") == Markup(
        f"<code>a</code> runs since {clock} (for {since}) at"
    )


@pytest.mark.parametrize(
    "words",
    [
        "no data before 2026-01-01 00:00:00 UTC.",
        "2026-99-99 99:99:99 UTC (in 20s)",
        "12026-11-27 07:52:49 UTC (in 20s)",
        "2026-11-27 07:52:49 UTC (so be it)",
    ],
)
def test_what_a_task_has_said_stays_as_it_is(words: str) -> None:
    assert code(words) == Markup(words)
