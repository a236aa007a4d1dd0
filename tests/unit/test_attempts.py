from __future__ import annotations

from random import Random

import pytest

from hub.attempts import MAXIMUM_AGE_SECONDS, SETTLING_SECONDS, hiding_seconds, is_last, latest_start
from hub.outcomes import Outcome


def test_the_last_call_leaves_time_to_end_and_to_settle() -> None:
    assert latest_start(100.0, remaining=30.0, courier_timeout=5.0) == 100.0 + 30.0 - 5.0 - SETTLING_SECONDS


@pytest.mark.parametrize(
    ("receives", "age", "last"),
    [(99, 0.0, False), (100, 0.0, True), (1, MAXIMUM_AGE_SECONDS, False), (1, MAXIMUM_AGE_SECONDS + 1.0, True)],
)
def test_an_order_is_given_up_at_its_last_receive_or_before_it_expires(receives: int, age: float, last: bool) -> None:
    assert is_last(receives=receives, maximum_receives=100, age=age) is last


def test_failures_lengthen_the_wait_and_being_left_out_does_not() -> None:
    def longest(outcome: Outcome) -> int:
        return max(hiding_seconds(outcome, receives=8, retry_after=None, random=Random(seed)) for seed in range(200))

    assert longest(Outcome.UNTRIED) <= 2
    assert 100 < longest(Outcome.UNHEALTHY) <= 120


def test_nobody_comes_back_before_the_time_that_the_courier_asked_for() -> None:
    waits = [hiding_seconds(Outcome.THROTTLED, receives=1, retry_after=6.3, random=Random(seed)) for seed in range(50)]
    assert min(waits) >= 7
    assert max(waits) <= 9
