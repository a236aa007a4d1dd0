from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from loadtest import logs, target
from loadtest.target import CloudFormationStack, CourierEntry
from local.deployed import StackNotFoundError
from tests.unit.aws import REGION, Queue
from tests.unit.orders import an_envelope, an_order


@pytest.fixture
def stack(aws: None) -> CloudFormationStack:
    return CloudFormationStack("hub")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Stubber]]:
    """What the next calls answer, by service."""
    clients = {
        service: boto3.client(service, REGION, aws_access_key_id="none", aws_secret_access_key="none")
        for service in ("cloudformation", "apigateway")
    }
    stubbers = {service: Stubber(client) for service, client in clients.items()}
    monkeypatch.setattr(boto3, "client", lambda service, **_options: clients[service])
    with stubbers["cloudformation"], stubbers["apigateway"]:
        yield stubbers
    for stubber in stubbers.values():
        stubber.assert_no_pending_responses()


def described(outputs: dict[str, str]) -> dict[str, Any]:
    return {
        "Stacks": [
            {
                "StackName": "hub",
                "CreationTime": datetime(2026, 11, 21, tzinfo=UTC),
                "StackStatus": "CREATE_COMPLETE",
                "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
                "Parameters": [{"ParameterKey": "FlowControl", "ParameterValue": "enabled"}],
            }
        ]
    }


def test_a_stack_is_found_with_its_outputs_and_parameters(answers: dict[str, Stubber]) -> None:
    outputs = {"OrdersUrl": "https://example.com/live/orders", "CourierTableName": "courier"}
    for _ in range(2):
        answers["cloudformation"].add_response("describe_stacks", described(outputs), {"StackName": "hub"})
    stack = CloudFormationStack.find("hub")
    assert stack.outputs == outputs
    assert target.parameters(stack) == {"FlowControl": "enabled"}


def test_a_missing_stack_is_told_with_what_to_do(answers: dict[str, Stubber]) -> None:
    answers["cloudformation"].add_client_error("describe_stacks", "ValidationError", "Stack with id hub does not exist")
    with pytest.raises(StackNotFoundError, match=r"hub does not exist.*make deploy.*AWS_ENDPOINT_URL"):
        CloudFormationStack.find("hub")


def test_a_stack_of_something_else_is_refused(answers: dict[str, Stubber]) -> None:
    answers["cloudformation"].add_response("describe_stacks", described({"Bucket": "b"}))
    with pytest.raises(StackNotFoundError, match="not an event hub"):
        CloudFormationStack.find("hub")


def test_a_stack_with_a_real_courier_gets_no_made_up_orders(answers: dict[str, Stubber]) -> None:
    answers["cloudformation"].add_response("describe_stacks", described({"OrdersUrl": "https://example.com"}))
    with pytest.raises(StackNotFoundError, match="real courier"):
        CloudFormationStack.find("hub")


def test_the_api_key_is_read_by_its_identifier(answers: dict[str, Stubber]) -> None:
    answers["apigateway"].add_response("get_api_key", {"value": "k" * 40}, {"apiKey": "id", "includeValue": True})
    assert CloudFormationStack("hub", {"OrdersApiKeyId": "id"}).api_key() == "k" * 40


def test_messages_in_flight_and_delayed_count_too(stack: CloudFormationStack) -> None:
    queue = Queue("deliveries")
    queue.send("a", "b", "c")
    sqs = boto3.client("sqs")
    sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=1)
    sqs.send_message(QueueUrl=queue.url, MessageBody="d", DelaySeconds=900)
    stack.outputs = {"DeliveryQueueUrl": queue.url}
    assert target.messages(stack, target.DELIVERY_WORK_QUEUES) == {"DeliveryQueueUrl": 4}


def test_dead_letters_are_matched_to_orders_and_stay_in_their_queue(stack: CloudFormationStack) -> None:
    queue = Queue("dead-letters")
    queue.send(*(json.dumps(an_envelope(an_order(f"ord-{n}"))) for n in range(12)), "poison")
    stack.outputs = {"DeliveryDeadLetterQueueUrl": queue.url}
    for _ in range(2):
        found = target.dead_letters(stack, target.DELIVERY_DEAD_LETTER_QUEUES)
        assert sorted(str(order_id) for order_id in found.values()) == sorted(
            [*(f"ord-{n}" for n in range(12)), "None"]
        )


def test_the_courier_knows_accepted_orders_only(stack: CloudFormationStack) -> None:
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="courier",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    rows = [
        {"pk": {"S": "control"}, "mode": {"S": "healthy"}},
        {"pk": {"S": "order#called"}, "order_id": {"S": "ord-0"}, "calls": {"N": "4"}},
        accepted("key-1", "ord-1", effects=1, at="100.5"),
        accepted("key-2", "ord-2", effects=2, at="101"),
        accepted("key-3", "ord-2", effects=1, at="99"),
    ]
    for row in rows:
        dynamodb.put_item(TableName="courier", Item=row)
    stack.outputs = {"CourierTableName": "courier"}
    assert target.courier_orders(stack) == {"ord-1": CourierEntry(1, 100.5), "ord-2": CourierEntry(3, 99.0)}


def accepted(key: str, order_id: str, *, effects: int, at: str) -> dict[str, dict[str, str]]:
    return {
        "pk": {"S": f"order#{key}"},
        "order_id": {"S": order_id},
        "effects": {"N": str(effects)},
        "first_accepted_at": {"N": at},
    }


def test_a_log_is_read_on_from_where_it_was(stack: CloudFormationStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        logs, "function_configuration", lambda _stack, _output: {"FunctionName": "f", "LoggingConfig": {}}
    )
    log = logs.FunctionLog(stack, "DeliveryFunctionName", begin=time.time() - 90)
    assert log.read("REPORT") == []

    client = boto3.client("logs")
    client.create_log_group(logGroupName="/aws/lambda/f")
    client.create_log_stream(logGroupName="/aws/lambda/f", logStreamName="s")
    for line in ("REPORT one", "something else", "REPORT two"):
        client.put_log_events(
            logGroupName="/aws/lambda/f",
            logStreamName="s",
            logEvents=[{"timestamp": int(time.time() * 1000) - 50, "message": line}],
        )
        read = [event.message for event in log.read("REPORT")]
    assert read == ["REPORT one", "REPORT two"]
    assert len(log.read("REPORT")) == 2
