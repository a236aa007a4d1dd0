"""How EventBridge replays an archive."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.conformance.conftest import Account


class ArchivedBus:
    """An event bus with an archive and two rules for every event, each with a queue."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.events = account.client("events")
        self.name = f"archived-{uuid4().hex[:8]}"
        self.arn = self.events.create_event_bus(Name=self.name)["EventBusArn"]
        self.archive = self.events.create_archive(ArchiveName=self.name, EventSourceArn=self.arn)["ArchiveArn"]
        self.queues: dict[str, str] = {}
        self.rules: dict[str, str] = {}
        for consumer in ("sales", "delivery"):
            self.queues[consumer], queue_arn = account.queue()
            rule = {"Rule": consumer, "EventBusName": self.name}
            pattern = json.dumps({"source": ["shop"]})
            self.rules[consumer] = self.events.put_rule(Name=consumer, EventBusName=self.name, EventPattern=pattern)[
                "RuleArn"
            ]
            self.events.put_targets(**rule, Targets=[{"Id": "queue", "Arn": queue_arn}])

    def put(self, order_id: str) -> None:
        entry = {
            "EventBusName": self.name,
            "Source": "shop",
            "DetailType": "order",
            "Detail": f'{{"id": "{order_id}"}}',
        }
        assert self.events.put_events(Entries=[entry])["FailedEntryCount"] == 0

    def replay(self, **destination: Any) -> dict[str, Any]:
        """Replay the last minute and wait for its end."""
        name = f"replay-{uuid4().hex[:8]}"
        now = datetime.now(UTC)
        self.events.start_replay(
            ReplayName=name,
            EventSourceArn=self.archive,
            EventStartTime=now - timedelta(minutes=1),
            EventEndTime=now + timedelta(seconds=1),
            Destination={"Arn": self.arn, **destination},
        )
        self.account.eventually(lambda: self.events.describe_replay(ReplayName=name)["State"] == "COMPLETED")
        described: dict[str, Any] = self.events.describe_replay(ReplayName=name)
        return described

    def take(self, consumer: str) -> dict[str, Any]:
        """Receive and delete one event."""
        message = self.account.receive(self.queues[consumer])
        self.account.client("sqs").delete_message(
            QueueUrl=self.queues[consumer], ReceiptHandle=message["ReceiptHandle"]
        )
        body: dict[str, Any] = json.loads(message["Body"])
        return body

    def holds(self, consumer: str) -> int:
        attributes = self.account.client("sqs").get_queue_attributes(
            QueueUrl=self.queues[consumer], AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"])


def test_a_replayed_event_is_marked_and_otherwise_the_same(relied_upon: Account) -> None:
    """EventBridge user guide, "Archiving and replaying events": `replay-name`; it is not archived again."""
    bus = ArchivedBus(relied_upon)
    bus.put("ord-1")
    event = bus.take("sales")
    assert "replay-name" not in event
    for _ in range(2):
        replay = bus.replay()
        assert bus.take("sales") == event | {"replay-name": replay["ReplayName"]}
    assert bus.holds("sales") == 0, "each replay brought it once"


def test_only_the_rules_of_the_filter_get_it(account: Account) -> None:
    """EventBridge API reference, "ReplayDestination": FilterArns."""
    bus = ArchivedBus(account)
    bus.put("ord-1")
    for consumer in ("sales", "delivery"):
        bus.take(consumer)
    bus.replay(FilterArns=[bus.rules["sales"]])
    assert bus.take("sales")["detail"] == {"id": "ord-1"}
    assert bus.holds("delivery") == 0


def test_the_time_of_the_last_event_is_told(account: Account) -> None:
    """EventBridge API reference, "DescribeReplay": EventLastReplayedTime."""
    bus = ArchivedBus(account)
    bus.put("ord-1")
    age = datetime.now(UTC) - bus.replay()["EventLastReplayedTime"]
    assert timedelta(0) <= age < timedelta(minutes=1)
