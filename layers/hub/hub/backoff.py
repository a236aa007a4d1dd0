"""Exponential backoff with full jitter, as a pure rule that the functions and the twin share."""

from __future__ import annotations

from random import Random

# Between attempts at the courier: short at first, because one healthy call in five fails; at most two minutes, because
# the circuit breaker, not patience, is the answer to an outage.
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 120.0

# A message can be hidden for 12 hours at most, counted from its receipt (SQS developer guide, "Visibility timeout"); a
# function has had it for up to 15 minutes already.
MAXIMUM_VISIBILITY_SECONDS = 43_200 - 900


def full_jitter(attempt: int, *, base: float, cap: float, random: Random) -> float:
    """Return the seconds to wait after a failed attempt: uniform between 0 and base x 2^(attempt - 1), at most cap.

    Full jitter spreads the retries of many failures over the whole wait, so that they do not come back as one crowd
    ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        attempt: Which attempt failed, from 1.
        base: The longest wait after the first attempt, in seconds, above 0.
        cap: The longest wait of all, in seconds, at least base.
        random: Source of the jitter.

    Raises:
        ValueError: attempt is below 1, base is not above 0, or cap is below base.
    """
    if attempt < 1 or base <= 0 or cap < base:
        raise ValueError(f"needs attempt >= 1 and 0 < base <= cap, got {attempt=}, {base=}, {cap=}")
    ceiling = cap if attempt > 64 else min(cap, base * 2.0 ** (attempt - 1))
    return random.uniform(0.0, ceiling)


def visibility_seconds(wait: float, *, at_least: float = 0.0) -> int:
    """Return the visibility timeout that hides a message for a wait: whole seconds, within the limits of SQS.

    Args:
        wait: Seconds to wait, 0 or more.
        at_least: Seconds below which the wait must not fall, such as a Retry-After; rounded up, never down.
    """
    floor = -int(-at_least // 1)
    return min(MAXIMUM_VISIBILITY_SECONDS, max(round(wait), floor))
