"""Orders and what carries them, as examples and as strategies for property tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from hub.events import ORDER_NOTIFIED, SOURCE, order_notified

CORRELATION_ID = "6f1d3f6e-2c51-4f0e-9a0c-0d7d1a4b8e21"
API_KEY_ID = "q3v8k1m0zd"
RECEIVED_AT = datetime(2026, 11, 21, 9, 14, 2, 481_000, tzinfo=UTC)
RECEIVED_AT_MILLISECONDS = "1795252442481"
INGEST_ATTRIBUTES = {
    "correlation_id": CORRELATION_ID,
    "api_key_id": API_KEY_ID,
    "received_at": RECEIVED_AT_MILLISECONDS,
}

# What of an order must never be seen in a log, a metric or an attribute of a dead letter.
PRIVATE = {
    "name": "Zebulon Quackenbush",
    "email": "zebulon@quackenbush.example",
    "phone": "+353 1 555 0117",
    "line1": "14 Xylophone Street",
    "line2": "Garderobe 3, links",
    "postal_code": "D02-X285",
    "city": "Ballyjamesduff",
}
COURIER_KEY = "courier-key-nobody-may-see"


def an_order(order_id: str = "ord-1", **changes: Any) -> dict[str, Any]:
    """An order that follows the contract, except for the changes."""
    return {
        "order_id": order_id,
        "placed_at": "2026-11-21T09:14:02.318Z",
        "currency": "EUR",
        "total": 59.9,
        "customer": {key: PRIVATE[key] for key in ("name", "email", "phone")},
        "delivery_address": {
            **{key: PRIVATE[key] for key in ("line1", "line2", "postal_code", "city")},
            "country": "IE",
        },
        "items": [
            {"sku": "WIDGET-BLUE-M", "name": "Blue widget", "quantity": 2, "unit_price": 19.95},
            {"sku": "WIDGET-STAND", "quantity": 1, "unit_price": 20.0},
        ],
        **changes,
    }


def an_envelope(order: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The event order.notified of an order, as EventBridge delivers it, except for the changes."""
    order = an_order() if order is None else order
    event = order_notified(order, correlation_id=correlation_of(order), received_at=RECEIVED_AT)
    return {
        "version": "0",
        "id": "8599bd1e-33e4-5380-9a03-2cb34bbdf7e4",
        "detail-type": ORDER_NOTIFIED,
        "source": SOURCE,
        "account": "123456789012",
        "time": "2026-11-21T09:14:02Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": event.detail,
        **changes,
    }


def correlation_of(order: dict[str, Any]) -> str:
    """A correlation id of an order's own, so that a test can tell whose line a log line is."""
    return f"correlation-of-{order['order_id']}"


def a_queue_event(*messages: tuple[str, dict[str, str]] | str, receive_count: int = 1) -> dict[str, Any]:
    """An event source mapping's event of these bodies, or bodies with message attributes."""
    pairs = [message if isinstance(message, tuple) else (message, {}) for message in messages]
    return {"Records": [_record(index, *pair, receive_count) for index, pair in enumerate(pairs)]}


def an_ingest_event(*bodies: str) -> dict[str, Any]:
    """An event of IngestQueue: bodies with the attributes that the API sets."""
    return a_queue_event(*((body, INGEST_ATTRIBUTES) for body in bodies))


def _record(index: int, body: str, attributes: dict[str, str], receive_count: int) -> dict[str, Any]:
    return {
        "messageId": f"message-{index}",
        "receiptHandle": f"receipt-{index}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": "1795252442601",
            "ApproximateFirstReceiveTimestamp": "1795252442622",
        },
        "messageAttributes": {
            name: {"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"}
            for name, value in attributes.items()
        },
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:queue",
        "awsRegion": "eu-west-1",
    }


# ------------------------------------------------------------------------------------------------- strategies

# A JSON text can hold any character but half of a surrogate pair, which no UTF-8 can carry.
_characters = st.characters(exclude_categories=["Cs"])
texts = st.text(_characters, max_size=40)
names = st.text(_characters, min_size=1, max_size=40)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
money = st.decimals(min_value=0, max_value=1_000_000, places=2).map(float)
order_ids = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
orders = st.fixed_dictionaries(
    {
        "order_id": order_ids,
        "placed_at": st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1)).map(
            lambda moment: moment.isoformat(timespec="milliseconds")
        ),
        "currency": st.sampled_from(["EUR", "GBP", "USD"]),
        "total": money,
        "customer": st.fixed_dictionaries({"name": names}, optional={"email": st.emails()}),
        "delivery_address": st.fixed_dictionaries(
            {"line1": names, "postal_code": st.just("D02 X285"), "city": names, "country": st.just("IE")},
            optional={"line2": texts},
        ),
        "items": st.lists(
            st.fixed_dictionaries(
                {"sku": names, "quantity": st.integers(1, 99), "unit_price": money}, optional={"name": texts}
            ),
            min_size=1,
            max_size=3,
        ),
    },
    optional={"note": json_values},
)


def compact(value: Any) -> str:
    """JSON as EventBridge writes it into a queue."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
