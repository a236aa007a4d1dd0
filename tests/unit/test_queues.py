"""Messages of a queue: what is read from them, and what goes to the dead letters with them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from hub.queues import DeadLetterQueue, Message, batch_response, messages
from tests.unit.aws import AwsErrors, Queue
from tests.unit.orders import INGEST_ATTRIBUTES, PRIVATE, a_queue_event, an_order, json_values

# "SendMessage" in the SQS API reference: the characters that a body and an attribute may hold.
SQS_CHARACTERS = re.compile("[\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")

MESSAGE = Message(
    message_id="message-1",
    receipt_handle="receipt-1",
    body='{"order_id": "ord-1"}',
    receive_count=3,
    first_received_at="1795252442622",
    attributes=INGEST_ATTRIBUTES,
)


class FakeSqs:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **parameters: Any) -> None:
        self.sent.append(parameters)

    @property
    def attributes(self) -> dict[str, str]:
        """Of the last message, as text."""
        return {name: value["StringValue"] for name, value in self.sent[-1]["MessageAttributes"].items()}


def dead_letter(message: Message = MESSAGE, **changes: Any) -> FakeSqs:
    sqs: Any = FakeSqs()
    facts = {"outcome": "permanent", "reason": "HTTP 422", "correlation_id": "c-1", "answer": ""} | changes
    DeadLetterQueue("https://queue.example", sqs).send(message, **facts)
    return sqs  # type: ignore[no-any-return]


def test_a_record_becomes_a_message() -> None:
    [message] = messages(a_queue_event(("the body", {"correlation_id": "c-1"}), receive_count=3))
    assert message == Message("message-0", "receipt-0", "the body", 3, "1795252442622", {"correlation_id": "c-1"})


def test_messages_keep_their_order() -> None:
    assert [message.body for message in messages(a_queue_event("a", "b", "c"))] == ["a", "b", "c"]


@pytest.mark.parametrize("attributes", [{}, None])
def test_a_message_without_attributes_has_none(attributes: Any) -> None:
    event = a_queue_event("body")
    event["Records"][0]["messageAttributes"] = attributes
    assert messages(event)[0].attributes == {}


def test_a_binary_attribute_is_not_text_and_left_out() -> None:
    event = a_queue_event(("body", {"api_key_id": "k"}))
    event["Records"][0]["messageAttributes"]["picture"] = {"binaryValue": "AAEC", "dataType": "Binary"}
    assert messages(event)[0].attributes == {"api_key_id": "k"}


def test_a_batch_response_names_what_goes_back() -> None:
    first, second = messages(a_queue_event("a", "b"))
    assert batch_response([second]) == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert batch_response([first, second])["batchItemFailures"][0] == {"itemIdentifier": "message-0"}


def test_an_empty_batch_response_deletes_the_whole_batch() -> None:
    assert batch_response([]) == {"batchItemFailures": []}, "a missing key would mean the same, a null would not"


def test_a_dead_letter_has_the_body_untouched_and_the_facts_beside_it() -> None:
    sqs = dead_letter(answer="no such street")
    [sent] = sqs.sent
    assert sent["QueueUrl"] == "https://queue.example"
    assert sent["MessageBody"] == MESSAGE.body, "whoever sends it again sends what the shop has sent"
    assert sqs.attributes == {
        "outcome": "permanent",
        "reason": "HTTP 422",
        "answer": "no such street",
        "correlation_id": "c-1",
        "api_key_id": INGEST_ATTRIBUTES["api_key_id"],
        "received_at": INGEST_ATTRIBUTES["received_at"],
        "first_received_at": "1795252442622",
        "receive_count": "3",
        "message_id": "message-1",
    }


def test_without_a_correlation_id_of_the_order_the_messages_own_is_kept() -> None:
    assert dead_letter(correlation_id=None).attributes["correlation_id"] == INGEST_ATTRIBUTES["correlation_id"]


def test_a_letter_that_was_sent_again_says_so_when_it_dies_again(aws: None) -> None:
    queue = Queue("dead")
    message = replace(MESSAGE, attributes={"redriven": '{"times":1}'})
    DeadLetterQueue(queue.url, boto3.client("sqs")).send(
        message, outcome="permanent", reason="r", correlation_id="c-1", answer="a"
    )
    [(_, attributes)] = queue.letters()
    assert attributes["redriven"] == '{"times":1}'


def test_sqs_takes_a_letter_with_every_attribute_that_there_is() -> None:
    """Ten at most ("Amazon SQS message attributes", SQS developer guide)."""
    sent_again = {**INGEST_ATTRIBUTES, "redriven": '{"times":1}'}
    sqs = dead_letter(replace(MESSAGE, attributes=sent_again), answer="a")
    assert len(sqs.attributes) == 10


def test_empty_attributes_are_left_out_because_sqs_refuses_them() -> None:
    sqs = dead_letter(replace(MESSAGE, attributes={}), correlation_id=None)
    assert sqs.attributes.keys() == {"outcome", "reason", "first_received_at", "receive_count", "message_id"}


@given(st.text(), st.text(), st.text(), st.dictionaries(st.sampled_from(sorted(INGEST_ATTRIBUTES)), st.text()))
def test_sqs_takes_every_dead_letter(reason: str, answer: str, correlation_id: str, attributes: dict[str, str]) -> None:
    sqs = dead_letter(
        replace(MESSAGE, attributes=attributes), reason=reason, answer=answer, correlation_id=correlation_id
    )
    assert len(sqs.sent[-1]["MessageAttributes"]) <= 10, "SQS takes no more"
    assert all(sqs.attributes.values()), "SQS takes no empty one"


@given(st.binary(max_size=200))
def test_whatever_a_courier_answers_fits_into_an_attribute(answer: bytes) -> None:
    sqs = dead_letter(answer=answer.decode(errors="replace"))
    for name, text in sqs.attributes.items():
        assert SQS_CHARACTERS.fullmatch(text), (
            f"SQS refuses control characters in {name!r}; the order would go round until its receives are used up"
        )


def test_long_facts_are_cut() -> None:
    attributes = dead_letter(reason="r" * 5000, answer="a" * 5000).attributes
    assert len(attributes["reason"]) == len(attributes["answer"]) == 1024


@given(json_values)
def test_the_couriers_answer_is_redacted(echoed: Any) -> None:
    answer = json.dumps({"message": "not deliverable", "echo": echoed, "order": an_order()})
    attributes = dead_letter(answer=answer).attributes
    for name, value in PRIVATE.items():
        assert value not in attributes["answer"], f"a courier that repeats the order repeats the customer's {name}"
    assert "not deliverable" in attributes["answer"] or len(answer) > 1024


def test_an_email_address_in_the_couriers_answer_is_redacted() -> None:
    assert PRIVATE["email"] not in dead_letter(answer=f"bounced: {PRIVATE['email']}").attributes["answer"]


def test_on_aws_the_dead_letter_lies_in_its_queue(aws: None) -> None:
    queue = Queue("dead-letters")
    DeadLetterQueue(queue.url, boto3.client("sqs")).send(
        MESSAGE, outcome="poison", reason="order must contain total", correlation_id="c-1"
    )
    [(body, attributes)] = queue.letters()
    assert body == MESSAGE.body
    assert attributes["reason"] == "order must contain total"


def test_a_refusal_is_raised_so_that_the_message_is_not_deleted(aws: None, aws_errors: AwsErrors) -> None:
    queue = Queue("dead-letters")
    aws_errors.refuse("SendMessage", "InternalFailure")
    with pytest.raises(ClientError, match="InternalFailure"):
        DeadLetterQueue(queue.url, boto3.client("sqs")).send(
            MESSAGE, outcome="poison", reason="unreadable", correlation_id=None
        )
