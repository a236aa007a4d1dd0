"""Records of SalesTable's stream, as Lambda hands them to a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from tests.unit.orders import an_order, correlation_of

_SERIALIZE = TypeSerializer().serialize


def an_image(order_id: str = "ord-1", **changes: Any) -> dict[str, Any]:
    """An item of SalesTable in DynamoDB's JSON; a change is an attribute value, or None for an attribute left out."""
    order = an_order(order_id)
    image: dict[str, Any] = {
        "order_id": {"S": order_id},
        "event_id": {"S": "eba233b2-1a99-5193-b8a5-616825292d97"},
        "content": {"S": "4296e3ddfbe18f2b902e61c65fa00a7acac45651616ae6d87752a633d16d9ed8"},
        "correlation_id": {"S": correlation_of(order)},
        "received_at": {"S": "2026-11-21T09:14:02.481+00:00"},
        "placed_at": {"S": order["placed_at"]},
        "currency": {"S": order["currency"]},
        "total": {"N": "59.9"},
        "items": {
            "L": [
                {"M": {"sku": {"S": "WIDGET-BLUE-M"}, "quantity": {"N": "2"}, "unit_price": {"N": "19.95"}}},
                {"M": {"sku": {"S": "WIDGET-STAND"}, "quantity": {"N": "1"}, "unit_price": {"N": "20"}}},
            ]
        },
    }
    return {name: value for name, value in {**image, **changes}.items() if value is not None}


def an_item(**values: Any) -> dict[str, Any]:
    """Attribute values of Python values."""
    return {name: _SERIALIZE(value) for name, value in values.items()}


def a_record(sequence: int, image: Mapping[str, Any] | None) -> dict[str, Any]:
    """The stream's record of a new item, with a sequence number; without an image it has none."""
    order_id = (image or {}).get("order_id", {"S": f"ord-{sequence}"})
    return {
        "eventID": f"event-{sequence}",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1795252443,
            "Keys": {"order_id": order_id},
            "SequenceNumber": str(sequence),
            "SizeBytes": 500,
            "StreamViewType": "NEW_IMAGE",
            **({} if image is None else {"NewImage": dict(image)}),
        },
        "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/sales/stream/2026-11-21T08:00:12.345",
    }


def a_stream_event(*images: Mapping[str, Any] | None) -> dict[str, Any]:
    """An invocation's event of these images, with the sequence numbers 100, 101, …"""
    return {"Records": [a_record(100 + index, image) for index, image in enumerate(images)]}
