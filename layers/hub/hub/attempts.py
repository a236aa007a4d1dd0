"""How often, until when and after which waits an order is tried: pure rules that delivery and the twin share."""

from __future__ import annotations

from random import Random

from hub.backoff import RETRY_BASE_SECONDS, RETRY_CAP_SECONDS, full_jitter, visibility_seconds
from hub.outcomes import Outcome

# A batch for which there is no slot at all is held this long before it goes back, or the next batch would come, and go,
# at once, and the queue would be leafed through without a call until every order had used up its receives.
HOLD_SECONDS = 10.0

# As many unhealthy answers in a row end a batch. A healthy courier that fails one call in five gives such a row once in
# 15,000 calls, and it costs ten orders two seconds.
GUARD_CONSECUTIVE = 6

# An order is given up a day before the queue's retention (12 days) would let it expire in silence; no order is hidden
# for longer than 12 hours.
MAXIMUM_AGE_SECONDS = 11 * 24 * 3600

# What it takes to publish, dead-letter and hide the orders of a batch after the last call, with the SDK's retries.
SETTLING_SECONDS = 5.0

# Without flow control: calls for an order within one invocation, as in the published first build.
DIRECT_CALLS = 5


def latest_start(now: float, *, remaining: float, courier_timeout: float) -> float:
    """Return when the last call may begin that can still end, and be settled, within the invocation.

    Args:
        now: The time, in seconds on any clock; the answer is on the same one.
        remaining: Seconds that are left to the invocation.
        courier_timeout: Seconds that a call may take.
    """
    return now + remaining - SETTLING_SECONDS - courier_timeout


def is_last(*, receives: int, maximum_receives: int, age: float) -> bool:
    """Whether an order that goes back now would not come again: it is given up instead, with its reason.

    Args:
        receives: How often the queue has handed it out, 1 or more.
        maximum_receives: With which receive it is given up, 1 or more.
        age: Seconds since it was first received.
    """
    return receives >= maximum_receives or age > MAXIMUM_AGE_SECONDS


def hiding_seconds(outcome: Outcome, *, receives: int, retry_after: float | None, random: Random) -> int:
    """Return for how long an order that goes back to the queue is hidden.

    Args:
        outcome: What became of the attempt.
        receives: How often the queue has handed the order out, 1 or more.
        retry_after: Seconds that the courier asked to wait, if it did; the order is hidden for no less.
        random: Source of the jitter.
    """
    asked = retry_after or 0.0
    # An order that was not called for has not failed: only failures lengthen the wait.
    failures = 1 if outcome is Outcome.UNTRIED else receives
    jitter = full_jitter(failures, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, random=random)
    return visibility_seconds(asked + jitter, at_least=asked)
