"""The circuit breaker's rules."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.circuit import (
    LEAST_CONCURRENCY,
    STALE_SECONDS,
    Guard,
    Observation,
    Repair,
    State,
    Verdict,
    diagnose,
    judge,
    probe_wait,
    ramp_step,
    sample,
)
from hub.outcomes import Outcome

WELL = Observation(
    state=State.CLOSED, age=1e6, owned=False, mapping="Enabled", concurrency=3, full_concurrency=3, alarm=False
)


def test_only_what_tells_sick_from_healthy_is_a_sample() -> None:
    samples = {outcome: sample(outcome) for outcome in Outcome if sample(outcome) is not None}
    assert samples == {Outcome.UNHEALTHY: 1, Outcome.DELIVERED: 0}


@pytest.mark.parametrize(
    ("outcome", "called", "verdict"),
    [
        (Outcome.DELIVERED, True, Verdict.HEALTHY),
        (Outcome.DELIVERED, False, Verdict.NOTHING),
        (Outcome.PERMANENT, True, Verdict.NOTHING),
        (Outcome.POISON, False, Verdict.NOTHING),
        (Outcome.UNHEALTHY, True, Verdict.SICK),
        (Outcome.THROTTLED, True, Verdict.SICK),
        (Outcome.TRANSIENT, True, Verdict.SICK),
        (Outcome.UNTRIED, False, Verdict.SICK),
        ("something new", True, Verdict.SICK),
    ],
)
def test_a_probe_is_judged(outcome: str, called: bool, verdict: Verdict) -> None:
    assert judge(outcome, called=called) is verdict


@given(st.integers(0, 10_000), st.floats(1, 3600), st.floats(1, 3600), st.integers())
def test_waits_grow_to_a_cap_and_never_vanish(failures: int, shortest: float, longest: float, seed: int) -> None:
    seconds = probe_wait(failures, shortest=shortest, longest=longest, random=Random(seed))
    ceiling = min(longest, shortest * 2.0 ** min(failures, 32))
    assert ceiling / 2 <= seconds <= ceiling + 1e-9


def test_waits_have_jitter() -> None:
    random = Random(1)
    assert len({probe_wait(3, shortest=10, longest=300, random=random) for _ in range(20)}) == 20


@given(st.integers(2, 1000), st.floats(0.1, 10_000))
def test_the_ramp_grows_from_the_least_to_the_full_value(concurrency: int, rate: float) -> None:
    steps = [ramp_step(number, concurrency=concurrency, rate=rate) for number in range(5)]
    assert steps[0].concurrency == max(LEAST_CONCURRENCY, -(-concurrency // 5))
    assert steps[0].rate == pytest.approx(rate * 0.2)
    assert all(before.concurrency <= after.concurrency for before, after in pairwise(steps))
    assert all(before.rate <= after.rate for before, after in pairwise(steps))
    assert [step.full for step in steps] == [False, False, False, True, True]
    assert (steps[-1].concurrency, steps[-1].rate) == (concurrency, rate)


def test_a_guard_ends_a_batch_after_failures_in_a_row() -> None:
    guard = Guard(3)
    for outcome in (Outcome.UNHEALTHY, Outcome.UNHEALTHY, Outcome.DELIVERED, Outcome.UNHEALTHY, Outcome.UNHEALTHY):
        guard.observe(outcome)
    assert not guard.tripped
    guard.observe(Outcome.THROTTLED)
    guard.observe(Outcome.UNHEALTHY)
    assert guard.tripped, "being throttled is no sign of health"
    guard.observe(Outcome.DELIVERED)
    assert guard.tripped, "an answer that was under way does not take it back"


@pytest.mark.parametrize(
    ("seen", "repair"),
    [
        (WELL, None),
        (replace(WELL, mapping="Disabled"), Repair.CLOSE),
        (replace(WELL, mapping="Enabling"), None),
        (replace(WELL, concurrency=2), Repair.SET_CONCURRENCY),
        (replace(WELL, concurrency=None), Repair.SET_CONCURRENCY),
        (replace(WELL, alarm=True), Repair.OPEN),
        (replace(WELL, state=State.OPEN, mapping="Disabled"), Repair.RESUME),
        (replace(WELL, state=State.HALF_OPEN, mapping="Disabled"), Repair.RESUME),
        (replace(WELL, state=State.RAMPING), Repair.RESUME),
        (replace(WELL, state=State.BROKEN), Repair.RESUME),
        (replace(WELL, state=State.OPEN, mapping="Disabled", owned=True), None),
        (replace(WELL, state=State.OPEN, mapping="Enabled", owned=True), Repair.RESUME),
        (replace(WELL, state=State.OPEN, mapping="Enabled", owned=True, age=STALE_SECONDS / 2), None),
        (replace(WELL, state=State.RAMPING, owned=True, concurrency=2), None),
    ],
)
def test_the_watchdog_finds_each_contradiction(seen: Observation, repair: Repair | None) -> None:
    found = diagnose(seen)
    assert (found and found[0]) == repair
