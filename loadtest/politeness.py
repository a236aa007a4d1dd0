"""When a sender of orders tries again, as pure rules: what an answer means, and how long to wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from hub.backoff import full_jitter


@dataclass(frozen=True)
class Patience:
    """How long to try for one order.

    Attributes:
        attempts: Calls at most, 1 or more.
        deadline_s: Seconds after the first call, above 0, after which no other call begins.
        base_s: Longest wait after the first call, in seconds, above 0; each further one doubles it.
        cap_s: Longest wait of all that we choose ourselves, in seconds, at least base_s.
    """

    attempts: int = 8
    deadline_s: float = 120.0
    base_s: float = 0.5
    cap_s: float = 20.0


class Turn(StrEnum):
    """What to do after an answer."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The order is at fault: as it is, it will never be taken."""
    RETRY = "retry"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class Decision:
    """What to do after an answer: wait_s is for RETRY, reason for GIVEN_UP."""

    turn: Turn
    wait_s: float = 0.0
    reason: str = ""


def may_be_tried_again(status: int | None) -> bool:
    """Tell whether the same call may succeed later: too many calls, a failure of the server, or no answer at all.

    Without an answer nobody knows whether the order was stored; it may be sent again, because its order id makes it
    the same order to the hub.
    """
    return status is None or status == 429 or status >= 500


def decide(
    status: int | None,
    retry_after_s: float | None,
    *,
    attempt: int,
    elapsed_s: float,
    patience: Patience,
    random: Random,
) -> Decision:
    """Decide what to do after an answer.

    The wait is exponential with full jitter, on top of what the server asks for: that is a lower bound, never cut.

    Args:
        status: HTTP status; None if there was no answer.
        retry_after_s: Seconds that the answer's Retry-After asks for, 0 or more, if it has one.
        attempt: Which call it was, from 1.
        elapsed_s: Seconds since the first call began.
        patience: How long to try.
        random: Source of the jitter.
    """
    if status is not None and 200 <= status < 300:
        return Decision(Turn.ACCEPTED)
    if not may_be_tried_again(status):
        return Decision(Turn.REFUSED)
    if attempt >= patience.attempts:
        return Decision(Turn.GIVEN_UP, reason=f"{attempt} calls")
    jitter = full_jitter(attempt, base=patience.base_s, cap=patience.cap_s, random=random)
    wait = (retry_after_s or 0.0) + jitter
    if elapsed_s + wait > patience.deadline_s:
        return Decision(
            Turn.GIVEN_UP,
            reason=f"{attempt} calls, and the next would be {elapsed_s + wait:.0f} s after the first one",
        )
    return Decision(Turn.RETRY, wait)
