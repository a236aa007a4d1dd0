"""An order's way through the hub, on the local stack: what goes right, and what a shop gets told when it does not."""

from __future__ import annotations

import json
import time

import pytest

from tests.integration.deployed_hub import Hub, eventually, order

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


def test_an_accepted_order_is_delivered_once_and_sold_once(either: Hub) -> None:
    order_ids = either.place(*(order() for _ in range(12)))
    either.delivered(order_ids, within=30)
    rows = eventually(lambda: len(rows := either.sold(order_ids)) == 12 and rows, within=20, what="all orders are sold")
    assert {float(row["total"]) for row in rows} == {59.9}


def test_the_answer_names_the_order_in_every_later_step(hub: Hub) -> None:
    one = order()
    answer = hub.send(json.dumps(one).encode())
    assert answer.status == 202
    hub.delivered([one["order_id"]], within=30)
    [sold] = eventually(lambda: hub.sold([one["order_id"]]), within=20, what="the order is sold")
    assert sold["correlation_id"] == answer.body["correlation_id"]


def test_an_order_that_is_sent_twice_has_one_effect(hub: Hub) -> None:
    one = order()
    hub.place(one, one)
    hub.delivered([one["order_id"]], within=30)
    eventually(lambda: hub.waiting("DeliveryQueueUrl") == 0, within=30, what="the second one is taken from the queue")
    assert hub.effects([one["order_id"]]) == {one["order_id"]: 1}
    assert hub.calls([one["order_id"]]) == {one["order_id"]: 1}, "the hub did not even ask the courier again"
    assert len(hub.sold([one["order_id"]])) == 1


def test_a_body_arrives_byte_for_byte(hub: Hub) -> None:
    strange = 'a&b=c%20d+e 🛵\n"quoted" \\ <tag> ${context.requestId} #set($x = 1) \u2028 ü'
    one = order(customer={"name": strange, "note": strange})
    hub.switch_courier("refuse")
    try:
        hub.place(one)
        [(body, attributes)] = hub.dead_letters("DeliveryDeadLetterQueueUrl", 1)
    finally:
        hub.switch_courier("healthy")
    assert json.loads(body)["detail"]["data"] == one
    assert attributes["outcome"] == "permanent"
    assert attributes["reason"] == "HTTP 422"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"order_id": 5}, "integer"),
        ({"order_id": "no spaces allowed"}, "no spaces allowed"),
        ({"currency": "euro"}, "[A-Z]{3}"),
        ({"total": -1}, "minimum"),
        ({"customer": {}}, "name"),
        ({"delivery_address": {"line1": "x"}}, "postal_code"),
        ({"items": [{"sku": "W", "quantity": 0, "unit_price": 1}]}, "minimum"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_an_order_that_breaks_a_rule_is_refused_with_the_rule(hub: Hub, change: dict[str, object], named: str) -> None:
    """API Gateway names a missing field, and of a wrong value the rule that it breaks."""
    answer = hub.send(json.dumps(order() | change).encode())
    assert answer.status == 400
    assert named in answer.body["errors"]
    assert answer.body["correlation_id"]


@pytest.mark.parametrize(
    "missing", ["order_id", "placed_at", "currency", "total", "customer", "delivery_address", "items"]
)
def test_a_missing_field_is_named(hub: Hub, missing: str) -> None:
    one = order()
    del one[missing]
    answer = hub.send(json.dumps(one).encode())
    assert answer.status == 400
    assert missing in answer.body["errors"]


@pytest.mark.parametrize("body", [b"{not json", b"", b"[]", b'"order"', b"\xff\xfe"], ids=repr)
def test_a_body_that_is_no_order_is_refused(hub: Hub, body: bytes) -> None:
    assert hub.send(body).status == 400


@pytest.mark.parametrize("key", ["", "wrong", "x" * 40], ids=["missing", "wrong", "long"])
def test_a_shop_without_a_key_is_refused(hub: Hub, key: str) -> None:
    answer = hub.send(json.dumps(order()).encode(), {"x-api-key": key})
    assert answer.status == 403
    assert "x-api-key" in answer.body["message"]


def test_another_content_type_is_refused(hub: Hub) -> None:
    answer = hub.send(json.dumps(order()).encode(), {"content-type": "text/plain"})
    assert answer.status == 415
    assert "application/json" in answer.body["message"]


@pytest.mark.parametrize(
    ("size", "status"),
    [(121 * 1024 + 1, 413), (120_000, 202), (11 * 1024 * 1024, 413)],
    ids=["121 KiB + 1", "limit", "11 MiB"],
)
def test_an_order_may_have_120000_bytes(hub: Hub, size: int, status: int) -> None:
    one = order(note="")
    one["note"] = "x" * (size - len(json.dumps(one)))
    answer = hub.send(json.dumps(one).encode())
    assert answer.status == status, answer.body
    if status == 202:
        hub.delivered([one["order_id"]], within=30)
    else:
        assert "120,000 bytes" in answer.body["message"]


def test_another_path_is_told_apart(hub: Hub) -> None:
    answer = hub.send(b"{}", path="/elsewhere")
    assert answer.status == 404
    assert "POST /orders" in answer.body["message"]


def test_too_many_orders_at_once_are_told_when_to_come_back(hub: Hub) -> None:
    with hub.throttled(rate=0.1, burst=1):
        answers = [hub.send(json.dumps(order()).encode()) for _ in range(5)]
    time.sleep(0.5)  # until the bucket has tokens again
    [refused, *_] = [answer for answer in answers if answer.status == 429]
    assert int(refused.headers["Retry-After"]) >= 1


def test_an_order_that_the_queue_refuses_is_never_accepted(hub: Hub) -> None:
    """Take away the queue: the API must not answer 2xx for an order that is not stored."""
    url = hub.stack.outputs["IngestQueueUrl"]
    attributes = hub.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    settable = {"VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod", "RedrivePolicy"} & set(attributes)
    hub.sqs.delete_queue(QueueUrl=url)
    try:
        answer = hub.send(json.dumps(order()).encode())
    finally:
        hub.sqs.create_queue(
            QueueName=url.rpartition("/")[2],
            Attributes={name: attributes[name] for name in settable},
        )
    assert answer.status >= 500
    assert "not stored" in answer.body["message"]
    one = order()
    hub.place(one)
    hub.delivered([one["order_id"]], within=30)


@pytest.mark.parametrize(
    ("queue", "dead_letters", "body", "reason"),
    [
        ("IngestQueueUrl", "IngestDeadLetterQueueUrl", "not json", "it did not come through the API"),
        ("DeliveryQueueUrl", "DeliveryDeadLetterQueueUrl", "not json", "the message is not JSON (line 1, column 1)"),
        ("SalesQueueUrl", "SalesDeadLetterQueueUrl", "not json", "the message is not JSON (line 1, column 1)"),
        (
            "DeliveryQueueUrl",
            "DeliveryDeadLetterQueueUrl",
            json.dumps({"detail-type": "order.notified", "detail": {"metadata": {"schema_version": "9"}}}),
            "schema_version is '9'",
        ),
        (
            "SalesQueueUrl",
            "SalesDeadLetterQueueUrl",
            json.dumps({"detail-type": "order.notified", "detail": {"metadata": {"schema_version": "1"}}}),
            "must contain",
        ),
    ],
)
def test_a_message_that_nobody_can_read_is_dead_lettered_with_the_reason(
    hub: Hub, queue: str, dead_letters: str, body: str, reason: str
) -> None:
    hub.sqs.send_message(QueueUrl=hub.stack.outputs[queue], MessageBody=body)
    [(letter, attributes)] = hub.dead_letters(dead_letters, 1)
    assert letter == body
    assert attributes["outcome"] == "poison"
    assert reason in attributes["reason"]


def test_a_dead_letter_raises_its_alarm(hub: Hub) -> None:
    cloudwatch = hub.stack.client("cloudwatch")
    alarm = hub.stack.physical_id("SalesDeadLetterAlarm")

    def state() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    hub.sqs.send_message(QueueUrl=hub.stack.outputs["SalesQueueUrl"], MessageBody="not json")
    eventually(lambda: state() == "ALARM", within=30, what="the alarm fires")
    hub.dead_letters("SalesDeadLetterQueueUrl", 1)


def test_an_outage_of_the_courier_loses_nothing(hub: Hub) -> None:
    hub.switch_courier("outage")
    try:
        order_ids = hub.place(*(order() for _ in range(10)))
        eventually(lambda: len(hub.calls(order_ids)) == 10, within=30, what="every order was tried")
        assert set(hub.effects(order_ids).values()) == {0}
    finally:
        hub.switch_courier("healthy")
    hub.delivered(order_ids, within=60)
    assert hub.waiting("DeliveryDeadLetterQueueUrl") == 0
