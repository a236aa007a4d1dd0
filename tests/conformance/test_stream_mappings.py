"""Event source mappings that read a DynamoDB stream."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest

from tests.conformance.conftest import Account

# Says which records it was given. Fails, or reports, those whose text begins with "bad".
HANDLER = """
    import json
    import os

    def handler(event, context):
        records = [record["dynamodb"] for record in event["Records"]]
        print("GIVEN", json.dumps([record["Keys"]["pk"]["S"] for record in records]), flush=True)
        bad = [record for record in records if record["Keys"]["pk"]["S"].startswith("bad")]
        if bad and os.environ["FAILS_BY"] == "error":
            raise ValueError("bad")
        return {"batchItemFailures": [{"itemIdentifier": record["SequenceNumber"]} for record in bad]}
"""
_names = itertools.count(1)


class StreamMapping:
    """A table with a stream, and a mapping that hands it to a function; it is off until it is told to start."""

    def __init__(self, account: Account, *, fails_by: str, **settings: Any) -> None:
        self.account = account
        self.dynamodb, self.lambda_ = account.client("dynamodb"), account.client("lambda")
        self.table = f"table-{next(_names)}"
        made = self.dynamodb.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )["TableDescription"]
        account.cleanups.append(lambda: self.dynamodb.delete_table(TableName=self.table))
        self.stream_arn = made["LatestStreamArn"]
        self.function = account.function(HANDLER, Environment={"Variables": {"FAILS_BY": fails_by}})
        self.on_failure, on_failure_arn = account.queue()
        created = self.lambda_.create_event_source_mapping(
            FunctionName=self.function,
            EventSourceArn=self.stream_arn,
            Enabled=False,
            **{
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "DestinationConfig": {"OnFailure": {"Destination": on_failure_arn}},
            }
            | settings,
        )
        self.id = created["UUID"]
        account.cleanups.append(lambda: self.lambda_.delete_event_source_mapping(UUID=self.id))

    def put(self, *names: str) -> None:
        for name in names:
            self.dynamodb.put_item(TableName=self.table, Item={"pk": {"S": name}})

    def start(self) -> None:
        self.lambda_.update_event_source_mapping(UUID=self.id, Enabled=True)

    @property
    def batches(self) -> list[list[str]]:
        """What the function was given, invocation by invocation."""
        lines = [str(event["message"]) for event in self.account.log(self.function)]
        return [json.loads(line.removeprefix("GIVEN ")) for line in lines if line.startswith("GIVEN ")]

    def discarded(self) -> dict[str, Any]:
        """The next message of the on-failure queue."""
        message: dict[str, Any] = json.loads(self.account.receive(self.on_failure)["Body"])
        return message

    def sequence_numbers(self) -> dict[str, str]:
        """The sequence number of each record on the stream."""
        streams = self.account.client("dynamodbstreams")
        [shard] = streams.describe_stream(StreamArn=self.stream_arn)["StreamDescription"]["Shards"]
        iterator = streams.get_shard_iterator(
            StreamArn=self.stream_arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = streams.get_records(ShardIterator=iterator)["Records"]
        return {record["dynamodb"]["Keys"]["pk"]["S"]: record["dynamodb"]["SequenceNumber"] for record in records}


def test_the_lowest_sequence_number_returned_is_the_checkpoint(account: Account) -> None:
    """Lambda developer guide, "Configuring partial batch response with DynamoDB and Lambda"."""
    mapping = StreamMapping(account, fails_by="report", MaximumRetryAttempts=1)
    mapping.put("a", "b", "bad-1", "c", "bad-2")
    mapping.start()
    account.eventually(lambda: len(mapping.batches) == 3)
    rest = ["bad-1", "c", "bad-2"]
    assert mapping.batches == [["a", "b", *rest], rest, rest], "what stands before the checkpoint is not repeated"
    assert mapping.discarded()["DDBStreamBatchInfo"]["batchSize"] == 3, "without a split the rest goes as a whole"


def test_a_failed_batch_is_halved_and_a_split_is_no_retry(account: Account) -> None:
    """Lambda developer guide, "Error handling": "Splitting a batch does not count towards the retry quota"."""
    mapping = StreamMapping(account, fails_by="error", MaximumRetryAttempts=1, BisectBatchOnFunctionError=True)
    mapping.put("a", "b", "bad", "c")
    mapping.start()
    account.eventually(lambda: len(mapping.batches) == 6)
    assert mapping.batches == [["a", "b", "bad", "c"], ["a", "b"], ["bad", "c"], ["bad"], ["bad"], ["c"]]


def test_with_both_the_batch_is_split_at_the_checkpoint(account: Account) -> None:
    """Lambda developer guide, "Bisecting a batch": "… at the returned sequence number"."""
    mapping = StreamMapping(account, fails_by="report", MaximumRetryAttempts=0, BisectBatchOnFunctionError=True)
    mapping.put("a", "b", "bad", "c", "d")
    mapping.start()
    account.eventually(lambda: len(mapping.batches) == 4)
    assert mapping.batches == [["a", "b", "bad", "c", "d"], ["bad", "c", "d"], ["bad"], ["c", "d"]]
    assert mapping.discarded()["DDBStreamBatchInfo"]["batchSize"] == 1


def test_a_discarded_record_is_named_to_the_on_failure_queue(account: Account) -> None:
    """Lambda developer guide, "Retain discarded batch records for a DynamoDB event source"."""
    mapping = StreamMapping(account, fails_by="error", MaximumRetryAttempts=2, BisectBatchOnFunctionError=True)
    mapping.put("a", "bad")
    mapping.start()
    message = mapping.discarded()
    context = message["requestContext"]
    assert context["condition"] == "RetryAttemptsExhausted"
    assert context["approximateInvokeCount"] == 3
    assert context["functionArn"].endswith(f":{mapping.function}")
    assert message["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    where = message["DDBStreamBatchInfo"]
    assert where["startSequenceNumber"] == where["endSequenceNumber"] == mapping.sequence_numbers()["bad"]
    assert where["streamArn"] == mapping.stream_arn
    assert where["shardId"].startswith("shardId-")
    assert "bad" not in json.dumps(message), "the record itself is not in it"


def test_records_are_discarded_for_their_age_without_a_try(account: Account) -> None:
    """Lambda developer guide, "Error handling": "… until the records in the batch expire, exceed the maximum age"."""
    mapping = StreamMapping(account, fails_by="error", MaximumRecordAgeInSeconds=1)
    mapping.put("bad")
    time.sleep(2.1)
    mapping.start()
    assert mapping.discarded()["requestContext"]["condition"] == "RecordAgeExceeded"
    assert mapping.batches == []


def test_a_batch_waits_for_its_window(account: Account) -> None:
    """Lambda developer guide, "Batching behavior"."""
    mapping = StreamMapping(account, fails_by="error", MaximumBatchingWindowInSeconds=1, BatchSize=3)
    mapping.start()
    account.eventually(lambda: mapping.lambda_.get_event_source_mapping(UUID=mapping.id)["State"] == "Enabled")
    mapping.put("a")
    time.sleep(0.3)
    mapping.put("b")
    account.eventually(lambda: mapping.batches == [["a", "b"]])
    mapping.put("c", "d", "e")
    account.eventually(lambda: mapping.batches[1:] == [["c", "d", "e"]])


def test_the_age_of_the_last_record_is_a_metric(account: Account) -> None:
    """Lambda developer guide, "Types of metrics for Lambda functions": IteratorAge, in milliseconds."""
    mapping = StreamMapping(account, fails_by="error")
    mapping.put("a")
    time.sleep(2)
    mapping.start()

    def oldest() -> float:
        points = account.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="IteratorAge",
            Dimensions=[{"Name": "FunctionName", "Value": mapping.function}],
            StartTime=time.time() - 600,
            EndTime=time.time() + 60,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
        return max((float(point["Maximum"]) for point in points), default=0.0)

    account.eventually(lambda: oldest() >= 2000)


def test_a_queue_is_read_while_a_function_works_on_a_stream(account: Account) -> None:
    """Each mapping polls for itself ("How Lambda processes records", Lambda developer guide)."""
    mapping = StreamMapping(account, fails_by="error")
    slow = account.function("import time\ndef handler(event, context):\n    time.sleep(3)", Timeout=10)
    created = mapping.lambda_.create_event_source_mapping(
        FunctionName=slow, EventSourceArn=mapping.stream_arn, StartingPosition="TRIM_HORIZON"
    )
    account.cleanups.append(lambda: mapping.lambda_.delete_event_source_mapping(UUID=created["UUID"]))
    mapping.put("a")
    account.eventually(lambda: account.starts(slow) == 1)
    url, arn = account.queue()
    quick = account.function("def handler(event, context): pass")
    consumer = mapping.lambda_.create_event_source_mapping(FunctionName=quick, EventSourceArn=arn)
    account.cleanups.append(lambda: mapping.lambda_.delete_event_source_mapping(UUID=consumer["UUID"]))
    sent = time.monotonic()
    account.client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    account.eventually(lambda: account.starts(quick) == 1)
    assert time.monotonic() - sent < 2


@pytest.mark.parametrize(("position", "given"), [("TRIM_HORIZON", ["before", "after"]), ("LATEST", ["after"])])
def test_the_starting_position_is_that_of_the_creation(relied_upon: Account, position: str, given: list[str]) -> None:
    """Lambda API reference, CreateEventSourceMapping, StartingPosition."""
    mapping = StreamMapping(relied_upon, fails_by="error")
    mapping.put("before")
    created = mapping.lambda_.create_event_source_mapping(
        FunctionName=mapping.function, EventSourceArn=mapping.stream_arn, StartingPosition=position
    )
    relied_upon.cleanups.append(lambda: mapping.lambda_.delete_event_source_mapping(UUID=created["UUID"]))
    mapping.put("after")
    relied_upon.eventually(lambda: list(itertools.chain.from_iterable(mapping.batches)) == given)


def test_what_the_filter_does_not_match_is_passed_over(relied_upon: Account) -> None:
    """Lambda developer guide, "Using event filtering with a DynamoDB event source"."""
    mapping = StreamMapping(
        relied_upon,
        fails_by="error",
        FilterCriteria={"Filters": [{"Pattern": json.dumps({"eventName": ["INSERT"]})}]},
    )
    mapping.put("a")
    mapping.dynamodb.put_item(TableName=mapping.table, Item={"pk": {"S": "a"}, "more": {"S": "x"}})
    mapping.dynamodb.delete_item(TableName=mapping.table, Key={"pk": {"S": "a"}})
    mapping.put("b")
    mapping.start()
    relied_upon.eventually(lambda: mapping.batches == [["a", "b"]])
