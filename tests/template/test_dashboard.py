"""The dashboard shows what is there, in both variants: an empty graph looks like a quiet day."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from hub.measures import MEASURES
from tests.template.dashboard import (
    COLUMNS,
    Metric,
    Widget,
    expressions,
    metrics,
    references,
    rows,
    text,
    title,
    widgets,
)
from tests.template.invariants.alarms import ALARM, COMPOSITE
from tests.template.invariants.dead_letters import dead_letter_queues
from tests.template.translated import Stack
from tests.template.variants import VARIANTS, stack

NAMESPACE = "SelfHealingEventHub/${AWS::StackName}"
# What each service publishes, by the dimensions (the pages "Monitoring ..." of their developer guides), and what the
# value of each dimension is of a resource of the type.
PUBLISHED: dict[str, dict[tuple[str, ...], set[str]]] = {
    "AWS/ApiGateway": {("ApiName", "Stage"): {"Count", "4XXError", "5XXError"}},
    "AWS/SQS": {
        ("QueueName",): {
            "ApproximateNumberOfMessagesVisible",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateAgeOfOldestMessage",
            "NumberOfMessagesSent",
            "NumberOfMessagesReceived",
            "NumberOfMessagesDeleted",
            "NumberOfEmptyReceives",
        }
    },
    "AWS/Lambda": {
        ("FunctionName",): {
            "Invocations",
            "Errors",
            "Throttles",
            "Duration",
            "ConcurrentExecutions",
            "AsyncEventsReceived",
            "AsyncEventsDropped",
            "IteratorAge",
            "AsyncEventAge",
        },
        (): {"ConcurrentExecutions", "ClaimedAccountConcurrency"},
    },
    "AWS/Events": {
        ("EventBusName",): {
            "SuccessfulInvocationAttempts",
            "RetryInvocationAttempts",
            "ThrottledRules",
            "IngestionToInvocationSuccessLatency",
        },
        ("EventBusName", "RuleName"): {"FailedInvocations", "InvocationsFailedToBeSentToDlq"},
    },
    "AWS/States": {("StateMachineArn",): {"ExecutionsFailed"}},
    "AWS/DynamoDB": {("TableName",): {"ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"}},
    "AWS/Logs": {("LogGroupName",): {"IncomingBytes"}},
}
NAMED: dict[str, tuple[str, str]] = {
    "QueueName": ("AWS::SQS::Queue", "QueueName"),
    "FunctionName": ("AWS::Lambda::Function", "Ref"),
    "EventBusName": ("AWS::Events::EventBus", "Ref"),
    "RuleName": ("AWS::Events::Rule", "RuleName"),
    "StateMachineArn": ("AWS::StepFunctions::StateMachine", "Ref"),
    "TableName": ("AWS::DynamoDB::Table", "Ref"),
    "LogGroupName": ("AWS::Logs::LogGroup", "Ref"),
}
ROWS = [
    "${AWS::StackName}",
    "Ingest",
    "Event bus",
    "Delivery",
    "Circuit breaker",
    "Sales",
    "Export",
    "Dead letters",
    "Cost",
]


def problem(stack: Stack, metric: Metric) -> str | None:
    """Return what is wrong with a metric: that nobody publishes it, or not of a resource of this stack."""
    if metric.namespace == NAMESPACE:
        measure = MEASURES.get(metric.name)
        if measure is None or metric.dimensions.get("service") not in measure.service.split(", "):
            return "no function emits it (hub.measures)"
        return None if len(metric.dimensions) == 1 + bool(measure.dimension) else "it has other dimensions"
    names = PUBLISHED.get(metric.namespace, {}).get(tuple(metric.dimensions), set())
    if metric.name not in names:
        return "no service publishes it with these dimensions"
    for dimension, resource, attribute in references(metric.dimensions):
        if dimension in ("ApiName", "Stage"):
            if metric.dimensions["ApiName"] not in api_names(stack) or metric.dimensions["Stage"] != "live":
                return "the stack has no such API"
        elif (stack.type_of(resource), attribute) != NAMED[dimension]:
            return f"{dimension} is not the {NAMED[dimension][1]} of a {NAMED[dimension][0]} of the stack"
    return None


def api_names(stack: Stack) -> set[str]:
    """Return the names of the stack's APIs, which are the titles of their definitions."""
    bodies = [stack.properties(name)["Body"] for name in stack.of_type("AWS::ApiGateway::RestApi")]
    return {body["info"]["title"]["Fn::Sub"] for body in bodies}


def shown(variant: str) -> list[Widget]:
    return widgets(stack(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_has_a_titled_row_for_each_step(variant: str) -> None:
    titles = [title(row[0]) for row in rows(shown(variant))]
    expected = [name for name in ROWS if variant.startswith("flow_control") or name != "Circuit breaker"]
    assert len(titles) == len(expected)
    for heading, name in zip(titles, expected, strict=True):
        assert heading.startswith(f"## {name}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_widget_says_what_it_shows_and_where(variant: str) -> None:
    for widget in shown(variant):
        assert title(widget)
        if widget["type"] == "metric":
            assert widget["properties"]["region"] == "${AWS::Region}", title(widget)
            assert widget["properties"]["period"] % 60 == 0, title(widget)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_metric_exists(variant: str) -> None:
    wrong = {
        f"{title(widget)}: {metric.namespace} {metric.name} {metric.dimensions}": found
        for widget in shown(variant)
        for metric in metrics(widget)
        if (found := problem(stack(variant), metric))
    }
    assert not wrong


@pytest.mark.parametrize("variant", VARIANTS)
def test_alarms_look_at_metrics_that_exist(variant: str) -> None:
    """The same check for the alarms, which would sleep for ever."""
    for alarm in stack(variant).of_type(ALARM):
        for metric in watched(stack(variant), alarm):
            assert problem(stack(variant), metric) is None, f"{alarm}: {metric}"


def watched(stack: Stack, alarm: str) -> list[Metric]:
    properties = stack.properties(alarm)
    found = [query["MetricStat"]["Metric"] for query in properties.get("Metrics", []) if "MetricStat" in query]
    return [
        Metric(
            text(metric["Namespace"]),
            metric["MetricName"],
            {item["Name"]: text(item["Value"]) for item in metric.get("Dimensions", [])},
            {},
        )
        for metric in found or [properties]
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_arithmetic_uses_what_its_widget_has(variant: str) -> None:
    for widget in shown(variant):
        lines = [*metrics(widget), *expressions(widget)]
        options = [line.options if isinstance(line, Metric) else line for line in lines]
        ids = [option["id"] for option in options if "id" in option]
        assert len(ids) == len(set(ids)), title(widget)
        for expression in expressions(widget):
            if "SEARCH(" in expression["expression"]:
                continue
            assert unknown_names(expression["expression"], ids) == set(), f"{title(widget)}: {expression}"


def unknown_names(expression: str, ids: list[str]) -> set[str]:
    """Return the names of an expression that are no ids, and the parts of ids that METRICS() finds none with."""
    parts = re.findall(r'METRICS\("(\w+)"\)', expression)
    rest = re.sub(r'METRICS\("\w+"\)', "", expression)
    names = set(re.findall(r"\b[a-z]\w*", rest)) - set(ids)
    return names | {part for part in parts if not any(part in name for name in ids)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_whoever_is_told_of_finds_the_alarm(variant: str) -> None:
    there = stack(variant)
    [widget] = [widget for widget in shown(variant) if widget["type"] == "alarm"]
    telling = {name for name in there.of_type(ALARM, COMPOSITE) if there.properties(name).get("AlarmActions")}
    assert set(widget["properties"]["alarms"]) == {f"${{{name}.Arn}}" for name in telling}


def named(variant: str, row: str, name: str, dimension: str) -> set[str]:
    """Return the resources whose metric of a name stands in the row of a title."""
    [found] = [row_ for row_ in rows(shown(variant)) if title(row_[0]).startswith(f"## {row}")]
    lines = [metric for widget in found for metric in metrics(widget) if metric.name == name]
    return {resource for metric in lines for key, resource, _ in references(metric.dimensions) if key == dimension}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_dead_letter_queue_is_shown(variant: str) -> None:
    queues = named(variant, "Dead letters", "ApproximateNumberOfMessagesVisible", "QueueName")
    assert queues == set(dead_letter_queues(stack(variant)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_function_table_and_log_group_costs(variant: str) -> None:
    there = stack(variant)
    for name, dimension, kind in (
        ("Duration", "FunctionName", "AWS::Lambda::Function"),
        ("Invocations", "FunctionName", "AWS::Lambda::Function"),
        ("ConsumedWriteCapacityUnits", "TableName", "AWS::DynamoDB::Table"),
        ("IncomingBytes", "LogGroupName", "AWS::Logs::LogGroup"),
    ):
        assert named(variant, "Cost", name, dimension) == set(there.of_type(kind)), f"{name} in the row Cost"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cost_is_that_of_the_functions_memory(variant: str) -> None:
    there = stack(variant)
    memory = {there.properties(name)["MemorySize"] for name in there.of_type("AWS::Lambda::Function")}
    assert memory == {512}, "functions of different sizes: the row Cost has to tell them apart"
    [cost] = [
        line["expression"] for widget in shown(variant) for line in expressions(widget) if line.get("id") == "lambda"
    ]
    assert "/ 1000 * 512 / 1024 *" in cost


FAULTS: dict[str, Any] = {
    "a hole": lambda found: found[2].update(width=6),
    "an overlap": lambda found: found[3].update(width=12),
    "a position": lambda found: found[3].update(x=0, y=0),
    "lines of unequal height": lambda found: found[4].update(height=5),
    "a row without a title": lambda found: found.pop(0),
    "a text within a line": lambda found: found[4].update(type="text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_layout_is_seen(fault: str) -> None:
    found = copy.deepcopy(shown("flow_control"))
    FAULTS[fault](found)
    with pytest.raises(ValueError, match=r"line|row|position|hole"):
        rows(found)


@pytest.mark.parametrize(
    "metric",
    [
        Metric(NAMESPACE, "CallsDelivred", {"service": "delivery"}, {}),
        Metric(NAMESPACE, "CallsDelivered", {"service": "sales"}, {}),
        Metric(NAMESPACE, "Orders", {"service": "sales", "correlation_id": "x"}, {}),
        Metric("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "${SalesQueue}"}, {}),
        Metric("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "${NoQueue.QueueName}"}, {}),
        Metric("AWS/SQS", "AgeOfOldestMessage", {"QueueName": "${SalesQueue.QueueName}"}, {}),
        Metric("AWS/ApiGateway", "Count", {"ApiName": "orders", "Stage": "live"}, {}),
        Metric("AWS/Events", "FailedInvocations", {"EventBusName": "${HubBus}"}, {}),
    ],
    ids=lambda metric: f"{metric.name} {metric.dimensions}",
)
def test_a_metric_that_is_not_there_is_seen(metric: Metric) -> None:
    assert problem(stack("flow_control"), metric)


def test_arithmetic_with_a_name_that_is_not_there_is_seen() -> None:
    assert unknown_names("100 * errors / calls", ["errors"]) == {"calls"}
    assert unknown_names('SUM(METRICS("reads")) * 2', ["writes_sales"]) == {"reads"}
    assert unknown_names('SUM(METRICS("reads")) * 2 + p50', ["reads_sales", "p50"]) == set()


def test_a_line_is_a_whole_width() -> None:
    assert COLUMNS == 24, "CloudWatch user guide, dashboard body structure"
