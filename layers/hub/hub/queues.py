"""Messages of a queue: reading them, dead-lettering them with a reason, and answering for a batch of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.instrument import logger
from hub.redaction import private_texts, redact_text

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef

# An attribute's value counts for the message's size, and a reason need not be longer to be understood.
_MAXIMUM_ATTRIBUTE_CHARACTERS = 1024
REDRIVEN = "redriven"
"""The attribute with which a message says that it was dead before; ``hub.dead_letters`` reads and writes it."""

GIVEN_UP = "given up after"
"""How the reason begins of an order that was never refused, and only tried often enough."""

# The characters that SQS does not take ("SendMessage", SQS API reference).
_NOT_FOR_SQS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Message:
    """A message of an SQS queue, as an event source mapping hands it to a function."""

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    first_received_at: str
    """When a consumer first received it, in milliseconds since the epoch."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Its message attributes, as text."""


def messages(event: Mapping[str, Any]) -> list[Message]:
    """Read the messages of an invocation's event."""
    return [
        Message(
            message_id=record["messageId"],
            receipt_handle=record["receiptHandle"],
            body=record["body"],
            receive_count=int(record["attributes"]["ApproximateReceiveCount"]),
            first_received_at=record["attributes"]["ApproximateFirstReceiveTimestamp"],
            attributes={
                name: attribute["stringValue"]
                for name, attribute in (record.get("messageAttributes") or {}).items()
                if attribute.get("stringValue") is not None
            },
        )
        for record in event["Records"]
    ]


def batch_response(failed: Iterable[Message]) -> dict[str, list[dict[str, str]]]:
    """Answer an event source mapping: these messages go back to the queue, the others are deleted.

    ("Reporting batch item failures", Lambda developer guide.)
    """
    return {"batchItemFailures": [{"itemIdentifier": message.message_id} for message in failed]}


class DeadLetterQueue:
    """A dead-letter queue to which a function sends what no retry can mend, with the reason.

    Args:
        url: The queue's URL.
        client: A boto3 client of SQS.
    """

    def __init__(self, url: str, client: SQSClient) -> None:
        self._url = url
        self._client = client

    def send(
        self, message: Message, *, outcome: str, reason: str, correlation_id: str | None, answer: str = ""
    ) -> None:
        """Copy a message to the dead-letter queue, body untouched, with what people need to know as attributes.

        The caller deletes the message afterwards, so a crash in between leaves two copies and never none.

        Args:
            message: The message.
            outcome: Its outcome class.
            reason: Why it cannot be processed, naming field and rule.
            correlation_id: The order's correlation id; None if it cannot be read.
            answer: What the courier said; it is redacted.

        Raises:
            botocore.exceptions.ClientError: The queue did not take it. The message must go back to its own queue.
        """
        texts = {
            "outcome": outcome,
            "reason": reason,
            "answer": redact_text(answer, private=frozenset(private_texts(message.body))),
            "correlation_id": correlation_id or message.attributes.get("correlation_id", ""),
            "api_key_id": message.attributes.get("api_key_id", ""),
            "received_at": message.attributes.get("received_at", ""),
            "first_received_at": message.first_received_at,
            "receive_count": str(message.receive_count),
            "message_id": message.message_id,
            # With it a letter has ten attributes, as many as SQS takes ("Message attributes", SQS developer guide).
            REDRIVEN: message.attributes.get(REDRIVEN, ""),
        }
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=message.body,
            MessageAttributes={name: _attribute(text) for name, text in texts.items() if text},
        )
        logger.warning(
            "DEAD LETTER",
            status="DEAD_LETTER",
            outcome=outcome,
            reason=reason,
            correlation_id=texts["correlation_id"] or "unknown",
            message_id=message.message_id,
        )


def _attribute(text: str) -> MessageAttributeValueTypeDef:
    readable = _NOT_FOR_SQS.sub("\N{REPLACEMENT CHARACTER}", text)
    return {"DataType": "String", "StringValue": readable[:_MAXIMUM_ATTRIBUTE_CHARACTERS]}
