"""Back-off and Retry-After."""

from __future__ import annotations

import random

import pytest

from notification_dispatcher.retry import LONGEST_RETRY_AFTER_MS, RetryPolicy, parse_retry_after

POLICY = RetryPolicy(max_attempts=5, initial_backoff_ms=1000, max_backoff_ms=6000)
NOW_MS = 1_750_000_000_000
HOUR_MS = 3_600_000


class Highest(random.Random):
    """Dice that always show the most."""

    def randint(self, a: int, b: int) -> int:  # noqa: ARG002
        return b


def test_the_longest_pause_doubles_up_to_the_cap() -> None:
    assert [POLICY.pause_ms(attempt, None, Highest()) for attempt in range(1, 6)] == [1000, 2000, 4000, 6000, None]


def test_jitter_is_full() -> None:
    dice = random.Random(1)
    pauses = [POLICY.pause_ms(3, None, dice) or 0 for _ in range(2000)]
    assert min(pauses) < 100
    assert max(pauses) > 3900
    assert 1900 < sum(pauses) / len(pauses) < 2100


def test_many_attempts_do_not_overflow() -> None:
    assert RetryPolicy(100, 1000, 6000).pause_ms(99, None, Highest()) == 6000


def test_what_the_receiver_asks_for_comes_first() -> None:
    assert POLICY.pause_ms(1, 30_000, Highest()) == 31_000
    assert POLICY.pause_ms(5, 30_000, Highest()) is None
    assert POLICY.pause_ms(1, 10 * HOUR_MS, Highest()) == HOUR_MS + 1000


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("0", 0),
        (" 120 ", 120_000),
        ("99999999999999999999", LONGEST_RETRY_AFTER_MS),
        ("Sun, 15 Jun 2025 15:07:40 GMT", 60_000),
        ("Sun, 15 Jun 2025 15:00:00 GMT", 0),
        ("Sun, 15 Jun 2025 15:07:40 -0000", 60_000),
        ("Sun, 15 Jun 2225 15:07:40 GMT", LONGEST_RETRY_AFTER_MS),
        ("Sun, 99 Jun 2025 15:07:40 GMT", None),
    ],
)
def test_retry_after_is_read(value: str | None, milliseconds: int | None) -> None:
    assert parse_retry_after(value, NOW_MS) == milliseconds
