"""AWS for one test: what behaves (moto), and apart from it what fails (errors put in front of moto)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

REGION = "eu-west-1"
BUS = "hub"
_EVENTS_SEEN = "events-seen"


class Queue:
    """A queue, with a consumer that does what an event source mapping does."""

    def __init__(self, name: str) -> None:
        self._sqs: Any = boto3.client("sqs")
        self.name = name
        self.url = self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "900"})["QueueUrl"]

    def send(self, *bodies: str, attributes: Mapping[str, str] | None = None) -> None:
        """Send messages."""
        typed = {name: {"DataType": "String", "StringValue": text} for name, text in (attributes or {}).items()}
        for body in bodies:
            self._sqs.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=typed)

    def batch(self) -> dict[str, Any]:
        """Receive all visible messages as one invocation's event."""
        return {"Records": [self._record(message) for message in self.take()]}

    def settle(self, event: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        """Delete the messages of an event but those that the response gives back."""
        back = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        for record in event["Records"]:
            if record["messageId"] not in back:
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=record["receiptHandle"])

    def take(self) -> list[dict[str, Any]]:
        """Receive all visible messages."""
        taken: list[dict[str, Any]] = []
        while received := self._sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages"):
            taken += received
        return taken

    def forget(self) -> None:
        """Be empty again."""
        queue: Any = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[self.name]
        queue._messages = []
        queue._pending_messages = set()

    def letters(self) -> list[tuple[str, dict[str, str]]]:
        """Receive all visible messages: bodies with message attributes as text."""
        return [
            (
                message["Body"],
                {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()},
            )
            for message in self.take()
        ]

    @property
    def bodies(self) -> list[str]:
        """What the queue holds, visible or not."""
        return [message.body for message in self._stored()]

    def hidden_seconds(self) -> dict[str, float]:
        """For how many seconds from now on each message of the queue is hidden, by message id."""
        from moto.core.utils import unix_time_millis

        return {message.id: max(0.0, (message.visible_at - unix_time_millis()) / 1000) for message in self._stored()}

    def _stored(self) -> list[Any]:
        queue: Any = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[self.name]
        return list(queue._messages)

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                for name, value in message.get("MessageAttributes", {}).items()
            },
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:{self.name}",
            "awsRegion": REGION,
        }


class Bus:
    """The event bus, and what was published on it."""

    def __init__(self) -> None:
        events = boto3.client("events")
        events.create_event_bus(Name=BUS)
        self._seen = Queue(_EVENTS_SEEN)
        events.put_rule(Name="everything", EventBusName=BUS, EventPattern='{"source": [{"prefix": ""}]}')
        arn = f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:{_EVENTS_SEEN}"
        events.put_targets(Rule="everything", EventBusName=BUS, Targets=[{"Id": "seen", "Arn": arn}])

    def published(self, detail_type: str | None = None) -> list[dict[str, Any]]:
        """Take the events published since the last call, as EventBridge delivers them."""
        events = [json.loads(message["Body"]) for message in self._seen.take()]
        return [event for event in events if detail_type in (None, event["detail-type"])]


def create_table(name: str, key: str) -> Any:
    """Create a table with a partition key of text."""
    return boto3.resource("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


type Proceed = Callable[[Mapping[str, Any]], Any]
type Step = Callable[[Mapping[str, Any], Proceed], Any]


class AwsErrors:
    """Lets calls of the AWS SDK fail as they fail on AWS; all others go through. Keeps every call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self._steps: dict[str, Step] = {}
        original: Any = vars(BaseClient)["_make_api_call"]

        def make_api_call(client: Any, operation: str, parameters: Mapping[str, Any]) -> Any:
            self.calls.append((operation, parameters))
            step = self._steps.get(operation)
            if step is None:
                return original(client, operation, parameters)
            try:
                return step(parameters, lambda changed: original(client, operation, changed))
            except _Refused as refused:
                kind = client.exceptions.from_code(refused.code)
                raise kind({"Error": {"Code": refused.code, "Message": refused.message}}, operation) from None

        monkeypatch.setattr(BaseClient, "_make_api_call", make_api_call)

    def count(self, operation: str) -> int:
        """How often an operation was called."""
        return sum(name == operation for name, _ in self.calls)

    def on(self, operation: str, step: Step) -> None:
        """Put a step in front of an operation: it gets the parameters, and a way to go on to AWS."""
        self._steps[operation] = step

    def refuse(
        self,
        operation: str,
        code: str = "InternalFailure",
        *,
        times: float = float("inf"),
        when: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    ) -> None:
        """Refuse whole requests: the first so many of those that match."""
        left = times

        def step(parameters: Mapping[str, Any], proceed: Proceed) -> Any:
            nonlocal left
            if left <= 0 or not when(parameters):
                return proceed(parameters)
            left -= 1
            raise _Refused(code)

        self.on(operation, step)

    def refuse_events(self, when: Callable[[str], bool], *, times: float = float("inf")) -> None:
        """Let PutEvents answer 200 with failed entries: each whose detail matches, so many times."""
        left: dict[str, float] = {}

        def step(parameters: Mapping[str, Any], proceed: Proceed) -> Any:
            answers: list[Any] = []
            for entry in parameters["Entries"]:
                remaining = left.setdefault(entry["Detail"], times if when(entry["Detail"]) else 0)
                if remaining > 0:
                    left[entry["Detail"]] = remaining - 1
                    answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
                else:
                    answers += proceed({"Entries": [entry]})["Entries"]
            return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}

        self.on("PutEvents", step)


class _Refused(Exception):
    def __init__(self, code: str, message: str = "made to fail by the test") -> None:
        super().__init__(code)
        self.code = code
        self.message = message
