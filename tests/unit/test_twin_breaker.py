from __future__ import annotations

import pytest

from loadtest.twin.breaker import Alarms
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.settings import CircuitSettings, deployment
from local.translated import deploy, template_yaml

WINDOW, CALLS, RATE = 10.0, 20, 0.6
PROMPT = Platform(metric_delay=2.0, alarm_evaluation=5.0)


@pytest.fixture
def settings() -> CircuitSettings:
    circuit = deployment("flow-control").circuit
    assert circuit is not None
    assert (circuit.window, circuit.minimum_calls, circuit.failure_rate) == (WINDOW, CALLS, RATE)
    return circuit


def told(settings: CircuitSettings, *samples: tuple[float, int, int]) -> tuple[list[float], Alarms]:
    """Give the alarms (second, failures, deliveries), and return when they fired."""
    clock = Clock()
    alarms = Alarms(clock, settings, PROMPT)
    fired: list[float] = []
    alarms.told.append(lambda: fired.append(clock.now))

    def give(failures: int, deliveries: int) -> None:
        for failed in [1] * failures + [0] * deliveries:
            alarms.observe(failed)

    for second, failures, deliveries in samples:
        clock.after(second, give, failures, deliveries)
    clock.run(until=1000)
    return fired, alarms


def test_the_template_s_alarms_are_of_the_kind_that_the_twin_plays() -> None:
    """Of them the twin reads period and thresholds only; with other rules it would go on, and be wrong in silence."""
    stack = deploy(template_yaml(), {"FlowControl": "enabled"})
    alarms = {name: stack.properties(name) for name in ("FailureRateAlarm", "CallVolumeAlarm")}
    assert {name: alarm["Statistic"] for name, alarm in alarms.items()} == {
        "FailureRateAlarm": "Average",
        "CallVolumeAlarm": "SampleCount",
    }
    for name, alarm in alarms.items():
        assert alarm["Period"] == alarms["FailureRateAlarm"]["Period"], "one period for both (twin/breaker.py, Alarms)"
        assert alarm["EvaluationPeriods"] == alarm.get("DatapointsToAlarm", 1) == 1, f"{name}: one period decides"
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold", name
        assert alarm["TreatMissingData"] == "notBreaching", f"{name}: silence ends the alarm"


def test_they_fire_at_the_evaluation_after_a_period_with_enough_failures_and_calls(settings: CircuitSettings) -> None:
    fired, _ = told(settings, (3.0, 12, 8))
    assert fired == [15.0], "the period ends at 10 s, its metric is there at 12 s, the next evaluation is at 15 s"


@pytest.mark.parametrize(("failures", "deliveries"), [(11, 9), (19, 0), (0, 100), (59, 41)])
def test_a_rate_or_a_volume_alone_fires_nothing(settings: CircuitSettings, failures: int, deliveries: int) -> None:
    fired, alarms = told(settings, (3.0, failures, deliveries))
    assert fired == []
    assert not alarms.firing


def test_a_bad_spell_across_two_periods_is_judged_in_each(settings: CircuitSettings) -> None:
    assert told(settings, (9.0, 19, 0), (11.0, 19, 0))[0] == []


def test_they_fire_once_for_an_outage_and_end_with_silence(settings: CircuitSettings) -> None:
    fired, alarms = told(settings, (3.0, 30, 0), (13.0, 30, 0), (23.0, 30, 0))
    assert fired == [15.0]
    assert not alarms.firing


def test_they_fire_again_after_a_good_spell(settings: CircuitSettings) -> None:
    assert told(settings, (3.0, 30, 0), (13.0, 0, 30), (23.0, 30, 0))[0] == [15.0, 35.0]
