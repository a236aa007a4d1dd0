"""Keeps each notified order once, with its value, for marketing: SalesQueue -> SalesTable."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from botocore.exceptions import ClientError

from hub import settings
from hub.events import ORDER_NOTIFIED, Event, UnreadableEvent, read_event, read_json
from hub.instrument import LambdaContext, instrument, logger, record_status
from hub.measures import ORDER_VALUE, ORDERS, ORDERS_REPEATED, ORDERS_REPLAYED, ORDERS_UNREADABLE
from hub.queues import DeadLetterQueue, Message, messages


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    sales_table_name: str
    dead_letter_queue_url: str


SETTINGS = settings.load(Settings)
TABLE = boto3.resource("dynamodb").Table(SETTINGS.sales_table_name)
DEAD_LETTERS = DeadLetterQueue(SETTINGS.dead_letter_queue_url, boto3.client("sqs"))
PROCESSOR = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Keep the orders of a batch, and answer which messages go back to the queue."""
    return process_partial_response(event=event, record_handler=keep, processor=PROCESSOR, context=context)


def keep(record: Any) -> None:
    """Keep the order of one message, or dead-letter the message if it cannot be read."""
    [message] = messages({"Records": [record.raw_event]})
    try:
        order = read_event(read_json(message.body), ORDER_NOTIFIED)
    except UnreadableEvent as error:
        with record_status("order", None, message_id=message.message_id):
            _dead_letter(message, None, str(error))
        return
    with record_status(order.detail_type, order.correlation_id, **order.log_keys):
        _keep_once(message, order)


def _keep_once(message: Message, order: Event) -> None:
    try:
        TABLE.put_item(
            Item=_item(order),
            ConditionExpression="attribute_not_exists(order_id)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ArithmeticError:
        _dead_letter(message, order.correlation_id, "it holds a number that the table cannot keep")
        return
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        kept: Any = error.response.get("Item", {})
        if kept.get("content", {}).get("S") == order.content:
            logger.info("already kept", order_id=order.order_id)
            (ORDERS_REPLAYED if order.replay else ORDERS_REPEATED).add()
        else:
            _dead_letter(message, order.correlation_id, "its order_id was used before, for an order with other content")
        return
    ORDERS.add()
    ORDER_VALUE.add(order.data["total"], order.data["currency"])


def _item(order: Event) -> dict[str, Any]:
    """Keep what marketing needs of an order: what was sold and for how much, and nothing about who bought it."""
    sold = {
        "order_id": order.order_id,
        "event_id": order.event_id,
        "content": order.content,
        "correlation_id": order.correlation_id,
        "received_at": order.received_at,
        "placed_at": order.data["placed_at"],
        "currency": order.data["currency"],
        "total": order.data["total"],
        "items": [{key: item[key] for key in ("sku", "quantity", "unit_price")} for item in order.data["items"]],
    }
    item: dict[str, Any] = json.loads(json.dumps(sold), parse_float=Decimal)
    return item


def _dead_letter(message: Message, correlation_id: str | None, reason: str) -> None:
    DEAD_LETTERS.send(message, outcome="poison", reason=reason, correlation_id=correlation_id)
    ORDERS_UNREADABLE.add()
