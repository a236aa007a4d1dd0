"""The circuit breaker's rules: pure decisions that the functions and the twin share.

The circuit protects the courier, and the orders' receives, from calls that cannot succeed. It is closed (deliveries
flow), open (the event source mapping is off, orders wait), half-open (one order at a time shows whether the courier is
back) or ramping (deliveries flow again, with few executions first).
"""

from __future__ import annotations

from enum import StrEnum
from random import Random

from hub.backoff import full_jitter
from hub.outcomes import Outcome

ITEM_KEY = "circuit#courier"


class State(StrEnum):
    """The circuit's state."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    RAMPING = "ramping"


class Verdict(StrEnum):
    """What a probe says about the courier."""

    HEALTHY = "healthy"
    SICK = "sick"
    NOTHING = "nothing"
    """The order was at fault, not the courier: it counts neither way."""


def sample(outcome: Outcome) -> int | None:
    """Return what an answer adds to the metric whose average is the failure rate: 1, 0, or nothing.

    Only answers that tell sick from healthy count. Throttling says that we were too fast, a permanent error that the
    order is wrong; neither ever opens the circuit.
    """
    return {Outcome.UNHEALTHY: 1, Outcome.DELIVERED: 0}.get(outcome)


def judge(outcome: str) -> Verdict:
    """Judge a probe by the outcome of its call; an outcome that is not known speaks against the courier."""
    if outcome == Outcome.DELIVERED:
        return Verdict.HEALTHY
    if outcome in (Outcome.PERMANENT, Outcome.POISON):
        return Verdict.NOTHING
    return Verdict.SICK


def probe_wait(failures: int, *, shortest: float, longest: float, random: Random) -> float:
    """Return the seconds to wait before the next round of probes.

    Half of an exponential wait is certain and half is jitter, so that the courier always has some peace, and the
    circuits of several hubs do not knock together.

    Args:
        failures: Rounds that have failed since the circuit opened, 0 or more.
        shortest: The longest wait before the first round, in seconds, above 0.
        longest: The longest wait of all, in seconds.
        random: Source of the jitter.
    """
    ceiling = min(longest, shortest * 2.0 ** min(failures, 32))
    return ceiling / 2 + full_jitter(1, base=ceiling / 2, cap=ceiling / 2, random=random)


LEAST_CONCURRENCY = 2
"""Below which Lambda sets no MaximumConcurrency (CloudFormation, ScalingConfig)."""


def next_concurrency(present: int, full: int) -> int:
    """Return the executions of the next step of the ramp: twice as many, up to the full number."""
    return min(full, max(LEAST_CONCURRENCY, present * 2))


class Guard:
    """Ends a batch early when the courier fails, so that an outage is not paid in time-outs.

    After some unhealthy answers in a row within one invocation, its remaining orders go back without a call. It knows
    nothing of other invocations; the circuit does. Threads may share it.

    Args:
        consecutive: How many unhealthy answers in a row end the batch, 1 or more.
    """

    def __init__(self, consecutive: int) -> None:
        self._consecutive = consecutive
        self._in_a_row = 0

    def observe(self, outcome: Outcome) -> None:
        """Take note of an answer."""
        if outcome is Outcome.UNHEALTHY:
            self._in_a_row += 1
        elif outcome is Outcome.DELIVERED and not self.tripped:
            self._in_a_row = 0

    @property
    def tripped(self) -> bool:
        """Whether the rest of the batch should go back."""
        return self._in_a_row >= self._consecutive
