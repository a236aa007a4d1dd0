"""Event source mappings that are changed while they run."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.conftest import MAPPING_CHANGE_SECONDS, Account

HANDLER = """
    import time

    def handler(event, context):
        body = event["Records"][0]["body"]
        print("begin", body)
        time.sleep(float(body))
        print("done", body)
"""


class Mapping:
    """A function that sleeps as long as each message says, behind a queue."""

    def __init__(self, account: Account, **settings: Any) -> None:
        self.account = account
        self.client = account.client("lambda")
        self.function = account.function(HANDLER, Timeout=10)
        self.url, arn = account.queue(VisibilityTimeout="60")
        created = self.client.create_event_source_mapping(
            FunctionName=self.function, EventSourceArn=arn, BatchSize=1, **settings
        )
        self.id = created["UUID"]
        account.cleanups.append(lambda: self.client.delete_event_source_mapping(UUID=self.id))

    def update(self, **settings: Any) -> str:
        return str(self.client.update_event_source_mapping(UUID=self.id, **settings)["State"])

    @property
    def state(self) -> str:
        return str(self.client.get_event_source_mapping(UUID=self.id)["State"])

    def send(self, *bodies: float) -> None:
        for body in bodies:
            self.account.client("sqs").send_message(QueueUrl=self.url, MessageBody=str(body))

    def lines(self, word: str) -> int:
        return sum(event["message"].startswith(word) for event in self.account.log(self.function))


def test_a_change_takes_time_and_allows_no_other(account: Account) -> None:
    """Lambda API reference, "UpdateEventSourceMapping": asynchronous, ResourceInUseException in between."""
    mapping = Mapping(account)
    assert mapping.update(Enabled=False) == "Disabling"
    assert mapping.state == "Disabling"
    with pytest.raises(ClientError) as refusal:
        mapping.update(Enabled=True)
    assert refusal.value.response["Error"]["Code"] == "ResourceInUseException"
    account.eventually(lambda: mapping.state == "Disabled")
    assert mapping.update(Enabled=True, ScalingConfig={"MaximumConcurrency": 2}) == "Enabling"
    account.eventually(lambda: mapping.state == "Enabled")
    assert mapping.update(BatchSize=5) == "Updating"
    account.eventually(lambda: mapping.state == "Enabled")


def test_a_disabled_mapping_takes_no_messages_and_lets_invocations_end(account: Account) -> None:
    """Lambda developer guide, "Configuring a Lambda function to process SQS": invocations under way go on."""
    mapping = Mapping(account)
    mapping.send(MAPPING_CHANGE_SECONDS + 1)
    account.eventually(lambda: mapping.lines("begin") == 1)
    assert mapping.update(Enabled=False) == "Disabling"
    account.eventually(lambda: mapping.state == "Disabled")
    mapping.send(0)
    account.eventually(lambda: mapping.lines("done") == 1)
    time.sleep(1)
    assert mapping.lines("begin") == 1
    mapping.update(Enabled=True)
    account.eventually(lambda: mapping.lines("done") == 2)


def test_maximum_concurrency_follows_a_change(relied_upon: Account) -> None:
    """Lambda developer guide, "Configuring maximum concurrency for an SQS event source"."""
    mapping = Mapping(relied_upon, ScalingConfig={"MaximumConcurrency": 2})
    mapping.send(*[2] * 6)
    relied_upon.eventually(lambda: mapping.lines("begin") == 2)
    time.sleep(0.5)
    assert mapping.lines("begin") == 2
    mapping.update(ScalingConfig={"MaximumConcurrency": 4})
    relied_upon.eventually(lambda: mapping.lines("begin") - mapping.lines("done") == 4)
    relied_upon.eventually(lambda: mapping.lines("done") == 6)
