"""The circuit breaker's rules: pure decisions that the functions and the twin share.

The circuit protects the courier, and the orders' receives, from calls that cannot succeed. It is closed (deliveries
flow), open (the event source mapping is off, orders wait), half-open (one order at a time shows whether the courier is
back) or ramping (deliveries flow again, with few executions first).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from random import Random

from hub.backoff import full_jitter
from hub.outcomes import Outcome
from hub.pacing import FLOOR_SHARE

ITEM_KEY = "circuit#courier"


class State(StrEnum):
    """The circuit's state."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    RAMPING = "ramping"
    BROKEN = "broken"
    """Its machine could not go on. The watchdog starts another one."""


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


def judge(outcome: str, *, called: bool) -> Verdict:
    """Judge a probe.

    Args:
        outcome: The outcome of its call; one that is not known speaks against the courier.
        called: Whether the courier was called at all: an order that it took before says nothing about it now.
    """
    if outcome in (Outcome.PERMANENT, Outcome.POISON) or (outcome == Outcome.DELIVERED and not called):
        return Verdict.NOTHING
    return Verdict.HEALTHY if outcome == Outcome.DELIVERED else Verdict.SICK


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


@dataclass(frozen=True)
class Step:
    """What one step of the ramp allows."""

    concurrency: int
    """Delivery executions at a time."""
    rate: float
    """Calls a second."""
    full: bool
    """Whether that is all."""


def ramp_step(number: int, *, concurrency: int, rate: float) -> Step:
    """Return a step of the ramp: the pacing floor's share of the full values, then twice as much with each step.

    Args:
        number: Which step, from 0.
        concurrency: Delivery executions at a time when the circuit is closed, at least 2.
        rate: Calls a second that the courier accepts, above 0.
    """
    share = min(1.0, FLOOR_SHARE * 2.0 ** min(number, 32))
    return Step(max(LEAST_CONCURRENCY, ceil(share * concurrency)), share * rate, share >= 1.0)


class Repair(StrEnum):
    """What the watchdog does about a contradiction."""

    OPEN = "open"
    CLOSE = "close"
    RESUME = "resume"
    SET_CONCURRENCY = "set-concurrency"


@dataclass(frozen=True)
class Observation:
    """What the watchdog sees at one moment.

    Args:
        state: What the item says.
        age: Seconds since the item was last changed.
        owned: Whether the execution that the item names is running.
        mapping: The mapping's state, as Lambda names it.
        concurrency: The mapping's MaximumConcurrency; None if it has none.
        full_concurrency: What it should be when the circuit is closed.
        alarm: Whether the failure rate and the volume are both in alarm.
    """

    state: State
    age: float
    owned: bool
    mapping: str
    concurrency: int | None
    full_concurrency: int
    alarm: bool


STALE_SECONDS = 60.0
"""After which a mapping that is on while a running machine has the circuit open is no longer the machine's business: it
switches the mapping off within seconds of opening."""


def diagnose(seen: Observation) -> tuple[Repair, str] | None:
    """Find a contradiction between item, mapping and machine.

    A mapping in the middle of a change (Enabling, Updating …) is left for the next look.

    Returns:
        What to do about it and what is wrong, or None if nothing is.
    """
    if seen.state is not State.CLOSED:
        if not seen.owned:
            return Repair.RESUME, f"the circuit is {seen.state}, and no machine leads it"
        if seen.state in (State.OPEN, State.HALF_OPEN) and seen.mapping == "Enabled" and seen.age > STALE_SECONDS:
            return Repair.RESUME, f"the circuit is {seen.state}, and the mapping is on"
        return None
    if seen.mapping == "Disabled":
        return Repair.CLOSE, "the circuit is closed, and the mapping is off"
    if seen.mapping != "Enabled":
        return None
    if seen.alarm:
        return Repair.OPEN, "the circuit is closed, and the courier's alarms fire"
    if seen.concurrency != seen.full_concurrency:
        return Repair.SET_CONCURRENCY, f"the circuit is closed, and MaximumConcurrency is {seen.concurrency}"
    return None


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
