"""What `make outage` reads out of an outage."""

from __future__ import annotations

import pytest

from loadtest.outage import LOOK_S, Sight, longest_look, peak_rate, wait_in_force

ROUNDS = [
    (0.0, "PlanWait"),
    (1.0, "WaitForProbes"),
    (11.0, "ToHalfOpen"),
    (14.0, "ToOpen"),
    (15.0, "WaitForProbes"),
    (45.0, "ToHalfOpen"),
    (49.0, "ToRamping"),
]


@pytest.mark.parametrize(
    ("recovered", "seconds"),
    [(5.0, 10.0), (12.0, 30.0), (20.0, 30.0), (47.0, 30.0)],
    ids=["in the first wait", "in a round that fails", "in the second wait", "in the round that succeeds"],
)
def test_the_wait_in_force_is_the_one_under_way_or_the_next(recovered: float, seconds: float) -> None:
    assert wait_in_force(ROUNDS, recovered) == seconds


def test_a_circuit_that_never_waited_has_no_wait_in_force() -> None:
    with pytest.raises(ValueError, match="no round"):
        wait_in_force([(0.0, "AnnounceRamping")], 1.0)


def test_the_peak_is_of_any_second_not_of_the_clocks() -> None:
    assert peak_rate([0.6, 0.8, 1.1, 1.2, 1.59, 3.0]) == 5
    assert peak_rate([0.0, 1.0]) == 1
    assert peak_rate([]) == 0


def test_the_longest_look_is_of_those_after_the_recovery() -> None:
    at = [0.0, 9.0, 9.0 + LOOK_S + 0.1, 9.0 + 2 * LOOK_S + 0.6]
    sights = [Sight(moment, "open", "Disabled") for moment in at]
    assert longest_look(sights, begin=9.0) == pytest.approx(0.5)
    assert longest_look([], begin=0.0) == 0.0
