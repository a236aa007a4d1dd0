"""Metrics that functions write into their log."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.conformance.conftest import Account

DOCUMENT = {
    "_aws": {
        "CloudWatchMetrics": [
            {
                "Namespace": "Deliveries",
                "Dimensions": [["service"], ["service", "outcome"]],
                "Metrics": [
                    {"Name": "Unhealthy", "Unit": "Count", "StorageResolution": 1},
                    {"Name": "Latency", "Unit": "Milliseconds"},
                ],
            }
        ]
    },
    "outcome": "any",
    "Unhealthy": [1, 0, 0, 1],
    "Latency": 120.5,
    "correlation_id": "c-1",
}

HANDLER = """
    import json, time

    def handler(event, context):
        print("a line of text with \\"_aws\\"")
        print(json.dumps({"_aws": {"CloudWatchMetrics": [{"Namespace": "Deliveries"}]}}))
        event["_aws"]["Timestamp"] = int(time.time() * 1000)
        print(json.dumps(event))
"""


def measure(account: Account, service: str) -> None:
    account.invoke(account.function(HANDLER), DOCUMENT | {"service": service})


def statistics(account: Account, name: str, period: int, **dimensions: str) -> list[dict[str, Any]]:
    answer = account.client("cloudwatch").get_metric_statistics(
        Namespace="Deliveries",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=time.time() - 60,
        EndTime=time.time() + 60,
        Period=period,
        Statistics=["Average", "Sum", "SampleCount", "Minimum", "Maximum"],
    )
    points: list[dict[str, Any]] = answer["Datapoints"]
    return points


def test_a_log_line_in_the_embedded_metric_format_is_metrics(account: Account) -> None:
    """CloudWatch user guide, "Specification: Embedded metric format": one metric a name and dimension set."""
    measure(account, "one")
    account.eventually(lambda: statistics(account, "Unhealthy", 10, service="one"))
    for dimensions in ({"service": "one"}, {"service": "one", "outcome": "any"}):
        [point] = statistics(account, "Unhealthy", 10, **dimensions)
        assert {key: point[key] for key in ("Average", "Sum", "SampleCount", "Minimum", "Maximum")} == {
            "Average": 0.5,
            "Sum": 2,
            "SampleCount": 4,
            "Minimum": 0,
            "Maximum": 1,
        }
        [latency] = statistics(account, "Latency", 30, **dimensions)
        assert (latency["Average"], latency["Unit"]) == (120.5, "Milliseconds")
    assert statistics(account, "Unhealthy", 10, service="two") == []
    assert statistics(account, "correlation_id", 10, service="one") == []


def test_metric_data_has_percentiles_and_short_periods(account: Account) -> None:
    """CloudWatch API reference, "GetMetricData": periods of 10 and 30 seconds of high-resolution metrics."""
    measure(account, "three")
    metric = {
        "Namespace": "Deliveries",
        "MetricName": "Unhealthy",
        "Dimensions": [{"Name": "service", "Value": "three"}],
    }

    def values(statistic: str, period: int) -> list[float]:
        query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": period, "Stat": statistic}}
        answer = account.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query], StartTime=time.time() - 60, EndTime=time.time() + 60
        )
        found: list[float] = answer["MetricDataResults"][0]["Values"]
        return found

    account.eventually(lambda: values("SampleCount", 10) == [4])
    assert values("p75", 30) == [1]
    assert values("p25", 30) == [0]


def test_an_alarm_watches_what_a_function_measures(account: Account) -> None:
    """CloudWatch user guide, "Setting alarms on metrics created with the embedded metric format"."""
    cloudwatch = account.client("cloudwatch")
    thresholds = {"failure-rate": ("Average", 0.5), "volume": ("SampleCount", 4), "too-many": ("SampleCount", 5)}
    for name, (statistic, threshold) in thresholds.items():
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="Deliveries",
            MetricName="Unhealthy",
            Dimensions=[{"Name": "service", "Value": "four"}],
            Statistic=statistic,
            Period=10,
            EvaluationPeriods=3,
            DatapointsToAlarm=1,
            Threshold=threshold,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
        )
    account.cleanups.append(lambda: cloudwatch.delete_alarms(AlarmNames=list(thresholds)))
    measure(account, "four")

    def states() -> dict[str, str]:
        found = cloudwatch.describe_alarms(AlarmNames=list(thresholds))["MetricAlarms"]
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}

    account.eventually(lambda: states() == {"failure-rate": "ALARM", "volume": "ALARM", "too-many": "OK"})


def test_a_function_logs_the_document_too(relied_upon: Account) -> None:
    """CloudWatch user guide, "Specification: Embedded metric format": the log event stays."""
    function = relied_upon.function(HANDLER)
    relied_upon.invoke(function, DOCUMENT | {"service": "five"})
    documents = [event["message"] for event in relied_upon.log(function) if "correlation_id" in event["message"]]
    assert json.loads(documents[0])["correlation_id"] == "c-1"


def test_every_log_event_has_an_identifier(account: Account) -> None:
    """CloudWatch Logs API reference, "FilteredLogEvent"."""
    function = account.function("def handler(event, context): print('line')")
    account.invoke(function)
    account.invoke(function)
    events = account.log(function)
    assert len({event["eventId"] for event in events}) == len(events) >= 8


def test_log_events_come_in_pages(account: Account) -> None:
    """CloudWatch Logs API reference, "FilterLogEvents": nextToken while there are more."""
    function = account.function("def handler(event, context): print('\\n'.join(f'line {n}' for n in range(7)))")
    account.invoke(function)
    pages = (
        account.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/aws/lambda/{function}", filterPattern="line", PaginationConfig={"PageSize": 2})
    )
    messages = [[event["message"].strip() for event in page["events"]] for page in pages]
    assert [message for page in messages for message in page] == [f"line {number}" for number in range(7)]
    assert max(map(len, messages)) == 2


def test_a_query_without_dimensions_finds_the_metric_without_dimensions(account: Account) -> None:
    """CloudWatch user guide, "Metrics concepts": dimensions are part of what identifies a metric."""
    measure(account, "six")
    account.eventually(lambda: statistics(account, "Unhealthy", 10, service="six"))
    assert statistics(account, "Unhealthy", 10) == []
