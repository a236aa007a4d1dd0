from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import profiles
from loadtest.profiles import Phase, Profile, Scale

PUBLISHED = profiles.load()
RATES = st.floats(0, 100)
PHASES = st.lists(st.builds(Phase, st.just("phase"), st.floats(1, 600), RATES, RATES), min_size=1, max_size=5)


def test_published_profile_is_the_experiment_of_eighteen_minutes() -> None:
    assert [(p.duration_s, p.start_rate, p.end_rate) for p in PUBLISHED.phases] == [
        (60, 2, 2),
        (120, 2, 5),
        (600, 4, 15),
        (300, 15, 15),
    ]
    assert PUBLISHED.duration_s == 18 * 60
    assert PUBLISHED.orders == pytest.approx(10_740)
    assert PUBLISHED.peak_rate == 15


def test_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no profile 'black friday'.*published"):
        profiles.load("black friday")


@pytest.mark.parametrize("scale", [(0, 1), (1, 0), (-1, 1)])
def test_scale_must_be_positive(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Scale(*scale)


def test_scaled_profile_keeps_its_shape() -> None:
    short = PUBLISHED.scaled(Scale(time=1 / 15, rate=1 / 2), name="short")
    assert [(p.duration_s, p.start_rate, p.end_rate) for p in short.phases] == [
        (4, 1, 1),
        (8, 1, 2.5),
        (40, 2, 7.5),
        (20, 7.5, 7.5),
    ]
    assert short.name == "short"
    assert short.orders == pytest.approx(PUBLISHED.orders / 30)


def test_overload_lasts_as_long_as_orders_come_faster_than_the_limit() -> None:
    overload = PUBLISHED.seconds_above(10)
    assert overload == pytest.approx((180 + 600 * 6 / 11, 1080))
    assert PUBLISHED.seconds_above(15) is None


@given(PHASES, RATES)
def test_rate_exceeds_the_limit_only_inside_the_overload(phases: list[Phase], limit: float) -> None:
    profile = Profile("any", tuple(phases))
    overload = profile.seconds_above(limit)
    for step in range(100):
        second = profile.duration_s * step / 100
        if profile.rate_at(second) > limit + 1e-6:
            assert overload is not None
            assert overload[0] - 1e-6 <= second <= overload[1] + 1e-6


@given(PHASES)
def test_rate_is_zero_outside_and_its_integral_is_the_number_of_orders(phases: list[Phase]) -> None:
    profile = Profile("any", tuple(phases))
    assert profile.rate_at(-1) == profile.rate_at(profile.duration_s + 1) == 0
    middles = sum(
        profile.rate_at(begin + phase.duration_s / 2) * phase.duration_s for begin, phase in profile._begins()
    )
    assert middles == pytest.approx(profile.orders)


def test_artillery_gets_a_count_for_constant_rates_because_it_refuses_fractions() -> None:
    short = PUBLISHED.scaled(Scale(time=1 / 15, rate=1 / 2))
    assert short.artillery_phases()[2:] == [
        {"name": "growth", "duration": 40, "arrivalRate": 2, "rampTo": 7.5},
        {"name": "peak", "duration": 20, "arrivalCount": 150},
    ]
