"""Tells the company about each stored order: IngestQueue -> order.notified on the event bus."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3

from hub import settings
from hub.event_bus import EventBus
from hub.events import Event, UnreadableEvent, order_notified, read_json
from hub.instrument import LambdaContext, instrument, record_status
from hub.measures import ORDERS_NOTIFIED, ORDERS_UNREADABLE
from hub.queues import DeadLetterQueue, Message, batch_response, messages


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    hub_bus_name: str
    dead_letter_queue_url: str


SETTINGS = settings.load(Settings)
BUS = EventBus(SETTINGS.hub_bus_name, boto3.client("events"))
DEAD_LETTERS = DeadLetterQueue(SETTINGS.dead_letter_queue_url, boto3.client("sqs"))


class NotPublished(Exception):
    """The event bus did not take an order's event; the order goes back to the queue."""


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Publish the orders of a batch, and answer which messages go back to the queue."""
    failed: list[Message] = []
    notified: list[tuple[Message, Event]] = []
    for message in messages(event):
        try:
            notified.append((message, _notified(message)))
        except UnreadableEvent as error:
            failed += _dead_letter(message, error)
    refused = BUS.publish([order for _, order in notified])
    for index, (message, order) in enumerate(notified):
        try:
            _report(order, refused.get(index))
        except NotPublished:
            failed.append(message)
    ORDERS_NOTIFIED.add(len(notified) - len(refused))
    return batch_response(failed)


def _notified(message: Message) -> Event:
    """Make order.notified of a message, whose attributes the API has set."""
    missing = [name for name in ("correlation_id", "received_at") if name not in message.attributes]
    if missing:
        raise UnreadableEvent(f"the message has no attribute {', '.join(missing)}: it did not come through the API")
    try:
        received_at = datetime.fromtimestamp(int(message.attributes["received_at"]) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise UnreadableEvent("the attribute received_at must be milliseconds since the epoch") from None
    return order_notified(
        read_json(message.body),
        correlation_id=message.attributes["correlation_id"],
        received_at=received_at,
    )


def _dead_letter(message: Message, error: UnreadableEvent) -> list[Message]:
    """Hand an unreadable message to people at once; if the queue refuses it, let it go back and be tried again."""
    correlation_id = message.attributes.get("correlation_id")
    try:
        with record_status("order", correlation_id, message_id=message.message_id):
            DEAD_LETTERS.send(message, outcome="poison", reason=str(error), correlation_id=correlation_id)
    except Exception:  # already logged by record_status
        return [message]
    ORDERS_UNREADABLE.add()
    return []


def _report(order: Event, refusal: str | None) -> None:
    with record_status(order.detail_type, order.correlation_id, **order.log_keys):
        if refusal:
            raise NotPublished(refusal)
