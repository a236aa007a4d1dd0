from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import profiles
from loadtest.profiles import Phase, Profile
from loadtest.twin.arrivals import moments

RATES = st.floats(0, 50)


@given(st.lists(st.tuples(st.floats(1, 100), RATES, RATES), min_size=1, max_size=4))
def test_even_arrivals_are_as_many_as_the_profile_has_in_order_and_within_it(
    phases: list[tuple[float, float, float]],
) -> None:
    profile = Profile("any", tuple(Phase("any", *phase) for phase in phases))
    arrivals = list(moments(profile, "even", Random(1)))
    assert len(arrivals) == pytest.approx(profile.orders, abs=1.0)
    assert all(former <= latter + 1e-6 for former, latter in pairwise(arrivals))
    assert all(0 <= arrival <= profile.duration_s + 1e-6 for arrival in arrivals)


def test_arrivals_follow_the_rate() -> None:
    published = profiles.load()
    arrivals = list(moments(published, "even", Random(1)))
    for begin in range(0, 1080, 60):
        seen = sum(begin <= arrival < begin + 60 for arrival in arrivals)
        due = sum(published.rate_at(begin + second + 0.5) for second in range(60))
        assert seen == pytest.approx(due, abs=1.5)


def test_independent_customers_come_irregularly_but_as_often() -> None:
    profile = Profile("steady", (Phase("steady", 10_000.0, 5.0, 5.0),))
    arrivals = list(moments(profile, "poisson", Random(1)))
    assert len(arrivals) == pytest.approx(50_000, rel=0.02)
    gaps = [latter - former for former, latter in pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.05), "the gaps of a Poisson process are exponential"
