"""Pacing: calls to the courier leave one by one, at its limit, however many executions make them.

A cap on concurrency is no rate limit: refusals come back at once, so a cap lets them multiply. Here every call has a
slot in time. One item holds the time of the next free slot; an execution that wants to make n calls moves it n slots
on, by one conditional write, and owns the slots in between (GCRA, the generic cell rate algorithm, ITU-T I.371, with
the reservation made ahead). Slots are moments, not tokens: an execution that dies has nothing to give back.

The rate adapts: a refusal for being too fast lowers it at once by a factor (not again for a second, since several
refusals have one cause), deliveries raise it in small equal steps; it stays between a floor and the courier's limit.

This file is arithmetic that the functions and the twin share: times are seconds on one clock, whichever it is. The
item and the clock are in ``pacer``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

SLOW_DOWN_FACTOR = 0.7
SLOW_DOWN_PAUSE_SECONDS = 1.0
SPEED_UP_SHARE = 0.005
"""Of the limit, for each delivery: from the floor to the limit in 160 deliveries."""
FLOOR_SHARE = 0.2
"""Of the limit, below which the rate never falls: low enough for a courier in trouble, high enough that all calls that
the executions hold at once find a slot before their time is over."""
CATCH_UP_SECONDS = 0.1
"""Whose calls may be caught up at once after a stall: in no second are there more than 1.1 seconds' calls and one."""
CATCH_UP_SHARE = 0.5
"""Of the courier's burst, that may be used to catch up at most; the rest forgives late and early calls."""
LONGEST_PAUSE_SECONDS = 3600.0
LONGEST_LEAD_SECONDS = 900.0
"""How far ahead a slot can be at all: Lambda's longest timeout."""


@dataclass(frozen=True)
class Limits:
    """What the courier allows.

    Args:
        rate: Calls a second for long, above 0.
        burst: Calls at once, at least 1.
    """

    rate: float
    burst: float = 1.0

    @property
    def floor(self) -> float:
        """The rate that is kept whatever the courier answers, in calls a second."""
        return self.rate * FLOOR_SHARE


@dataclass(frozen=True)
class Pace:
    """The state that all executions share.

    Args:
        next_slot: When the next free slot begins.
        rate: Calls a second at present.
        slowed_at: When the rate was last lowered.
        paused_until: Before which nobody may call, because the courier asked for it (Retry-After).
    """

    next_slot: float
    rate: float
    slowed_at: float = 0.0
    paused_until: float = 0.0


def reserve(pace: Pace, limits: Limits, *, calls: int, now: float, until: float) -> tuple[list[float], Pace]:
    """Reserve slots for calls.

    Args:
        pace: The shared state.
        limits: What the courier allows.
        calls: How many slots are wanted, 0 or more.
        now: The time.
        until: When the last call must begin; slots after it are not reserved.

    Returns:
        The times of the slots, in order and at most ``calls`` of them, and the new state. A slot may lie in the past:
        that call begins at once.
    """
    spacing = 1.0 / pace.rate
    catch_up = min(CATCH_UP_SECONDS, max(0.0, limits.burst * CATCH_UP_SHARE - 1.0) * spacing)
    first = max(pace.next_slot, pace.paused_until, now - catch_up)
    fitting = math.floor((until - first) / spacing) + 1 if until >= first else 0
    count = min(calls, fitting)
    slots = [first + index * spacing for index in range(count)]
    return slots, replace(pace, next_slot=first + count * spacing) if count else pace


def speed_up(pace: Pace, limits: Limits, *, deliveries: int) -> Pace:
    """Raise the rate after deliveries, up to the courier's limit."""
    return replace(pace, rate=min(limits.rate, pace.rate + deliveries * SPEED_UP_SHARE * limits.rate))


def slow_down(pace: Pace, limits: Limits, *, now: float, retry_after: float) -> Pace:
    """Lower the rate after a refusal, and let nobody call before its Retry-After has passed.

    Args:
        pace: The shared state.
        limits: What the courier allows.
        now: When the refusal arrived.
        retry_after: Seconds that the courier asks to wait, 0 or more.
    """
    pause_end = now + min(retry_after, LONGEST_PAUSE_SECONDS)
    if now - pace.slowed_at >= SLOW_DOWN_PAUSE_SECONDS:
        pace = replace(pace, rate=max(limits.floor, pace.rate * SLOW_DOWN_FACTOR), slowed_at=now)
    return replace(pace, paused_until=max(pace.paused_until, pause_end))


def sound(pace: Pace, limits: Limits, now: float) -> Pace:
    """Return the pace with impossible values mended: whatever was written to the item, delivery goes on, and safely.

    A moment further away than any pause or reservation could put it is now; a rate out of bounds is brought within
    them; a value that is no number counts as out of bounds.
    """
    furthest_slot = now + LONGEST_LEAD_SECONDS
    furthest_pause = now + LONGEST_PAUSE_SECONDS
    return Pace(
        next_slot=pace.next_slot if pace.next_slot <= furthest_slot else now,
        rate=min(limits.rate, max(limits.floor, pace.rate)) if math.isfinite(pace.rate) else limits.floor,
        slowed_at=pace.slowed_at if pace.slowed_at <= now else now,
        paused_until=pace.paused_until if pace.paused_until <= furthest_pause + 1.0 else now,
    )
