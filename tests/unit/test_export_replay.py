"""`make export-replay`: what the sales export gave up is found, shown and exported, from wherever it still stands."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from rich.console import Console

from local import sales_export as command
from tests.unit.aws import REGION, AwsErrors, Queue
from tests.unit.lambda_functions import call, load_function
from tests.unit.orders import PRIVATE
from tests.unit.stream_records import an_image, an_item

BUCKET, LOG_GROUP = "sales-export", "sales-export-log"
POISON = {"S": "a lot"}


class World:
    """A deployed sales export: the table with its stream, the function, its log, the bucket, the on-failure queue."""

    def __init__(self, function: ModuleType, errors: AwsErrors, output: Callable[[], Any]) -> None:
        self.function, self.errors, self.written = function, errors, output
        self.table: Any = boto3.resource("dynamodb").create_table(
            TableName="sales",
            KeySchema=[{"AttributeName": "order_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "order_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
        self.streams: Any = boto3.client("dynamodbstreams")
        self.queue = Queue("sales-export-dead-letters")
        self.logs: Any = boto3.client("logs")
        self.logs.create_log_group(logGroupName=LOG_GROUP)
        self.logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName="1")
        self.s3: Any = boto3.client("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        outputs = {
            "SalesExportDeadLetterQueueUrl": self.queue.url,
            "SalesExportFunctionName": "sales-export",
            "SalesExportLogGroupName": LOG_GROUP,
            "SalesTableName": "sales",
        }
        errors.on("DescribeStacks", lambda *_: {"Stacks": [{"Outputs": _outputs(outputs)}]})
        errors.on("Invoke", lambda parameters, _: self.invoke(json.loads(parameters["Payload"])))

    def invoke(self, event: Any) -> dict[str, Any]:
        """Invoke the function as Lambda does, and keep what it logs."""
        self.written()
        payload = json.dumps(call(self.function, event)).encode()
        events = [
            {"timestamp": round(time.time() * 1000), "message": json.dumps(line)} for line in self.written().lines
        ]
        self.logs.put_log_events(logGroupName=LOG_GROUP, logStreamName="1", logEvents=events)
        return {"StatusCode": 200, "Payload": io.BytesIO(payload)}

    def put(self, *images: dict[str, Any]) -> None:
        deserialize = TypeDeserializer().deserialize
        for image in images:
            self.table.put_item(Item={name: deserialize(value) for name, value in image.items()})

    def records(self) -> list[dict[str, Any]]:
        """What stands on the stream."""
        arn = self.table.latest_stream_arn
        [shard] = self.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        iterator = self.streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        return [
            record | {"shard": shard["ShardId"]}
            for record in self.streams.get_records(ShardIterator=iterator)["Records"]
        ]

    def give_up(self, first: int = 0, last: int | None = None) -> None:
        """Try records of the stream, and discard them as the mapping does."""
        records = self.records()
        given_up = records[first : (first if last is None else last) + 1]
        self.invoke({"Records": json.loads(json.dumps(given_up, default=str))})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.queue.send(
            json.dumps(
                {
                    "requestContext": {"condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6},
                    "timestamp": now,
                    "DDBStreamBatchInfo": {
                        "shardId": given_up[0]["shard"],
                        "startSequenceNumber": given_up[0]["dynamodb"]["SequenceNumber"],
                        "endSequenceNumber": given_up[-1]["dynamodb"]["SequenceNumber"],
                        "approximateArrivalOfFirstRecord": now,
                        "approximateArrivalOfLastRecord": now,
                        "batchSize": len(given_up),
                        "streamArn": self.table.latest_stream_arn,
                    },
                }
            )
        )

    def forget_stream(self) -> None:
        """Let a day pass."""
        self.errors.refuse("GetShardIterator", "TrimmedDataAccessException")

    def forget(self, status: str, order_id: str) -> None:
        """Let the log miss a status of an order, as when an invocation dies."""
        events = self.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName="1")["events"]
        self.forget_log()
        self.logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName="1")
        kept = [
            {"timestamp": event["timestamp"], "message": event["message"]}
            for event in events
            if (line := json.loads(event["message"])).get("status") != status or line.get("order_id") != order_id
        ]
        self.logs.put_log_events(logGroupName=LOG_GROUP, logStreamName="1", logEvents=kept)

    def forget_log(self) -> None:
        self.logs.delete_log_stream(logGroupName=LOG_GROUP, logStreamName="1")

    def exported(self) -> list[str]:
        keys = [found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        return [key.rpartition("/order-")[2].removesuffix(".jsonl") for key in keys]

    @property
    def waiting(self) -> int:
        attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=["All"])
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


def _outputs(outputs: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]


@pytest.fixture
def world(aws_errors: AwsErrors, output: Callable[[], Any]) -> World:
    environment = {"EXPORT_BUCKET_NAME": BUCKET, "EXPORT_PREFIX": "sales", "BATCH_SIZE": "50"}
    return World(load_function("sales_export", environment), aws_errors, output)


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        # Not through standard output, which is the function's log here.
        shown = io.StringIO()
        monkeypatch.setattr(command, "console", Console(file=shown, highlight=False, soft_wrap=True))
        monkeypatch.setattr("sys.argv", ["export-replay", *arguments])
        return command.main(), shown.getvalue()

    return run


type Run = Callable[..., tuple[int, str]]


def test_a_record_is_shown_with_its_reason_and_stays(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON))
    world.give_up()
    status, shown = run()
    assert status == 0
    assert "RetryAttemptsExhausted after 6 tries" in shown
    assert "order    ord-1" in shown
    assert 'reason   sale.total breaks the rule type: "number"' in shown
    assert '"total": {"S": "a lot"}' in shown
    assert "make export-replay REPLAY=yes" in shown, "it says what to do next"
    assert world.waiting == 1
    assert world.exported() == []


def test_personal_data_is_not_shown(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON, **an_item(customer={"name": PRIVATE["name"], "email": PRIVATE["email"]})))
    world.give_up()
    _, shown = run()
    assert not [each for each in PRIVATE.values() if each in shown]
    assert '"customer": "[redacted]"' in shown


def test_what_the_mended_function_takes_is_exported_from_the_stream(world: World, run: Run) -> None:
    world.put(an_image("ord-1"))
    world.give_up()
    world.table.delete_item(Key={"order_id": "ord-1"})
    world.s3.delete_object(Bucket=BUCKET, Key="sales/year=2026/month=11/day=21/hour=09/order-ord-1.jsonl")
    status, shown = run("--replay")
    assert status == 0
    assert "table    has it no more; the record of the stream is exported" in shown
    assert world.exported() == ["ord-1"]
    assert world.waiting == 0


def test_a_mended_item_is_exported_as_it_is_by_then(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON))
    world.give_up()
    world.put(an_image("ord-1", total={"N": "12"}))
    status, shown = run("--replay")
    assert (status, world.exported(), world.waiting) == (0, ["ord-1"], 0)
    assert "table    has another total by now, which is exported" in shown
    assert "ord-1 is exported" in shown


def test_what_fails_again_stays(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON))
    world.give_up()
    status, shown = run("--replay")
    assert status == 1
    assert f"ord-1 could not be exported; {LOG_GROUP} says why" in shown
    assert "Mend the function or the item, and try again" in shown
    assert world.waiting == 1


def test_one_message_may_be_about_several_records(world: World, run: Run) -> None:
    """The metadata of failed records can be consolidated (CloudFormation, BisectBatchOnFunctionError)."""
    world.put(*(an_image(f"ord-{number}") for number in range(5)))
    world.give_up(1, 3)
    assert run("--replay")[0] == 0
    assert world.exported() == ["ord-1", "ord-2", "ord-3"]
    assert world.waiting == 0


def test_after_a_day_the_log_names_the_order_and_the_table_has_the_sale(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON))
    world.give_up()
    world.put(an_image("ord-1"))
    world.forget_stream()
    status, shown = run("--replay")
    assert status == 0, shown
    assert 'reason   sale.total breaks the rule type: "number"' in shown
    assert world.exported() == ["ord-1"]
    assert world.waiting == 0


def test_what_nobody_remembers_is_told_with_what_to_do(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON))
    world.give_up()
    world.forget_stream()
    world.forget_log()
    status, shown = run("--replay")
    assert status == 1
    assert "neither the stream nor" in shown
    assert "ORDER=<order id> REPLAY=yes" in shown
    assert world.waiting == 1


def test_an_answer_without_records_is_not_the_end_of_the_stream(world: World, run: Run) -> None:
    world.put(*(an_image(f"ord-{number}") for number in range(4)))
    world.give_up(0, 3)
    world.s3.delete_objects(
        Bucket=BUCKET,
        Delete={"Objects": [{"Key": one["Key"]} for one in world.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]},
    )
    asked = iter(range(100))

    def in_parts(parameters: Any, proceed: Callable[[Any], Any]) -> Any:
        """Give the first record, then nothing, then the rest."""
        answer = proceed(parameters)
        match next(asked):
            case 0:
                return answer | {"Records": answer["Records"][:1], "NextShardIterator": parameters["ShardIterator"]}
            case 1:
                return answer | {"Records": [], "NextShardIterator": parameters["ShardIterator"]}
        return answer | {"Records": answer["Records"][1:]}

    world.errors.on("GetRecords", in_parts)
    assert run("--replay")[0] == 0
    assert len(world.exported()) == 4
    assert world.waiting == 0


def test_a_part_of_the_stream_settles_nothing(world: World, run: Run) -> None:
    world.put(*(an_image(f"ord-{number}") for number in range(4)))
    world.give_up(0, 3)
    world.errors.on(
        "GetRecords",
        lambda parameters, proceed: (
            proceed(parameters) | {"Records": proceed(parameters)["Records"][:1], "NextShardIterator": None}
        ),
    )
    status, shown = run("--replay")
    assert (status, world.waiting) == (1, 1)
    assert "the stream did not give all records" in shown


def test_after_a_day_the_sales_of_an_invocation_that_died_are_known_by_their_beginning(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON), an_image("ord-2"), an_image("ord-3"))
    world.errors.refuse("PutObject", "SlowDown")
    world.give_up(0, 2)
    world.forget("FAILED", "ord-2")
    world.errors.on("PutObject", lambda parameters, proceed: proceed(parameters))
    world.put(an_image("ord-1"))
    world.forget_stream()
    assert run("--replay")[0] == 0
    assert world.exported() == ["ord-1", "ord-2", "ord-3"]
    assert world.waiting == 0


def test_a_part_of_the_log_settles_nothing(world: World, run: Run) -> None:
    world.put(an_image("ord-1", total=POISON), an_image("ord-2", total=POISON))
    world.give_up(0, 1)
    world.forget("START", "ord-2")
    world.forget("FAILED", "ord-2")
    world.put(an_image("ord-1"))
    world.forget_stream()
    status, shown = run("--replay")
    assert (status, world.waiting) == (1, 1)
    assert "has all 2 records" in shown
    assert "(the log has ord-1)" in shown


@pytest.mark.parametrize("body", ["{", "[]", '"x"', "{}", '{"DDBStreamBatchInfo": 1}'])
def test_a_message_of_somebody_else_stops_nobody(world: World, run: Run, body: str) -> None:
    world.queue.send(body)
    world.put(an_image("ord-1"))
    world.give_up()
    status, shown = run("--replay")
    assert (status, world.waiting, world.exported()) == (1, 1, ["ord-1"])
    assert "names no place in a stream" in shown


def test_a_function_that_fails_deletes_nothing(world: World, run: Run) -> None:
    world.put(an_image("ord-1"))
    world.give_up()
    answer = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "SettingsError"}')}
    world.errors.on("Invoke", lambda *_: answer)
    status, shown = run("--replay")
    assert status == 1
    assert "sales-export failed with SettingsError" in shown
    assert world.waiting == 1


def test_many_messages_are_settled_one_by_one(world: World, run: Run) -> None:
    world.put(*(an_image(f"ord-{number:02}", total=POISON if number == 7 else {"N": "1"}) for number in range(25)))
    for number in range(25):
        world.give_up(number)
    status, shown = run("--replay")
    assert status == 1
    assert "1 message not settled" in shown
    assert len(world.exported()) == 24
    assert world.waiting == 1


def test_an_order_of_the_table_is_exported_by_its_id(world: World, run: Run) -> None:
    world.put(an_image("ord-1"), an_image("ord-2"))
    assert run("--order", "ord-1") == (0, run("--order", "ord-1")[1])
    assert world.exported() == []
    assert run("--order", "ord-1", "--order", "ord-2", "--replay")[0] == 0
    assert world.exported() == ["ord-1", "ord-2"]
    status, shown = run("--order", "nobody")
    assert status == 1
    assert "sales has no order nobody" in shown


def test_a_stack_without_the_export_is_told(world: World, run: Run) -> None:
    world.errors.on("DescribeStacks", lambda *_: {"Stacks": [{"Outputs": []}]})
    status, shown = run()
    assert status == 1
    assert "has no output SalesExportDeadLetterQueueUrl" in shown


def test_a_stack_that_is_not_there_is_told_with_what_to_check(world: World, run: Run) -> None:
    world.errors.refuse("DescribeStacks", "ValidationError")
    status, shown = run()
    assert status == 1
    assert "check your credentials and Region" in shown


def test_an_empty_queue_is_told(run: Run) -> None:
    assert run("--replay") == (0, "The sales export has given nothing up: its on-failure queue is empty.\n")
