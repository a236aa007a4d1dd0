"""Ace Couriers, simulated: an API that is slow, fails one call in five, and can be switched into worse moods.

``POST /deliveries`` schedules a delivery. ``GET`` and ``PUT /mode`` read and switch the mode while it runs, as does
the item ``control`` of CourierTable. Every order has an item ``order#<Idempotency-Key>`` that counts the calls for it
and the effects they had, so that tests can tell an order that was delivered twice from one that was asked for twice.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import boto3

from behaviour import MODES, Control, Courier, Plan, plan
from hub import settings
from hub.instrument import LambdaContext, instrument, logger
from hub.measures import DELIVERIES_ACCEPTED, DELIVERIES_REFUSED


@dataclass(frozen=True)
class Settings:
    """Environment of the function; template.yaml says what each one is."""

    courier_table_name: str
    failure_rate: float
    latency_min: float
    latency_max: float
    seed: int
    honours_idempotency_key: bool


SETTINGS = settings.load(Settings)
COURIER = Courier(SETTINGS.failure_rate, SETTINGS.latency_min, SETTINGS.latency_max, SETTINGS.seed)
TABLE = boto3.resource("dynamodb").Table(SETTINGS.courier_table_name)
RECORDS_KEPT_SECONDS = 7 * 24 * 3600


@instrument
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request of API Gateway (Lambda proxy integration)."""
    match event["httpMethod"], event["resource"]:
        case "POST", "/deliveries":
            return deliver(event)
        case "GET", "/mode":
            return _answer(200, _control().as_dict())
        case "PUT", "/mode":
            return switch(event)
    return _answer(404, {"message": "There is nothing here."})


def deliver(event: dict[str, Any]) -> dict[str, Any]:
    """Take a delivery, or not, as the mode and the dice will have it."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    key, correlation_id = headers.get("idempotency-key"), headers.get("x-correlation-id", "")
    order = _order(event.get("body"))
    if not key or not order:
        return _answer(400, {"message": "A delivery needs the header Idempotency-Key and a JSON body with order_id."})
    order_id, country = order
    logger.thread_safe_append_keys(correlation_id=correlation_id, order_id=order_id)
    call = _count_call(key, order_id, correlation_id)
    course = plan(COURIER, _control(), key, call, country)
    time.sleep(course.latency)
    repeated = course.accepts and not _count_effect(key)
    time.sleep(course.silence)
    (DELIVERIES_ACCEPTED if course.accepts else DELIVERIES_REFUSED).add()
    logger.info("delivery", http_status=course.status, latency=course.latency, call=call, repeated=repeated)
    return _answer(course.status, {"order_id": order_id, "message": course.message}, course)


def switch(event: dict[str, Any]) -> dict[str, Any]:
    """Switch the mode: {"mode": "outage"}, with "retry_after" in seconds where the mode answers with one."""
    try:
        control = Control.read(json.loads(event.get("body") or ""))
    except ValueError as error:
        return _answer(400, {"message": str(error), "modes": sorted(MODES)})
    TABLE.update_item(
        Key={"pk": "control"},
        UpdateExpression="SET #mode = :mode, retry_after = :retry_after",
        ExpressionAttributeNames={"#mode": "mode"},
        ExpressionAttributeValues={":mode": control.mode, ":retry_after": control.retry_after},
    )
    return _answer(200, control.as_dict())


def _control() -> Control:
    item = TABLE.get_item(Key={"pk": "control"}, ConsistentRead=True).get("Item")
    return Control.read(item) if item else Control()


def _order(body: str | None) -> tuple[str, str | None] | None:
    """Return an order's id and the country that it is to go to; None if the body is no order."""
    try:
        order = json.loads(body or "")
        order_id = order["order_id"]
        country = (order.get("delivery_address") or {}).get("country")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return (order_id, country) if isinstance(order_id, str) and order_id else None


def _count_call(key: str, order_id: str, correlation_id: str) -> int:
    """Count a call for an order, and return which one it is, from 1."""
    updated = TABLE.update_item(
        Key={"pk": f"order#{key}"},
        UpdateExpression="SET order_id = :order, correlation_id = :correlation, expires_at = :expiry ADD calls :one",
        ExpressionAttributeValues={
            ":order": order_id,
            ":correlation": correlation_id,
            ":expiry": int(time.time()) + RECORDS_KEPT_SECONDS,
            ":one": 1,
        },
        ReturnValues="ALL_NEW",
    )
    return int(str(updated["Attributes"]["calls"]))


def _count_effect(key: str) -> bool:
    """Count an accepted call's effect; False if the courier recognised the order and did nothing more."""
    condition = "attribute_not_exists(effects)" if SETTINGS.honours_idempotency_key else "attribute_exists(calls)"
    try:
        TABLE.update_item(
            Key={"pk": f"order#{key}"},
            UpdateExpression="SET first_accepted_at = if_not_exists(first_accepted_at, :now) ADD effects :one",
            ExpressionAttributeValues={":now": Decimal(f"{time.time():.3f}"), ":one": 1},
            ConditionExpression=condition,
        )
    except TABLE.meta.client.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _answer(status: int, body: dict[str, Any], course: Plan | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if course and course.retry_after is not None:
        headers["Retry-After"] = str(course.retry_after)
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
