"""Events about alarms on the default event bus.

AWS ("Alarm events and EventBridge", CloudWatch user guide): every change of the state of a metric
alarm or a composite alarm is an event "CloudWatch Alarm State Change" from aws.cloudwatch, with the
state before and after, and the alarm's configuration.
ministack: sends none.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from local.gaps.emulator import Emulator

Alarm = dict[str, Any]
State = dict[str, str]


def install(emulator: Emulator) -> None:
    """Send the event before the alarm's actions, which every way of changing the state comes to."""
    from ministack.services import cloudwatch, eventbridge

    last: dict[str, State] = {}

    def announce(original: Any) -> Any:
        def act(alarm: Alarm, old_state: str, new_state: str, reason: str) -> None:
            arn = alarm["AlarmArn"]
            state = described_state(alarm, new_state, reason)
            previous = last.get(arn)
            if previous is None or previous["value"] != old_state:
                created = float(alarm.get("AlarmConfigurationUpdatedTimestamp") or time.time())
                previous = {
                    "value": old_state,
                    "reason": "Unchecked: Initial alarm creation",
                    "timestamp": timestamp(created),
                }
            last[arn] = state
            detail = {
                "alarmName": alarm["AlarmName"],
                "state": state,
                "previousState": previous,
                "configuration": configuration(alarm),
            }
            entry = {
                "Source": "aws.cloudwatch",
                "DetailType": "CloudWatch Alarm State Change",
                "Resources": [arn],
                "Detail": json.dumps(detail),
            }
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
            original(alarm, old_state, new_state, reason)

        return act

    emulator.wrap(
        cloudwatch,
        "_dispatch_alarm_actions",
        announce,
        parameters=("alarm", "old_state", "new_state", "reason"),
    )


def described_state(alarm: Alarm, value: str, reason: str) -> State:
    """The state as an event describes it."""
    state = {"value": value, "reason": reason, "timestamp": timestamp(time.time())}
    data = alarm.get("StateReasonData")
    return state | {"reasonData": data} if data else state


def configuration(alarm: Alarm) -> dict[str, Any]:
    """What the alarm looks at: a rule, one metric, or metrics and the arithmetic of them."""
    described: dict[str, Any] = {}
    if alarm.get("AlarmDescription"):
        described["description"] = alarm["AlarmDescription"]
    if "AlarmRule" in alarm:
        return described | {"alarmRule": alarm["AlarmRule"]}
    if "Metrics" in alarm:
        return described | {"metrics": [query_of(query) for query in alarm["Metrics"]]}
    metric = {
        "namespace": alarm.get("Namespace"),
        "name": alarm.get("MetricName"),
        "dimensions": {item["Name"]: item["Value"] for item in alarm.get("Dimensions") or []},
    }
    statistic = {
        "metric": metric,
        "period": alarm.get("Period"),
        "stat": alarm.get("ExtendedStatistic") or alarm.get("Statistic"),
    }
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, alarm["AlarmArn"]))
    return described | {"metrics": [{"id": identifier, "metricStat": statistic, "returnData": True}]}


def query_of(query: dict[str, Any]) -> dict[str, Any]:
    """One of the metrics or expressions of an alarm on metric math, as an event describes it."""
    described = {"id": query["Id"], "returnData": str(query.get("ReturnData", True)).lower() == "true"}
    if "Expression" in query:
        return described | {"expression": query["Expression"]}
    metric, stat = query["MetricStat"]["Metric"], query["MetricStat"]
    dimensions = {item["Name"]: item["Value"] for item in metric.get("Dimensions") or []}
    names = {"namespace": metric["Namespace"], "name": metric["MetricName"], "dimensions": dimensions}
    return described | {"metricStat": {"metric": names, "period": stat["Period"], "stat": stat["Stat"]}}


def timestamp(seconds: float) -> str:
    """A time in the form that CloudWatch gives it in events."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}+0000"
