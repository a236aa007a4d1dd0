"""No log line, metric or dead-letter attribute shows whose order it was, whatever happens to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest

from tests.unit.aws import BUS, AwsErrors, Bus, Queue, create_table
from tests.unit.courier_server import CourierServer, Reply
from tests.unit.lambda_functions import Context, call, load_function
from tests.unit.orders import COURIER_KEY, PRIVATE, a_queue_event, an_envelope, an_ingest_event, an_order, compact
from tests.unit.output import Output
from tests.unit.stream_records import a_stream_event, an_image, an_item

SHOP_KEY = "api-key-of-the-hub-at-the-courier"
SECRETS = {**PRIVATE, "courier's key": COURIER_KEY, "hub's key": SHOP_KEY}
ORDER = an_order()
BROKEN_ORDER = {**an_order(), "total": "a lot"}
BROKEN_ENVELOPE = an_envelope() | {"detail": {**an_envelope()["detail"], "data": BROKEN_ORDER}}


@dataclass
class World:
    """Everything that the functions need."""

    courier: CourierServer
    errors: AwsErrors
    dead_letters: Queue
    environment: dict[str, str]

    def load(self, name: str, **environment: str) -> ModuleType:
        return load_function(name, {**self.environment, **environment})


@pytest.fixture
def world(bus: Bus, courier: CourierServer, aws_errors: AwsErrors, no_waits: None) -> World:
    dead_letters, deliveries = Queue("dead-letters"), Queue("deliveries")
    create_table("orders", "order_id")
    create_table("items", "pk")
    secret = boto3.client("secretsmanager").create_secret(
        Name="courier", SecretString=json.dumps({"api_key": COURIER_KEY})
    )
    environment = {
        "HUB_BUS_NAME": BUS,
        "DEAD_LETTER_QUEUE_URL": dead_letters.url,
        "SALES_TABLE_NAME": "orders",
        "COURIER_TABLE_NAME": "items",
        "DELIVERY_TABLE_NAME": "items",
        "DELIVERY_QUEUE_URL": deliveries.url,
        "COURIER_URL": courier.url,
        "COURIER_SECRET_ARN": secret["ARN"],
        "COURIER_TIMEOUT": "1",
        "REMEMBERED_SECONDS": "5184000",
        "COURIER_RATE": "1000",
        "COURIER_BURST": "1000",
        "MAXIMUM_CONCURRENCY": "1",
        "MAXIMUM_RECEIVES": "50",
        "FAILURE_RATE": "0",
        "LATENCY_MIN": "0",
        "LATENCY_MAX": "0",
        "SEED": "7",
        "HONOURS_IDEMPOTENCY_KEY": "true",
        "EXPORT_BUCKET_NAME": "no-bucket",
        "EXPORT_PREFIX": "sales",
        "BATCH_SIZE": "50",
    }
    return World(courier, aws_errors, dead_letters, environment)


ECHO = json.dumps({"message": "no", "you_sent": ORDER}).encode()
SLOW_API_EVENT = {
    "httpMethod": "POST",
    "resource": "/deliveries",
    "headers": {"Idempotency-Key": "key-1", "x-api-key": SHOP_KEY},
    "multiValueHeaders": {"x-api-key": [SHOP_KEY]},
    "requestContext": {"identity": {"apiKey": SHOP_KEY, "sourceIp": "203.0.113.17"}},
    "body": json.dumps(ORDER),
}
PERSONAL = an_item(customer=ORDER["customer"], delivery_address=ORDER["delivery_address"])
EVENTS: dict[str, tuple[str, dict[str, str], Any]] = {
    "notification": ("notification", {}, an_ingest_event(json.dumps(ORDER))),
    "notification, broken order": ("notification", {}, an_ingest_event(json.dumps(BROKEN_ORDER))),
    "notification, half an order": ("notification", {}, an_ingest_event(json.dumps(ORDER)[:-30])),
    "notification, no attributes": ("notification", {}, a_queue_event(json.dumps(ORDER))),
    "delivery": ("delivery", {"FLOW_CONTROL": "enabled"}, a_queue_event(compact(an_envelope()))),
    "delivery, broken": ("delivery", {"FLOW_CONTROL": "enabled"}, a_queue_event(compact(BROKEN_ENVELOPE))),
    "delivery, direct": ("delivery", {"FLOW_CONTROL": "disabled"}, an_envelope()),
    "delivery, direct, broken": ("delivery", {"FLOW_CONTROL": "disabled"}, BROKEN_ENVELOPE),
    "sales": ("sales", {}, a_queue_event(compact(an_envelope()))),
    "sales, broken": ("sales", {}, a_queue_event(compact(BROKEN_ENVELOPE))),
    "sales, half an event": ("sales", {}, a_queue_event(compact(an_envelope())[:-30])),
    "sales export": ("sales_export", {}, a_stream_event(an_image(**PERSONAL))),
    "sales export, broken": ("sales_export", {}, a_stream_event(an_image(**PERSONAL, total={"S": PRIVATE["email"]}))),
    "slow api": ("slow_api", {}, SLOW_API_EVENT),
    "an event that no function expects": ("notification", {}, {"Records": [{"body": json.dumps(ORDER)}]}),
}


def nothing_special(_: World) -> None:
    """All is well."""


def aws_refuses_everything(world: World) -> None:
    for operation in ("PutEvents", "SendMessage", "PutItem", "UpdateItem", "GetItem", "GetSecretValue", "PutObject"):
        world.errors.refuse(operation, "InternalFailure")


def aws_explodes(world: World) -> None:
    """As when the SDK itself has a bug, so that the handler raises."""

    def explode(_: Mapping[str, Any], __: Any) -> Any:
        raise RuntimeError("nobody has thought of this")

    for operation in ("PutEvents", "SendMessage", "PutItem", "UpdateItem", "PutObject"):
        world.errors.on(operation, explode)


def the_courier_refuses_and_repeats_the_order(world: World) -> None:
    world.courier.answers(Reply(422, body=ECHO))


def the_courier_repeats_the_order_at_length(world: World) -> None:
    world.courier.answers(Reply(422, body=b'{"message": "' + b"no " * 80 + b'", ' + ECHO[1:]))


CIRCUMSTANCES: dict[str, Callable[[World], None]] = {
    "all is well": nothing_special,
    "AWS refuses everything": aws_refuses_everything,
    "the SDK explodes": aws_explodes,
    "the courier repeats the order": the_courier_refuses_and_repeats_the_order,
}


def assert_nothing_private(text: str, where: str) -> None:
    leaked = [name for name, value in SECRETS.items() if value in text]
    assert not leaked, f"{where} shows the {', the '.join(leaked)}"


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
@pytest.mark.parametrize("kind", EVENTS)
def test_nothing_that_is_written_shows_whose_order_it_was(
    kind: str,
    circumstance: str,
    world: World,
    output: Callable[[], Output],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tenacity.nap.sleep", lambda _: None)
    name, environment, event = EVENTS[kind]
    function = world.load(name, **environment)
    CIRCUMSTANCES[circumstance](world)
    try:
        call(function, event, Context(seconds=30))
    except Exception as error:  # what a handler raises is written to the log by the platform
        assert_nothing_private(str(error), "the exception that Lambda writes into the log")
    written = output()
    assert written.lines, "a handler that leaves no line cannot be understood"
    assert_nothing_private(written.text, "the log")
    assert_nothing_private(written.errors, "standard error")
    assert_nothing_private(caplog.text, "a library's logger")
    world.errors.refuse("SendMessage", times=0)
    for _, facts in world.dead_letters.letters():
        assert_nothing_private(json.dumps(facts, ensure_ascii=False), "an attribute of a dead letter")


def test_a_dead_letter_of_a_long_answer_shows_nothing_either(world: World) -> None:
    the_courier_repeats_the_order_at_length(world)
    call(world.load("delivery", FLOW_CONTROL="enabled"), a_queue_event(compact(an_envelope())), Context(seconds=30))
    [(_, facts)] = world.dead_letters.letters()
    assert_nothing_private(json.dumps(facts, ensure_ascii=False), "an attribute of a dead letter")


def test_the_warning_before_a_timeout_shows_nothing(world: World, output: Callable[[], Output]) -> None:
    function = world.load("slow_api", LATENCY_MIN="0.4", LATENCY_MAX="0.4")
    started = time.monotonic()
    call(function, SLOW_API_EVENT, Context(seconds=1.15))
    assert time.monotonic() - started < 1.1
    written = output()
    assert "TIMEOUT" in written.statuses()
    assert_nothing_private(written.text, "the warning")
    assert "203.0.113.17" not in written.text, "an address of the network is personal data, too"
