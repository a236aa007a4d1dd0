"""Times, counts and limits that depend on each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.template.invariants.invariant import invariant, of
from tests.template.translated import Stack, logical_id

FOURTEEN_DAYS = 14 * 24 * 3600


def queue_mappings(stack: Stack) -> list[str]:
    """Return the event source mappings that read from a queue of the stack."""
    return [name for name in stack.of_type("AWS::Lambda::EventSourceMapping") if queue_of(stack, name)]


def queue_of(stack: Stack, mapping: str) -> str | None:
    """Return the queue that a mapping reads from, or None if it reads from something else."""
    source = logical_id(stack.properties(mapping).get("EventSourceArn"))
    return source if stack.type_of(source) == "AWS::SQS::Queue" else None


def function_of(stack: Stack, mapping: str) -> str:
    """Return the function that a mapping invokes."""
    name = logical_id(stack.properties(mapping)["FunctionName"])
    if stack.type_of(name) != "AWS::Lambda::Function":
        raise AssertionError(f"{mapping} must name a function of this stack by !Ref or !GetAtt")
    return str(name)


@invariant(queue_mappings)
def visibility_timeout_covers_retries(stack: Stack, mapping: str) -> Iterator[str]:
    """Lambda retries a throttled batch while it holds its messages; a shorter visibility timeout hands them out twice.

    "Set the visibility timeout to at least six times the function timeout, plus the value of
    MaximumBatchingWindowInSeconds" (Lambda developer guide, "Configuring a queue to use with Lambda").
    """
    queue = stack.properties(str(queue_of(stack, mapping)))
    function = stack.properties(function_of(stack, mapping))
    window = stack.properties(mapping).get("MaximumBatchingWindowInSeconds", 0)
    least = 6 * function["Timeout"] + window
    if queue.get("VisibilityTimeout", 30) < least:
        yield f"has a visibility timeout of {queue.get('VisibilityTimeout', 30)} s, and needs {least} s or more"


@invariant(of("AWS::Lambda::Function"))
def call_timeout_is_below_function_timeout(stack: Stack, function: str) -> Iterator[str]:
    """A call that outlives its function is cut off in the middle: nobody learns its answer, and it happens again.

    Lambda stops a function at its timeout (Lambda developer guide, "Configure Lambda function timeout").
    """
    properties = stack.properties(function)
    for name, value in properties.get("Environment", {}).get("Variables", {}).items():
        if name.endswith("_TIMEOUT") and float(value) >= properties["Timeout"]:
            yield f"has {name}={value}, which is not below its own timeout of {properties['Timeout']} s"


@invariant(of("AWS::Lambda::Function"))
def reserved_concurrency_covers_mappings(stack: Stack, function: str) -> Iterator[str]:
    """A mapping that may run more batches than its function may take is throttled, and throttles use up receives.

    "Ensure that the reserved concurrency is at least the total maximum concurrency of all SQS event sources of the
    function" (Lambda developer guide, "Configuring maximum concurrency for Amazon SQS event sources").
    """
    reserved = stack.properties(function).get("ReservedConcurrentExecutions")
    mappings = [name for name in queue_mappings(stack) if function_of(stack, name) == function]
    total = sum(stack.properties(name).get("ScalingConfig", {}).get("MaximumConcurrency", 1000) for name in mappings)
    if reserved is not None and reserved < total:
        yield f"has {reserved} executions reserved, and its mappings may run {total}"


@invariant(queue_mappings)
def mapping_has_maximum_concurrency(stack: Stack, mapping: str) -> Iterator[str]:
    """Without a cap a backlog takes the account's concurrency away from every other function.

    A mapping grows until 1,250 concurrent batches; MaximumConcurrency, 2 to 1,000, stops it (Lambda developer guide,
    "Lambda scaling with Amazon SQS").
    """
    maximum = stack.properties(mapping).get("ScalingConfig", {}).get("MaximumConcurrency")
    if maximum is None or not 2 <= maximum <= 1000:
        yield f"has ScalingConfig.MaximumConcurrency {maximum}, and needs one from 2 to 1,000"


@invariant(of("AWS::Lambda::EventSourceMapping"))
def mapping_reports_item_failures(stack: Stack, mapping: str) -> Iterator[str]:
    """Without it one bad message sends the whole batch round again, and in the end to the dead-letter queue.

    (Lambda developer guide, "Handling errors for an SQS event source", FunctionResponseTypes.)
    """
    if stack.properties(mapping).get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
        yield "does not say FunctionResponseTypes: [ReportBatchItemFailures]"


@invariant(queue_mappings)
def batch_over_ten_has_window(stack: Stack, mapping: str) -> Iterator[str]:
    """Lambda refuses the mapping otherwise, and only at the deployment.

    "If you set BatchSize to a value greater than 10, you must set MaximumBatchingWindowInSeconds to at least 1"
    (CloudFormation, AWS::Lambda::EventSourceMapping).
    """
    properties = stack.properties(mapping)
    window = properties.get("MaximumBatchingWindowInSeconds", 0)
    if properties.get("BatchSize", 10) > 10 and window < 1:
        yield f"has batches of {properties['BatchSize']} and a batching window of {window} s"


@invariant(lambda stack: [name for name in stack.of_type("AWS::SQS::Queue") if _redrive(stack, name)])
def messages_are_tried_five_times(stack: Stack, queue: str) -> Iterator[str]:
    """Throttled batches count as receives, so fewer tries dead-letter good messages under load.

    "Set maxReceiveCount on the source queue's redrive policy to at least 5" (Lambda developer guide, "Configuring a
    queue to use with Lambda").
    """
    count = _redrive(stack, queue)["maxReceiveCount"]
    if count < 5:
        yield f"gives a message up after {count} receives"


@invariant(lambda stack: [name for name in stack.of_type("AWS::SQS::Queue") if _redrive(stack, name)])
def dead_letters_outlive_their_queue(stack: Stack, queue: str) -> Iterator[str]:
    """A dead letter keeps the time at which it was first sent, so its age counts from there and not from its failure.

    "Always set the retention period of a dead-letter queue to be longer than that of the original queue"; 14 days is
    the most (SQS developer guide, "Using dead-letter queues").
    """
    own = stack.properties(queue).get("MessageRetentionPeriod", 4 * 24 * 3600)
    dead_letters = str(logical_id(_redrive(stack, queue)["deadLetterTargetArn"]))
    if own >= stack.properties(dead_letters).get("MessageRetentionPeriod", 4 * 24 * 3600):
        yield f"keeps messages for {own} s, which is not less than {dead_letters} does"


def _remembering(stack: Stack) -> list[str]:
    return [
        name
        for name in stack.of_type("AWS::Lambda::Function")
        if {"DELIVERY_QUEUE_URL", "REMEMBERED_SECONDS"} <= _variables(stack, name).keys()
    ]


def _variables(stack: Stack, function: str) -> dict[str, Any]:
    """Return a function's environment variables without those that are empty in this variant."""
    variables = stack.properties(function).get("Environment", {}).get("Variables", {})
    return {name: value for name, value in variables.items() if value != ""}


@invariant(_remembering)
def delivered_orders_outlive_their_events(stack: Stack, function: str) -> Iterator[str]:
    """An event that comes again when its order is forgotten is delivered a second time.

    The longest way back: to the end of the archive's retention, then through the queue, then its dead-letter queue.
    """
    variables = _variables(stack, function)
    queue = stack.properties(str(logical_id(variables["DELIVERY_QUEUE_URL"])))
    letters = stack.properties(str(logical_id(queue["RedrivePolicy"]["deadLetterTargetArn"])))
    archived = max(int(stack.properties(name)["RetentionDays"]) for name in stack.of_type("AWS::Events::Archive"))
    longest = archived * 86400 + queue["MessageRetentionPeriod"] + letters["MessageRetentionPeriod"]
    if int(variables["REMEMBERED_SECONDS"]) <= longest:
        yield f"remembers orders for {variables['REMEMBERED_SECONDS']} s, and their events may come for {longest} s"


def _redrive(stack: Stack, queue: str) -> dict[str, Any]:
    policy: dict[str, Any] = stack.properties(queue).get("RedrivePolicy", {})
    return policy


@invariant(of("AWS::CloudWatch::Alarm"))
def alarm_looks_back_a_day_at_most(stack: Stack, alarm: str) -> Iterator[str]:
    """CloudWatch refuses an alarm whose evaluation periods are longer than a day together.

    (PutMetricAlarm, CloudWatch API reference: EvaluationPeriods; a week, if a period is an hour or more.)
    """
    properties = stack.properties(alarm)
    periods = [properties["Period"]] if "Period" in properties else []
    periods += [query["MetricStat"]["Period"] for query in properties.get("Metrics", []) if "MetricStat" in query]
    looks_back = max(map(int, periods)) * int(properties["EvaluationPeriods"])
    if looks_back > 24 * 3600:
        yield f"looks back {looks_back} s, and not 86,400 s at most"
