"""The sample events that people try the functions with: each goes through its function's handler."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer

from tests.unit.aws import BUS, REGION, Bus, Queue, create_table
from tests.unit.courier_server import CourierServer
from tests.unit.lambda_functions import FUNCTIONS, ROOT, Context, call, load_function

QUEUED = {
    "FLOW_CONTROL": "enabled",
    "COURIER_RATE": "1000",
    "COURIER_BURST": "1000",
    "MAXIMUM_CONCURRENCY": "1",
    "MAXIMUM_RECEIVES": "10",
    "DELIVERY_TABLE_NAME": "delivery",
}


def sample(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


@pytest.fixture
def delivery(bus: Bus, courier: CourierServer) -> dict[str, str]:
    """The environment that both variants of delivery share."""
    create_table("delivery", "pk")
    secret = boto3.client("secretsmanager").create_secret(Name="courier", SecretString='{"api_key": "k"}')
    return {
        "HUB_BUS_NAME": BUS,
        "COURIER_URL": courier.url,
        "COURIER_SECRET_ARN": secret["ARN"],
        "COURIER_TIMEOUT": "2",
        "REMEMBERED_SECONDS": "5184000",
        "DELIVERY_QUEUE_URL": Queue("deliveries").url,
        "DEAD_LETTER_QUEUE_URL": Queue("dead-letters").url,
    }


def test_every_function_has_a_sample_and_every_sample_a_function() -> None:
    functions = {path.parent.name for path in FUNCTIONS.glob("*/app.py")}
    samples = {path.stem for path in (ROOT / "events").glob("*.json")}
    assert functions <= samples
    assert {name.partition("-")[0] for name in samples} == functions


def test_notification(bus: Bus) -> None:
    dead_letters = Queue("dead-letters")
    function = load_function("notification", {"HUB_BUS_NAME": BUS, "DEAD_LETTER_QUEUE_URL": dead_letters.url})
    assert call(function, sample("notification")) == {"batchItemFailures": []}
    assert dead_letters.bodies == []
    published = [event["detail"] for event in bus.published()]
    made = [json.loads(record["body"])["detail"] for record in sample("delivery")["Records"]]
    assert published == made, "the samples form a chain: what this function publishes is what the next one gets"


def test_delivery_with_flow_control(delivery: dict[str, str], bus: Bus, courier: CourierServer) -> None:
    function = load_function("delivery", {**delivery, **QUEUED})
    assert call(function, sample("delivery"), Context(seconds=30)) == {"batchItemFailures": []}
    assert len(courier.requests) == len(sample("delivery")["Records"])
    assert {event["detail-type"] for event in bus.published()} == {"delivery.completed"}


def test_delivery_without_flow_control(delivery: dict[str, str], bus: Bus, courier: CourierServer) -> None:
    function = load_function("delivery", {**delivery, "FLOW_CONTROL": "disabled"})
    assert call(function, sample("delivery-direct"))["delivered"] is True
    assert json.loads(courier.requests[0].body) == json.loads(sample("slow_api")["body"])


def test_sales(aws: None) -> None:
    table, dead_letters = create_table("sales", "order_id"), Queue("dead-letters")
    function = load_function("sales", {"SALES_TABLE_NAME": "sales", "DEAD_LETTER_QUEUE_URL": dead_letters.url})
    assert call(function, sample("sales")) == {"batchItemFailures": []}
    assert dead_letters.bodies == []
    assert len(table.scan()["Items"]) == len(sample("sales")["Records"])


def test_sales_export(aws: None) -> None:
    table, s3 = create_table("sales", "order_id"), boto3.client("s3")
    sales = load_function("sales", {"SALES_TABLE_NAME": "sales", "DEAD_LETTER_QUEUE_URL": Queue("dead-letters").url})
    call(sales, sample("sales"))
    kept = {item["order_id"]: item for item in table.scan()["Items"]}
    deserialize = TypeDeserializer().deserialize
    images = [record["dynamodb"]["NewImage"] for record in sample("sales_export")["Records"]]
    streamed = [{name: deserialize(value) for name, value in image.items()} for image in images]
    assert {item["order_id"]: item for item in streamed} == kept, "the sample is what sales makes of its own sample"

    s3.create_bucket(Bucket="exports", CreateBucketConfiguration={"LocationConstraint": REGION})
    environment = {"EXPORT_BUCKET_NAME": "exports", "EXPORT_PREFIX": "sales", "BATCH_SIZE": "50"}
    assert call(load_function("sales_export", environment), sample("sales_export")) == {"batchItemFailures": []}
    assert s3.list_objects_v2(Bucket="exports")["KeyCount"] == len(images)


def test_slow_api(aws: None) -> None:
    create_table("courier", "pk")
    environment = {"FAILURE_RATE": "0", "LATENCY_MIN": "0", "LATENCY_MAX": "0", "SEED": "1"}
    function = load_function(
        "slow_api", {**environment, "COURIER_TABLE_NAME": "courier", "HONOURS_IDEMPOTENCY_KEY": "true"}
    )
    assert call(function, sample("slow_api"))["statusCode"] == 201


def test_dead_letters(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    create_table("letters", "pk")
    queue = Queue("dead-letters")
    queue.send("{no order")
    environment = {
        "DEAD_LETTER_QUEUES": f"sales={queue.url}>https://queue.example",
        "LETTER_TABLE_NAME": "letters",
        "ALARM_TOPIC_ARN": boto3.client("sns").create_topic(Name="people")["TopicArn"],
        "REDRIVE_COMMAND": "aws stepfunctions start-execution",
        "STACK_NAME": "hub",
        "STORY_QUERY": 'fields @message | filter correlation_id = "{{correlation_id}}"',
        "LOG_GROUP_NAMES": "sales",
    }
    assert call(load_function("dead_letters", environment), sample("dead_letters")) == {"sales": 1}
