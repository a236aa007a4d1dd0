"""A sale as marketing gets it: one line of JSON, in an object whose key follows from the order alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from hub.events import UnreadableEvent, check, encode

# What marketing gets of an item of SalesTable; schemas/sale.json says what each one is.
_FIELDS = ("order_id", "received_at", "placed_at", "currency", "total", "items")
_DESERIALIZER = TypeDeserializer()


@dataclass(frozen=True)
class Sale:
    """One line of the export, and the object that it is the only line of.

    Nothing of it depends on the batch in which the record came, nor on the time of the export. So whoever writes it,
    and however often, the same bytes stand under the same key.
    """

    key: str
    line: bytes


def read_sale(image: Any) -> Sale:
    """Make the line of the export from an item of SalesTable.

    Args:
        image: The item in DynamoDB's JSON, as a stream record holds it (NewImage).

    Raises:
        UnreadableEvent: The item does not follow ``schemas/sale.json``; the message names the field and the rule.
    """
    if not isinstance(image, Mapping):
        raise UnreadableEvent("the record has no NewImage: the table's stream must show new images")
    sale = {name: _plain(name, image[name]) for name in _FIELDS if name in image}
    check("sale", sale)
    return Sale(key=_key(sale["order_id"], sale["received_at"]), line=encode(sale) + b"\n")


def _key(order_id: str, received_at: str) -> str:
    """Name the object: partitions by the hour of receipt in UTC, which Athena and others read from the key.

    The file name begins with a letter, because Athena passes over files that begin with a dot or an underscore, as an
    order id may (Athena user guide, "Considerations and limitations for SQL queries in Amazon Athena").
    """
    try:
        received = datetime.fromisoformat(received_at)
    except ValueError:
        raise UnreadableEvent("sale.received_at is no date and time of the calendar") from None
    hour = f"year={received.year:04}/month={received.month:02}/day={received.day:02}/hour={received.hour:02}"
    return f"{hour}/order-{order_id}.jsonl"


def _plain(name: str, value: Any) -> Any:
    try:
        return _number_as_json(_DESERIALIZER.deserialize(value))
    except (TypeError, AttributeError, ValueError, ArithmeticError, RecursionError):
        raise UnreadableEvent(f"sale.{name} is no attribute value of DynamoDB that JSON can hold") from None


def _number_as_json(value: Any) -> Any:
    """Turn DynamoDB's decimals into JSON's numbers; the shop sent them as such, so nothing is lost."""
    match value:
        case Decimal():
            if not value.is_finite():
                raise ValueError("NaN and Infinity are no JSON")
            return int(value) if value == value.to_integral_value() else float(value)
        case Mapping():
            return {key: _number_as_json(item) for key, item in value.items()}
        case list():
            return [_number_as_json(item) for item in value]
    return value
