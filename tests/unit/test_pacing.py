"""The pace: slots in one sequence whatever happens, never faster than the courier allows, never stuck."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.pacing import (
    CATCH_UP_SECONDS,
    CATCH_UP_SHARE,
    FLOOR_SHARE,
    LONGEST_LEAD_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SLOW_DOWN_FACTOR,
    Limits,
    Pace,
    reserve,
    slow_down,
    sound,
    speed_up,
)

LIMITS = Limits(rate=10.0, burst=10.0)
moments = st.floats(0.0, 2e9, allow_nan=False)
rates = st.floats(LIMITS.floor, LIMITS.rate)


def test_slots_are_one_spacing_apart_and_follow_each_other_across_reservations() -> None:
    first, pace = reserve(Pace(100.0, 10.0), LIMITS, calls=10, now=100.0, until=120.0)
    second, _ = reserve(pace, LIMITS, calls=10, now=100.0, until=120.0)
    assert first + second == pytest.approx([100.0 + index / 10 for index in range(20)])


def test_slots_beyond_what_the_invocation_can_use_are_not_reserved() -> None:
    slots, pace = reserve(Pace(118.05, 10.0), LIMITS, calls=10, now=100.0, until=118.5)
    assert slots == pytest.approx([118.05, 118.15, 118.25, 118.35, 118.45])
    assert pace.next_slot == pytest.approx(118.55), "only the five slots that are used may be taken from the others"
    assert reserve(pace, LIMITS, calls=10, now=100.0, until=118.5) == ([], pace)


@pytest.mark.parametrize("burst", [1.0, 2.0, 4.0, 40.0, 100.0])
def test_a_stall_is_caught_up_within_half_of_the_couriers_burst_and_a_tenth_of_a_seconds_calls(burst: float) -> None:
    limits = Limits(rate=100.0, burst=burst)
    slots, _ = reserve(Pace(0.0, limits.rate), limits, calls=100, now=1000.0, until=1020.0)
    at_once = sum(slot <= 1000.0 + 1e-9 for slot in slots)
    assert at_once == max(1.0, min(limits.burst * CATCH_UP_SHARE, limits.rate * CATCH_UP_SECONDS + 1))


@given(st.floats(5.0, 200.0), st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 40)), min_size=1, max_size=40))
def test_no_second_has_a_fifth_more_calls_than_the_limit(rate: float, reservations: list[tuple[float, int]]) -> None:
    """Whatever stalls come between. One call more is the fence post: eleven posts bound ten gaps."""
    limits = Limits(rate=rate, burst=10 * rate)
    pace, now, calls = Pace(0.0, rate), 1000.0, []
    for pause, wanted in reservations:
        now += pause
        slots, pace = reserve(pace, limits, calls=wanted, now=now, until=now + 20.0)
        calls += [max(now, slot) for slot in slots]
    for at in calls:
        assert sum(at <= other < at + 1.0 - 1e-6 for other in calls) <= rate * (1.0 + CATCH_UP_SECONDS) + 1


@dataclass
class Bucket:
    """The courier's limit as API Gateway documents it: a token bucket of `burst`, filled at `rate`."""

    rate: float
    burst: float
    tokens: float = field(init=False)
    filled_at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 5.0), st.integers(1, 10), st.floats(0.0, 20.0), st.integers(0, 10)),
        min_size=1,
        max_size=60,
    )
)
def test_however_executions_interleave_the_courier_is_never_overrun(
    reservations: list[tuple[float, int, float, int]],
) -> None:
    pace, now, calls = Pace(0.0, LIMITS.rate), 1000.0, []
    for pause, wanted, within, deliveries in reservations:
        now += pause
        before = pace.next_slot
        pace = speed_up(pace, LIMITS, deliveries=deliveries)
        slots, pace = reserve(pace, LIMITS, calls=wanted, now=now, until=now + within)
        assert pace.next_slot >= before, "slots are handed out in one ascending sequence"
        assert len(slots) <= wanted
        assert all(slot <= now + within for slot in slots)
        calls += [max(now, slot) for slot in slots]
    bucket = Bucket(LIMITS.rate, LIMITS.burst, filled_at=1000.0)
    refused = [call for call in sorted(calls) if not bucket.take(call + 1e-9)]
    assert not refused, "every call in its slot finds a token in the courier's bucket"


@given(st.integers(1, 10), st.floats(0.0, 30.0))
def test_what_a_dead_invocation_reserved_holds_up_nobody_for_longer_than_its_own_slots(
    calls: int, later: float
) -> None:
    _, pace = reserve(Pace(0.0, 10.0), LIMITS, calls=calls, now=1000.0, until=1020.0)  # ... and never calls
    slots, _ = reserve(pace, LIMITS, calls=1, now=1000.0 + later, until=1060.0)
    assert slots[0] <= max(1000.0 + later, 1000.0 + calls / 10.0)


@given(rates, moments)
def test_a_refusal_lowers_the_rate_at_once_and_only_once_a_second(rate: float, now: float) -> None:
    now += 10.0
    slowed = slow_down(Pace(now, rate), LIMITS, now=now, retry_after=0.0)
    assert slowed.rate == max(LIMITS.floor, rate * SLOW_DOWN_FACTOR)
    again = slow_down(slowed, LIMITS, now=now + 0.5, retry_after=0.0)
    assert again.rate == slowed.rate, "ten refusals of one batch have one cause"
    assert slow_down(again, LIMITS, now=now + 1.5, retry_after=0.0).rate <= slowed.rate


@given(st.integers(0, 1000), rates)
def test_deliveries_raise_the_rate_in_equal_steps_up_to_the_limit(deliveries: int, rate: float) -> None:
    raised = speed_up(Pace(0.0, rate), LIMITS, deliveries=deliveries).rate
    assert rate <= raised <= LIMITS.rate
    one_by_one = Pace(0.0, rate)
    for _ in range(deliveries):
        one_by_one = speed_up(one_by_one, LIMITS, deliveries=1)
    assert raised == pytest.approx(one_by_one.rate)


@given(st.floats(0.0, 1e6), moments)
def test_nobody_reserves_a_slot_before_retry_after_has_passed(retry_after: float, now: float) -> None:
    pace = slow_down(Pace(now, 10.0), LIMITS, now=now, retry_after=retry_after)
    slots, _ = reserve(pace, LIMITS, calls=10, now=now, until=now + 2 * LONGEST_PAUSE_SECONDS)
    assert min(slots) >= now + min(retry_after, LONGEST_PAUSE_SECONDS)


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    moments,
)
def test_whatever_was_written_to_the_item_delivery_goes_on_within_the_limit(
    next_slot: float, rate: float, slowed_at: float, paused_until: float, now: float
) -> None:
    mended = sound(Pace(next_slot, rate, slowed_at, paused_until), LIMITS, now)
    assert LIMITS.floor <= mended.rate <= LIMITS.rate
    patience = now + LONGEST_PAUSE_SECONDS + LONGEST_LEAD_SECONDS + 1.0 / LIMITS.floor + 1.0
    slots, after = reserve(mended, LIMITS, calls=1, now=now, until=patience)
    assert len(slots) == 1, "no value may stop delivery for good"
    assert all(math.isfinite(value) for value in (slots[0], after.rate))


@given(rates, moments, st.integers(0, 10))
def test_a_sound_pace_is_left_as_it_is(rate: float, now: float, lead: int) -> None:
    pace = Pace(now + lead, rate, now, now)
    assert sound(pace, LIMITS, now) == pace


def test_the_rate_settles_at_what_a_courier_in_trouble_allows_and_recovers() -> None:
    """AIMD: a courier that allows half of its limit is refused a little, not a lot; and trusted again later."""
    random, pace, now = Random(7), Pace(0.0, LIMITS.rate), 0.0
    refused = called = 0
    allowed = Bucket(5.0, 5.0)
    while now < 300.0:
        slots, pace = reserve(pace, LIMITS, calls=10, now=now, until=now + 20.0)
        for slot in slots:
            now = max(now, slot)
            called += 1
            if allowed.take(now):
                pace = speed_up(pace, LIMITS, deliveries=1)
            else:
                refused += 1
                pace = slow_down(pace, LIMITS, now=now, retry_after=0.0)
        now += random.uniform(0.0, 0.05)
    assert refused / called < 0.10
    assert called - refused > 0.85 * 5.0 * 300.0
    assert FLOOR_SHARE * LIMITS.rate <= pace.rate <= LIMITS.rate
    assert speed_up(pace, LIMITS, deliveries=160).rate == LIMITS.rate
