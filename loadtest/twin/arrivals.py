"""When orders arrive: a profile's rate, turned into moments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from loadtest.profiles import Phase, Profile


def moments(profile: Profile, kind: str, random: Random) -> Iterator[float]:
    """Yield the seconds at which orders arrive, ascending.

    The orders that are due by a moment are the integral of the rate; an order arrives whenever that reaches the next
    whole number ("even"), or the next point of a Poisson process of rate 1 ("poisson"; time change of an inhomogeneous
    Poisson process, Cinlar, Introduction to Stochastic Processes, 1975).

    Args:
        profile: The load.
        kind: even or poisson.
        random: Source of the Poisson process.
    """

    def step() -> float:
        return 1.0 if kind == "even" else random.expovariate(1.0)

    begin, due = 0.0, step()
    passed = 0.0
    for phase in profile.phases:
        while due <= passed + phase.orders:
            yield begin + _second(phase, due - passed)
            due += step()
        passed += phase.orders
        begin += phase.duration_s


def _second(phase: Phase, orders: float) -> float:
    """Return the second of a phase by which some orders are due: where start x t + growth x t^2 / 2 reaches them."""
    growth = (phase.end_rate - phase.start_rate) / phase.duration_s
    if abs(growth) < 1e-12:
        return orders / phase.start_rate
    # The stable form of the quadratic formula: no difference of nearly equal numbers.
    root = math.sqrt(max(0.0, phase.start_rate**2 + 2 * growth * orders))
    return min(phase.duration_s, 2 * orders / (phase.start_rate + root))
