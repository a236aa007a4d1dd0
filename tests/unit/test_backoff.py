"""Backoff: full jitter, and the visibility timeout that it becomes."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.backoff import (
    MAXIMUM_VISIBILITY_SECONDS,
    RETRY_BASE_SECONDS,
    RETRY_CAP_SECONDS,
    full_jitter,
    visibility_seconds,
)
from hub.outcomes import parse_retry_after

attempts = st.integers(1, 10_000)
seeds = st.integers(0, 2**32)
bounds = st.floats(0.01, 1000).flatmap(lambda base: st.tuples(st.just(base), st.floats(base, base * 1e6)))


@given(attempts, bounds, seeds)
def test_the_wait_lies_between_zero_and_the_doubling_ceiling(
    attempt: int, limits: tuple[float, float], seed: int
) -> None:
    base, cap = limits
    wait = full_jitter(attempt, base=base, cap=cap, random=Random(seed))
    assert 0 <= wait <= cap
    if attempt < 1000:
        assert wait <= base * 2.0 ** (attempt - 1)


@given(attempts, bounds, seeds)
def test_the_same_dice_give_the_same_wait(attempt: int, limits: tuple[float, float], seed: int) -> None:
    base, cap = limits
    waits = {full_jitter(attempt, base=base, cap=cap, random=Random(seed)) for _ in range(2)}
    assert len(waits) == 1, "the twin replays what the functions do"


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 2), (2, 4), (3, 8), (6, 64), (7, 120), (50, 120)])
def test_jitter_is_full_the_waits_fill_the_whole_range(attempt: int, ceiling: float) -> None:
    random = Random(7)
    waits = [full_jitter(attempt, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, random=random) for _ in range(4_000)]
    assert fmean(waits) == pytest.approx(ceiling / 2, rel=0.05), "uniform, so that retries do not come as a crowd"
    assert min(waits) < 0.05 * ceiling
    assert max(waits) > 0.95 * ceiling


@pytest.mark.parametrize(("attempt", "base", "cap"), [(0, 1, 2), (-1, 1, 2), (1, 0, 2), (1, -1, 2), (1, 3, 2)])
def test_nonsense_is_refused_with_the_values(attempt: int, base: float, cap: float) -> None:
    with pytest.raises(ValueError, match=f"attempt={attempt}.*base={base}.*cap={cap}"):
        full_jitter(attempt, base=base, cap=cap, random=Random(1))


@given(st.floats(0, 1e6), st.floats(0, 11 * 3600))
def test_a_message_is_never_seen_before_retry_after(wait: float, retry_after: float) -> None:
    assert visibility_seconds(wait, at_least=retry_after) >= retry_after, "the courier asked for so long"


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_a_visibility_timeout_is_one_that_sqs_takes(wait: float, at_least: float) -> None:
    seconds = visibility_seconds(wait, at_least=at_least)
    assert isinstance(seconds, int)
    assert 0 <= seconds <= MAXIMUM_VISIBILITY_SECONDS <= 12 * 3600


@given(st.floats(0, 11 * 3600))
def test_without_a_floor_the_wait_is_rounded(wait: float) -> None:
    assert math.isclose(visibility_seconds(wait), wait, abs_tol=0.5)


def test_a_floor_with_a_fraction_is_rounded_up() -> None:
    assert visibility_seconds(0.0, at_least=2.1) == 3


@pytest.mark.parametrize("digits", [1, 10, 100, 400])
def test_any_number_in_retry_after_gives_a_visibility_timeout(digits: int) -> None:
    asked = parse_retry_after("9" * digits, 0.0) or 0.0
    assert visibility_seconds(asked, at_least=asked) <= MAXIMUM_VISIBILITY_SECONDS, "a header must not break a batch"
