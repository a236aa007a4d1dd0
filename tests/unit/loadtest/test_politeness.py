"""When a sender tries again: never less than Retry-After, never for ever, and never what cannot succeed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.politeness import Decision, Patience, Turn, decide

PATIENCE = Patience(attempts=8, deadline_s=120.0, base_s=0.5, cap_s=20.0)
ENDLESS = Patience(attempts=1000, deadline_s=1e9, base_s=0.5, cap_s=20.0)


def after(
    status: int | None,
    retry_after: float | None = None,
    *,
    attempt: int = 1,
    elapsed: float = 0.0,
    patience: Patience = PATIENCE,
    seed: int = 1,
) -> Decision:
    return decide(status, retry_after, attempt=attempt, elapsed_s=elapsed, patience=patience, random=Random(seed))


@pytest.mark.parametrize("status", [None, 429, 500, 502, 503, 504])
def test_what_may_succeed_later_is_tried_again(status: int | None) -> None:
    assert after(status).turn is Turn.RETRY


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 408, 409, 413, 415, 422, 425])
def test_what_cannot_succeed_is_not(status: int) -> None:
    assert after(status) == Decision(Turn.REFUSED)


def test_an_accepted_order_is_done_even_at_the_last_moment() -> None:
    assert after(202, attempt=8, elapsed=1000.0) == Decision(Turn.ACCEPTED)


@given(
    status=st.sampled_from([None, 429, 500, 503]),
    retry_after=st.none() | st.floats(0, 3600),
    attempt=st.integers(1, 50),
    elapsed=st.floats(0, 200),
    seed=st.integers(),
)
def test_a_wait_is_never_shorter_than_asked_for_nor_goes_beyond_the_deadline(
    status: int | None, retry_after: float | None, attempt: int, elapsed: float, seed: int
) -> None:
    decision = after(status, retry_after, attempt=attempt, elapsed=elapsed, seed=seed)
    asked = retry_after or 0.0
    if decision.turn is Turn.RETRY:
        ceiling = min(PATIENCE.cap_s, PATIENCE.base_s * 2 ** (attempt - 1))
        assert asked <= decision.wait_s <= asked + ceiling
        assert elapsed + decision.wait_s <= PATIENCE.deadline_s
        assert attempt < PATIENCE.attempts
    else:
        assert decision.turn is Turn.GIVEN_UP
        assert attempt >= PATIENCE.attempts or elapsed + asked + PATIENCE.cap_s > PATIENCE.deadline_s
        assert str(attempt) in decision.reason


@pytest.mark.parametrize("attempt", [1, 3, 6, 12])
def test_waits_are_spread_over_the_whole_range(attempt: int) -> None:
    """Full jitter: a crowd that failed together must not come back together."""
    waits = [after(500, attempt=attempt, patience=ENDLESS, seed=seed).wait_s for seed in range(400)]
    ceiling = min(20.0, 0.5 * 2 ** (attempt - 1))
    for quarter in range(4):
        share = sum(quarter / 4 <= wait / ceiling < (quarter + 1) / 4 for wait in waits) / len(waits)
        assert 0.15 < share < 0.35


def test_patience_ends_with_the_calls() -> None:
    assert after(503, attempt=7).turn is Turn.RETRY
    assert after(503, attempt=8) == Decision(Turn.GIVEN_UP, reason="8 calls")


def test_an_api_that_asks_for_more_patience_than_there_is_is_believed_at_once() -> None:
    decision = after(429, 3600.0)
    assert decision.turn is Turn.GIVEN_UP
    assert "360" in decision.reason, "it says how long it would have been"
