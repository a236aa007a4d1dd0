"""DeliveryFunction without flow control: the published first build, with its waits inside the function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest

from hub.events import DELIVERY_COMPLETED
from tests.unit.aws import BUS, AwsErrors, Bus
from tests.unit.courier_server import CourierServer, Reply
from tests.unit.lambda_functions import call, load_function
from tests.unit.orders import COURIER_KEY, RECEIVED_AT, an_envelope, an_order, correlation_of
from tests.unit.output import Output

type Read = Callable[[], Output]


@pytest.fixture
def delivery(bus: Bus, courier: CourierServer) -> ModuleType:
    secret = boto3.client("secretsmanager").create_secret(
        Name="courier", SecretString=json.dumps({"api_key": COURIER_KEY})
    )
    return load_function(
        "delivery",
        {
            "FLOW_CONTROL": "disabled",
            "HUB_BUS_NAME": BUS,
            "COURIER_URL": courier.url,
            "COURIER_SECRET_ARN": secret["ARN"],
            "COURIER_TIMEOUT": "1",
            "REMEMBERED_SECONDS": "5184000",
            "DELIVERY_QUEUE_URL": "",
            "DEAD_LETTER_QUEUE_URL": "",
        },
    )


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that tenacity would have slept."""
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=slept.append))
    return slept


def one_after_the_other(*replies: Reply) -> Callable[[Any], Reply]:
    rest: Iterator[Reply] = iter(replies)
    return lambda _: next(rest)


def test_an_order_is_delivered_and_reported(
    delivery: ModuleType, courier: CourierServer, bus: Bus, waits: list[float], output: Read
) -> None:
    assert call(delivery, an_envelope()) == {"order_id": "ord-1", "delivered": True}
    [request] = courier.requests
    assert json.loads(request.body) == an_order()
    assert request.headers["x-api-key"] == COURIER_KEY
    [event] = bus.published()
    assert event["detail-type"] == DELIVERY_COMPLETED
    assert event["detail"]["data"]["attempts"] == 1
    assert waits == []
    assert output().statuses(correlation_of(an_order())) == ["START", "COMPLETED"]


def test_the_first_build_tries_again_inside_the_function(
    delivery: ModuleType, courier: CourierServer, bus: Bus, waits: list[float], output: Read
) -> None:
    courier.reply = one_after_the_other(Reply(500), Reply(429), Reply(201))
    call(delivery, an_envelope())
    assert len(courier.requests) == 3
    assert len(waits) == 2
    assert all(3 <= wait <= 8 for wait in waits), "3 to 8 s of billed sleep, as published"
    [event] = bus.published()
    assert event["detail"]["data"]["attempts"] == 3
    written = output()
    assert written.metric("CallsUnhealthy") == written.metric("CallsThrottled") == written.metric("CallsDelivered") == 1
    delivered_at = datetime.fromisoformat(event["detail"]["data"]["delivered_at"])
    assert written.metric("DeliveryDelay") == pytest.approx((delivered_at - RECEIVED_AT).total_seconds(), abs=5)


@pytest.mark.parametrize("reply", [Reply(500), Reply(429), Reply(408), Reply(hangs_up=True)])
def test_after_five_attempts_it_raises_so_that_lambda_tries_again(
    reply: Reply, delivery: ModuleType, courier: CourierServer, bus: Bus, waits: list[float], output: Read
) -> None:
    courier.answers(reply)
    with pytest.raises(Exception, match=r"HTTP \d+|connection failed") as raised:
        call(delivery, an_envelope())
    assert type(raised.value).__name__ == "TryAgain"
    assert len(courier.requests) == 5
    assert len(waits) == 4
    assert bus.published() == []
    assert output().statuses(correlation_of(an_order())) == ["START", "FAILED"]


def test_what_the_courier_will_never_take_is_raised_at_once(
    delivery: ModuleType, courier: CourierServer, waits: list[float]
) -> None:
    courier.answers(Reply(422))
    with pytest.raises(Exception, match="HTTP 422") as raised:
        call(delivery, an_envelope())
    assert type(raised.value).__name__ == "NotDelivered"
    assert len(courier.requests) == 1
    assert waits == []


@pytest.mark.parametrize(
    ("event", "reason"),
    [({}, "no event from the bus"), (an_envelope() | {"detail-type": "order.cancelled"}, "detail-type must be")],
)
def test_an_unreadable_event_is_raised_without_a_call(
    event: Any, reason: str, delivery: ModuleType, courier: CourierServer
) -> None:
    with pytest.raises(Exception, match=reason):
        call(delivery, event)
    assert courier.requests == []


def test_a_completion_that_the_bus_does_not_take_is_raised(
    delivery: ModuleType, courier: CourierServer, aws_errors: AwsErrors, no_waits: None
) -> None:
    aws_errors.refuse("PutEvents", "InternalException")
    with pytest.raises(Exception, match=r"delivered, but delivery\.completed is not on the bus"):
        call(delivery, an_envelope())
    assert len(courier.requests) == 1, "it was delivered: only Lambda's own retry may ask again"


def test_the_queue_is_not_needed_and_not_touched(delivery: ModuleType, aws_errors: AwsErrors) -> None:
    call(delivery, an_envelope())
    assert {operation for operation, _ in aws_errors.calls} == {"GetSecretValue", "PutEvents"}
