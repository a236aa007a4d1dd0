"""Every alarm of the template, below its threshold, at it, and without data.

Each alarm has a case, written down by hand: values that must leave it quiet and values that must fire it, at the very
threshold. They are put through the evaluation that the local stack uses (``local.gaps.alarm_evaluation``), which
``tests/conformance/test_alarms.py`` holds to what AWS documents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from local.gaps import metric_math
from local.gaps.alarm_evaluation import alarm_state
from tests.template.invariants.alarms import ALARM, COMPOSITE
from tests.template.translated import Stack
from tests.template.variants import VARIANTS, stack

Values = dict[str, float]


@dataclass(frozen=True)
class Case:
    """What leaves an alarm quiet, what fires it, and its state without any data.

    With several metrics the values are given by the ids of the alarm's ``Metrics``.
    """

    quiet: float | Values
    fires: float | Values
    without: str = "OK"


CASES = {
    "IngestDeadLetterAlarm": Case(0, 1),
    "EventDeadLetterAlarm": Case(0, 1),
    "DeliveryDeadLetterAlarm": Case(0, 1),
    "SalesDeadLetterAlarm": Case(0, 1),
    "SalesExportDeadLetterAlarm": Case(0, 1),
    # Five minutes, in milliseconds.
    "SalesExportIteratorAgeAlarm": Case(299_999, 300_000),
    "DeadLettersFunctionAlarm": Case(0, 1),
    "RedriveAlarm": Case(0, 1),
    "ReplayAlarm": Case(0, 1),
    "FailureRateAlarm": Case(0.59, 0.6),
    "CallVolumeAlarm": Case(19, 20),
    # The watchdog that should measure is gone: a change of state of its own, of which people are told.
    "CircuitNotClosedAlarm": Case(0, 1, without="INSUFFICIENT_DATA"),
    "CircuitBreakerAlarm": Case(0, 1),
    "CircuitFunctionAlarm": Case(0, 1),
    "OrdersApi4xxAlarm": Case(0.49, 0.5),
    "OrdersApi5xxAlarm": Case(0.049, 0.05),
    # 100 orders a second for a minute are 6,000; four fifths of them 4,800.
    "OrdersApiLoadAlarm": Case({"requests": 4799}, {"requests": 4800}),
    "OrdersSilentAlarm": Case(1, 0, without="ALARM"),
    "NotificationErrorsAlarm": Case(0, 1),
    "NotificationThrottlesAlarm": Case(0, 1),
    "IngestAgeAlarm": Case(299, 300),
    "SalesErrorsAlarm": Case(0, 1),
    "SalesThrottlesAlarm": Case(0, 1),
    "SalesAgeAlarm": Case(899, 900),
    "EventBusThrottledAlarm": Case(0, 1),
    "EventBusRetriesAlarm": Case(0, 1),
    "SalesEventsLostAlarm": Case(0, 1),
    "DeliveryEventsLostAlarm": Case(0, 1),
    "DeliveryErrorsAlarm": Case(0, 1),
    "DeliveryThrottlesAlarm": Case(0, 1),
    # Half of the promised hour.
    "DeliveryAgeAlarm": Case({"age": 1799}, {"age": 1800}),
    "OrdersLostAlarm": Case(0, 1),
    # Of a quota of 1,000.
    "DeliveryConcurrencyAlarm": Case({"deliveries": 499, "running": 700}, {"deliveries": 500, "running": 700}),
    "AccountConcurrencyAlarm": Case({"claimed": 799, "running": 10}, {"claimed": 800, "running": 10}),
}

COMPOSITE_CASES: dict[str, list[tuple[set[str], bool]]] = {
    "CourierAlarm": [
        ({"FailureRateAlarm"}, False),
        ({"CallVolumeAlarm"}, False),
        ({"FailureRateAlarm", "CallVolumeAlarm"}, True),
    ],
    "RefusedOrdersAlarm": [(set(), False), ({"OrdersApi4xxAlarm"}, True), ({"OrdersApiLoadAlarm"}, True)],
    "IngestAlarm": [
        (set(), False),
        ({"NotificationErrorsAlarm"}, True),
        ({"NotificationThrottlesAlarm"}, True),
        ({"IngestAgeAlarm"}, True),
        ({"NotificationThrottlesAlarm", "IngestAgeAlarm", "AccountConcurrencyAlarm"}, False),
        ({"NotificationErrorsAlarm", "AccountConcurrencyAlarm"}, True),
    ],
    "SalesAlarm": [
        (set(), False),
        ({"SalesErrorsAlarm"}, True),
        ({"SalesThrottlesAlarm"}, True),
        ({"SalesAgeAlarm"}, True),
        ({"SalesThrottlesAlarm", "SalesAgeAlarm", "AccountConcurrencyAlarm"}, False),
        ({"SalesErrorsAlarm", "AccountConcurrencyAlarm"}, True),
    ],
    "DeliveryAlarm": [
        (set(), False),
        ({"DeliveryErrorsAlarm"}, True),
        ({"DeliveryThrottlesAlarm"}, True),
        ({"DeliveryThrottlesAlarm", "AccountConcurrencyAlarm"}, False),
        ({"DeliveryErrorsAlarm", "AccountConcurrencyAlarm", "CircuitNotClosedAlarm"}, True),
    ],
}
WITH_FLOW_CONTROL: list[tuple[set[str], bool]] = [
    ({"DeliveryAgeAlarm"}, True),
    ({"DeliveryAgeAlarm", "CircuitNotClosedAlarm"}, False),
]


def where(alarm: str) -> Stack:
    """Return the first variant that has an alarm."""
    return next(stack(variant) for variant in VARIANTS if alarm in stack(variant).resources)


def state(alarm: str, periods: list[float | Values | None]) -> str:
    """Return the state that the values of its periods bring an alarm into."""
    properties = where(alarm).properties(alarm)
    return alarm_state(properties | {"StateValue": "OK"}, [_value(properties, values) for values in periods])


def _value(alarm: dict[str, Any], values: float | Values | None) -> float | None:
    queries = alarm.get("Metrics")
    if queries is None:
        assert not isinstance(values, dict)
        return values
    metrics: dict[str, float | None] = dict.fromkeys(metric_math.metric_stats(queries))
    return metric_math.value(queries, metrics | values if isinstance(values, dict) else metrics)


def periods_of(alarm: str) -> tuple[int, int]:
    """Return how many periods an alarm looks at, and in how many of them it must breach."""
    properties = where(alarm).properties(alarm)
    count = int(properties["EvaluationPeriods"])
    return count, int(properties.get("DatapointsToAlarm", count))


@pytest.mark.parametrize("alarm", CASES)
def test_it_fires_at_its_threshold_in_as_many_periods_as_it_says(alarm: str) -> None:
    case, (count, needed) = CASES[alarm], periods_of(alarm)
    assert state(alarm, [case.fires] * needed + [case.quiet] * (count - needed)) == "ALARM"
    assert state(alarm, [case.quiet] * (count - needed) + [case.fires] * needed) == "ALARM", "whichever they are"


@pytest.mark.parametrize("alarm", CASES)
def test_it_is_quiet_below_its_threshold_and_in_fewer_periods(alarm: str) -> None:
    case, (count, needed) = CASES[alarm], periods_of(alarm)
    assert state(alarm, [case.quiet] * count) == "OK"
    assert state(alarm, [case.fires] * (needed - 1) + [case.quiet] * (count - needed + 1)) == "OK"


@pytest.mark.parametrize("alarm", CASES)
def test_without_data_it_does_what_was_meant(alarm: str) -> None:
    count, _ = periods_of(alarm)
    assert state(alarm, [None] * count) == CASES[alarm].without


@pytest.mark.parametrize("alarm", [alarm for alarm, case in CASES.items() if isinstance(case.fires, dict)])
def test_arithmetic_without_one_of_its_metrics_is_no_data(alarm: str) -> None:
    case, (count, _) = CASES[alarm], periods_of(alarm)
    assert isinstance(case.fires, dict)
    for missing in case.fires.keys() - {"running"}:  # whose quota is there without it
        values = {name: value for name, value in case.fires.items() if name != missing}
        assert state(alarm, [values] * count) == case.without


@pytest.mark.parametrize(
    "expression", ["NONSENSE(errors)", "errors ** 2", "unknown + 1", "errors +", "SERVICE_QUOTA(1)"]
)
def test_arithmetic_that_is_not_known_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="metric math that is not known here"):
        metric_math.calculate(expression, {"errors": 1.0})


def test_a_division_by_nothing_is_no_data() -> None:
    assert metric_math.calculate("errors / calls", {"errors": 1.0, "calls": 0.0}) is None


def rule_holds(rule: str, firing: set[str]) -> bool:
    """Work out the rule of a composite alarm, while these alarms fire and all others are OK."""
    expression = re.sub(r'ALARM\("\$\{(\w+)\}"\)', lambda match: str(match[1] in firing), rule)
    expression = expression.replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    assert re.fullmatch(r"(True|False|and|or|not|[() ])+", expression), expression
    return bool(eval(expression))


@pytest.mark.parametrize(
    ("alarm", "firing", "fires"),
    [(alarm, firing, fires) for alarm, cases in COMPOSITE_CASES.items() for firing, fires in cases],
    ids=lambda value: "+".join(sorted(value)) or "none" if isinstance(value, set) else str(value),
)
def test_a_composite_alarm_joins_what_has_one_cause(alarm: str, firing: set[str], fires: bool) -> None:
    for variant in VARIANTS:
        if alarm in stack(variant).resources:
            assert rule_holds(stack(variant).properties(alarm)["AlarmRule"]["Fn::Sub"], firing) is fires, variant


@pytest.mark.parametrize(("firing", "fires"), WITH_FLOW_CONTROL)
def test_orders_that_wait_for_the_circuit_are_no_news(firing: set[str], fires: bool) -> None:
    rule = stack("flow_control").properties("DeliveryAlarm")["AlarmRule"]["Fn::Sub"]
    assert rule_holds(rule, firing) is fires


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_alarm_has_a_case(variant: str) -> None:
    assert set(stack(variant).of_type(ALARM)) <= set(CASES), "say in CASES what fires the new one, and what does not"
    assert set(stack(variant).of_type(COMPOSITE)) <= set(COMPOSITE_CASES)


def test_every_case_has_an_alarm() -> None:
    there = {name for variant in VARIANTS for name in stack(variant).of_type(ALARM, COMPOSITE)}
    assert {*CASES, *COMPOSITE_CASES} <= there
