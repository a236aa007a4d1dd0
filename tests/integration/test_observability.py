"""What people see and are told of, on the local stack: dashboard, metrics of a delivered order, one message a cause."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from local.stack import Stack
from tests.integration.deployed_hub import Hub, eventually, order

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def dashboard(stack: Stack) -> list[dict[str, Any]]:
    """The widgets of a deployed dashboard."""
    name = stack.outputs["DashboardUrl"].rpartition("/")[2]
    body = stack.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    assert "${" not in body, "every name is filled in"
    widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
    return widgets


def namespace(stack: Stack) -> str:
    """Where the stack's own metrics stand, and those of no other."""
    return f"SelfHealingEventHub/{stack.name}"


def measured(stack: Stack) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Names and dimensions of the hub's metrics that have data."""
    found = stack.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace=namespace(stack))
    return {
        (metric["MetricName"], tuple(sorted((item["Name"], item["Value"]) for item in metric["Dimensions"])))
        for page in found
        for metric in page["Metrics"]
    }


def test_the_dashboard_shows_what_a_delivered_order_leaves_behind(either: Hub) -> None:
    """The metrics are compared with their dimensions: a graph of one dimension too many stays empty for ever."""
    shown = {
        (line[1], tuple(sorted(zip(line[2:-1:2], line[3:-1:2], strict=True))))
        for widget in dashboard(either.stack)
        for line in widget["properties"].get("metrics", [])
        if line[0] == namespace(either.stack)
    }
    of_each_order = {("OrdersNotified", "notification"), ("Orders", "sales")}
    of_each_order |= {("CallsDelivered", "delivery"), ("DeliveryDelay", "delivery")}
    if either.stack.outputs["FlowControl"] == "enabled":
        of_each_order |= {("Pace", "delivery"), ("CourierFailure", "delivery")}
    expected = {(name, (("service", service),)) for name, service in of_each_order}
    assert expected <= shown
    one = order()
    either.delivered(either.place(one), within=30)
    eventually(lambda: expected <= measured(either.stack), within=30, what="the metrics of the order")
    value = ("OrderValue", (("currency", "EUR"), ("service", "sales")))
    eventually(lambda: value in measured(either.stack), within=20, what="the order's value, by currency")


@pytest.fixture
def inbox(flow_control_stack: Stack) -> Iterator[str]:
    """A queue that gets what the alarm topic sends to people."""
    sqs, sns = flow_control_stack.client("sqs"), flow_control_stack.client("sns")
    url = sqs.create_queue(QueueName=f"inbox-{uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = flow_control_stack.outputs["AlarmTopicArn"]
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
    yield url
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    sqs.delete_queue(QueueUrl=url)


def test_a_failing_function_is_one_message_with_the_way_to_the_runbook(flow_control_stack: Stack, inbox: str) -> None:
    """Errors in three of five minutes fire a part; people hear of the composite alarm, once."""
    cloudwatch, sqs = flow_control_stack.client("cloudwatch"), flow_control_stack.client("sqs")
    dimensions = [{"Name": "FunctionName", "Value": flow_control_stack.physical_id("NotificationFunction")}]

    def fail(minutes_ago: float) -> None:
        datum = {
            "MetricName": "Errors",
            "Dimensions": dimensions,
            "Value": 1,
            "Timestamp": time.time() - 60 * minutes_ago,
        }
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=[datum])

    def state(alarm: str) -> str:
        name = flow_control_stack.physical_id(alarm)
        found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        return str((found["MetricAlarms"] + found["CompositeAlarms"])[0]["StateValue"])

    eventually(lambda: state("IngestAlarm") == "OK", within=10, what="all is well at first")
    for minutes_ago in (1.5, 2.5, 3.5):
        fail(minutes_ago)
    eventually(lambda: state("IngestAlarm") == "ALARM", within=15, what="the composite alarm fires")
    assert state("NotificationErrorsAlarm") == "ALARM"
    told: list[dict[str, Any]] = []

    def hear() -> bool:
        answer = sqs.receive_message(QueueUrl=inbox, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        texts = [json.loads(message["Body"])["Message"] for message in answer.get("Messages", [])]
        # Dead letters of earlier tests may be told of meanwhile, in plain words.
        told.extend(json.loads(text) for text in texts if text.startswith("{"))
        return bool(told)

    eventually(hear, within=10, what="people are told")
    time.sleep(2)
    hear()
    about = [message for message in told if message["NewStateValue"] == "ALARM"]
    assert [message["AlarmName"] for message in about] == [flow_control_stack.physical_id("IngestAlarm")]
    assert about[0]["AlarmDescription"].endswith("docs/runbook.md#ingestalarm")
