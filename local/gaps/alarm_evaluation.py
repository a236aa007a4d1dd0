"""Evaluation of metric alarms: dimensions, datapoints, missing data, and time that passes.

AWS ("Alarm evaluation" and "Configuring how CloudWatch alarms treat missing data", CloudWatch user
guide): an alarm looks at the metric with exactly its dimensions, over EvaluationPeriods periods of
which DatapointsToAlarm must breach; TreatMissingData says what a period without data counts as; it
is evaluated as time passes, not only when data arrives.
ministack: puts the metrics of all dimensions together, takes all periods as one, ignores missing
data, and evaluates only on PutMetricData.

Periods end at the moment of the evaluation here, so an alarm fires as soon as its data is there.
`LOCAL_ALARM_SECONDS` is the time between two evaluations. The arithmetic of alarms on several metrics
is in `metric_math`.
"""

from __future__ import annotations

import asyncio
import operator
import time
from typing import Any

from local.gaps.emulator import Emulator
from local.gaps.metric_math import metric_stats, value
from local.gaps.scopes import in_scope

MINUTE = 60.0
COMPARISONS = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}

Alarm = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Replace the emulator's evaluation, and run it at an interval."""
    from ministack.services import cloudwatch

    seconds = float(emulator.settings.get("alarm_seconds", MINUTE))
    emulator.wrap(cloudwatch, "_evaluate_alarm", lambda _original: evaluate, parameters=("alarm",))

    async def watch() -> None:
        while True:
            await asyncio.sleep(seconds)
            scopes = {(account, region) for account, region, _ in list(cloudwatch._alarms._data)}
            for account, region in scopes:
                in_scope(account, region, cloudwatch._evaluate_all_alarms)

    emulator.add_background(watch)


def evaluate(alarm: Alarm) -> None:
    """Bring one alarm into the state that its metric calls for, and fire the state's actions."""
    from ministack.services import cloudwatch

    if alarm.get("ComparisonOperator") not in COMPARISONS or not alarm.get("MetricName"):
        return
    values = series(alarm, time.time())
    state = alarm_state(alarm, values)
    old = alarm["StateValue"]
    if state == old:
        return
    reason = (
        f"Threshold Crossed: datapoints {values} (newest first) against the threshold "
        f"({alarm['Threshold']}, {alarm['ComparisonOperator']}); missing data is {treatment(alarm)}."
    )
    alarm |= {"StateValue": state, "StateReason": reason, "StateUpdatedTimestamp": int(time.time())}
    cloudwatch._record_history(alarm["AlarmName"], old, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def series(alarm: Alarm, now: float) -> list[float | None]:
    """What the alarm looks at, in each of its periods, the newest first; None without data."""
    if "Metrics" not in alarm:
        return datapoints(alarm, now)
    count = alarm["EvaluationPeriods"]
    metrics = {
        name: datapoints(metric | {"EvaluationPeriods": count}, now)
        for name, metric in metric_stats(alarm["Metrics"]).items()
    }
    return [value(alarm["Metrics"], {name: data[period] for name, data in metrics.items()}) for period in range(count)]


def datapoints(alarm: Alarm, now: float) -> list[float | None]:
    """A metric's value in each of the alarm's periods, the newest first; None without data."""
    from ministack.services import cloudwatch

    dimensions = cloudwatch._dims_from_list(alarm.get("Dimensions") or [])
    key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions))
    period = float(alarm.get("Period") or 60)
    count = int(alarm.get("EvaluationPeriods") or 1)
    periods: list[list[Any]] = [[] for _ in range(count)]
    for point in reversed(cloudwatch._metrics.get(key) or []):
        index = int((now - point["Timestamp"]) // period)
        if 0 <= index < count:
            periods[index].append(point)
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
    return [
        cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points) if points else None
        for points in periods
    ]


def treatment(alarm: Alarm) -> str:
    """What a period without data counts as: missing, notBreaching, breaching or ignore."""
    return str(alarm.get("TreatMissingData") or "missing")


def alarm_state(alarm: Alarm, values: list[float | None]) -> str:
    """The state for the values of its periods, None where there is no data."""
    compare, threshold = COMPARISONS[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    breaching = [None if number is None else bool(compare(number, threshold)) for number in values]
    missing = treatment(alarm)
    needed = int(alarm.get("DatapointsToAlarm") or alarm.get("EvaluationPeriods") or 1)
    if missing in ("breaching", "notBreaching"):
        breaching = [missing == "breaching" if b is None else b for b in breaching]
    known = [b for b in breaching if b is not None]
    if not known:
        return str(alarm["StateValue"]) if missing == "ignore" else "INSUFFICIENT_DATA"
    return "ALARM" if sum(known) >= min(needed, len(known)) else "OK"
