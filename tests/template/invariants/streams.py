"""Streams of tables, and the mappings that read them: nothing gets stuck, and nothing is given up unseen."""

from __future__ import annotations

from collections.abc import Iterator

from tests.template.invariants.invariant import invariant
from tests.template.invariants.permissions import actions_on
from tests.template.invariants.timing import function_of
from tests.template.translated import Stack, as_list, logical_id

STREAM_SOURCES = {"AWS::DynamoDB::Table", "AWS::Kinesis::Stream"}
STREAM_RETENTION = 24 * 3600
SECONDS_TO_FETCH = 6 * 3600


def stream_mappings(stack: Stack) -> list[str]:
    """Return the event source mappings that read a stream of the stack."""
    return [
        name
        for name in stack.of_type("AWS::Lambda::EventSourceMapping")
        if stack.type_of(logical_id(stack.properties(name).get("EventSourceArn"))) in STREAM_SOURCES
    ]


def _destination(stack: Stack, mapping: str) -> str | None:
    on_failure = stack.properties(mapping).get("DestinationConfig", {}).get("OnFailure", {})
    return logical_id(on_failure.get("Destination"))


@invariant(stream_mappings)
def stream_mapping_gets_past_poison(stack: Stack, mapping: str) -> Iterator[str]:
    """A record that always fails stops its shard until it expires, and every record behind it waits.

    Bounded retries, a split of the batch and an on-failure destination let the shard go on (Lambda developer guide,
    "Handling errors for a DynamoDB event source").
    """
    properties = stack.properties(mapping)
    if _destination(stack, mapping) is None:
        yield "has no DestinationConfig.OnFailure"
    if properties.get("MaximumRetryAttempts", -1) < 0:
        yield "retries without end: it has no MaximumRetryAttempts"
    if not properties.get("BisectBatchOnFunctionError"):
        yield "does not say BisectBatchOnFunctionError: true"


@invariant(stream_mappings)
def discarded_record_can_be_fetched(stack: Stack, mapping: str) -> Iterator[str]:
    """The message of a discarded record only says where it stands, and the stream forgets it after 24 hours.

    A record that is given up six hours before that, or earlier, leaves people the time to fetch it (DynamoDB developer
    guide, "Data retention limit for DynamoDB Streams"; Lambda, "Retain discarded batch records").
    """
    age = stack.properties(mapping).get("MaximumRecordAgeInSeconds", -1)
    if not 60 <= age <= STREAM_RETENTION - SECONDS_TO_FETCH:
        yield (
            f"has MaximumRecordAgeInSeconds {age}, and needs one from 60 to {STREAM_RETENTION - SECONDS_TO_FETCH}: "
            f"the stream keeps a record for {STREAM_RETENTION} s"
        )


@invariant(stream_mappings)
def stream_mapping_may_read_and_tell(stack: Stack, mapping: str) -> Iterator[str]:
    """Lambda reads the stream, and writes to the on-failure queue, with the function's role.

    DescribeStream, GetRecords, GetShardIterator and ListStreams, no more and no fewer, and sqs:SendMessage (Lambda
    developer guide, "Using Lambda with DynamoDB", "Adding permissions", and "Retain discarded batch records").
    """
    source = str(logical_id(stack.properties(mapping)["EventSourceArn"]))
    role = logical_id(stack.properties(function_of(stack, mapping))["Role"])
    needed = {f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")}
    may = actions_on(stack, role, source)
    if may != needed:
        yield f"reads {source} with a role that lacks {sorted(needed - may)} and has {sorted(may - needed)} too many"
    destination = _destination(stack, mapping)
    if destination and "sqs:SendMessage" not in actions_on(stack, role, destination):
        yield f"may not send what it discards to {destination}: {role} lacks sqs:SendMessage"


@invariant(stream_mappings)
def stream_mapping_has_age_alarm(stack: Stack, mapping: str) -> Iterator[str]:
    """A shard that stands still throws no error: only the age of its records tells, before they are given up.

    AWS/Lambda IteratorAge, in milliseconds, with the one dimension FunctionName (Lambda developer guide, "Types of
    metrics for Lambda functions").
    """
    dimensions = [{"Name": "FunctionName", "Value": {"Ref": function_of(stack, mapping)}}]
    age = stack.properties(mapping).get("MaximumRecordAgeInSeconds", STREAM_RETENTION)
    alarms = [stack.properties(name) for name in stack.of_type("AWS::CloudWatch::Alarm")]
    thresholds = [
        alarm["Threshold"]
        for alarm in alarms
        if (alarm.get("Namespace"), alarm.get("MetricName")) == ("AWS/Lambda", "IteratorAge")
        and alarm["Dimensions"] == dimensions
        and alarm.get("Statistic") == "Maximum"
    ]
    if not thresholds:
        yield f"has no alarm on the Maximum of AWS/Lambda IteratorAge with {dimensions}"
    elif min(thresholds) >= age * 1000:
        yield f"is told of after {min(thresholds)} ms, when its records have been given up ({age} s)"


def _tables_with_stream(stack: Stack) -> list[str]:
    tables = stack.of_type("AWS::DynamoDB::Table")
    return [name for name in tables if "StreamSpecification" in stack.properties(name)]


_STREAM_ACTIONS = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"}


@invariant(_tables_with_stream)
def stream_refuses_plain_http(stack: Stack, table: str) -> Iterator[str]:
    """A table's policy does not hold for its stream, which shows the same items.

    A stream has a resource policy of its own (DynamoDB developer guide, "Resource-based policies"; CloudFormation,
    AWS::DynamoDB::Table StreamSpecification). It names a stream's three actions: DynamoDB refuses a policy with an
    action that its resource does not have ("The following action names are invalid", PutResourcePolicy).
    """
    policy = stack.properties(table)["StreamSpecification"].get("ResourcePolicy", {}).get("PolicyDocument", {})
    if not any(
        statement["Effect"] == "Deny"
        and statement.get("Principal") == "*"
        and set(as_list(statement["Action"])) == _STREAM_ACTIONS
        and str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
        for statement in as_list(policy.get("Statement"))
    ):
        yield f"has a stream without a policy that denies {sorted(_STREAM_ACTIONS)} when aws:SecureTransport is false"
