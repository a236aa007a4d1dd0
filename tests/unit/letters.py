"""Dead letters of every kind, as SQS gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.unit.orders import CORRELATION_ID, INGEST_ATTRIBUTES, RECEIVED_AT_MILLISECONDS, an_envelope, an_order

HUB = {
    "outcome": "permanent",
    "reason": "HTTP 422",
    "answer": "not deliverable",
    "correlation_id": CORRELATION_ID,
    "first_received_at": RECEIVED_AT_MILLISECONDS,
    "receive_count": "3",
    "message_id": "message-before",
}
EVENT_BUS = {
    "RULE_ARN": "arn:aws:events:eu-west-1:123456789012:rule/hub/sales",
    "TARGET_ARN": "arn:aws:sqs:eu-west-1:123456789012:sales",
    "ERROR_CODE": "NO_PERMISSIONS",
    "ERROR_MESSAGE": "SQS refused",
    "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
    "RETRY_ATTEMPTS": "185",
}
INVOCATION = {
    "version": "1.0",
    "timestamp": "2026-11-21T09:30:00.000Z",
    "requestContext": {
        "functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:circuit:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    },
    "requestPayload": an_envelope(),
    "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
    "responsePayload": {"errorType": "ValueError", "errorMessage": "no way"},
}
STREAM = {
    "requestContext": {
        "functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:export",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 4,
    },
    "timestamp": "2026-11-21T09:30:00.000Z",
    "DDBStreamBatchInfo": {
        "shardId": "shardId-00000001573689847184-864758bb",
        "approximateArrivalOfFirstRecord": "2026-11-21T09:20:00Z",
        "batchSize": 1,
        "streamArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/sales/stream/2026",
    },
}


def a_letter(
    body: str | None = None, attributes: Mapping[str, str] | None = None, *, message_id: str = "m-1", **system: str
) -> Any:
    """A message of a dead-letter queue."""
    return {
        "MessageId": message_id,
        "ReceiptHandle": f"receipt-{message_id}",
        "Body": json.dumps(an_envelope()) if body is None else body,
        "Attributes": {"SentTimestamp": RECEIVED_AT_MILLISECONDS, "ApproximateReceiveCount": "7", **system},
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": text} for name, text in (attributes or {}).items()
        },
    }


def an_ingest_letter() -> tuple[str, dict[str, str]]:
    """Body and attributes of an order that SQS moved, as the API stored it."""
    return json.dumps(an_order()), dict(INGEST_ATTRIBUTES)
