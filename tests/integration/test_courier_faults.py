"""What a courier can do to the hub, and what can happen to the hub meanwhile, on the local stack.

After each fault every order has had exactly one effect at the courier, or stands in a dead-letter queue with a true
reason. `THROTTLED_SECONDS=60 pytest tests/integration/test_courier_faults.py` throttles for a full minute.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.deployed_hub import Hub, eventually, order

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

THROTTLED_SECONDS = float(os.environ.get("THROTTLED_SECONDS", "8"))


@pytest.fixture(autouse=True)
def healed(hub: Hub) -> Iterator[None]:
    """Leave the courier healthy, and see that nothing was left behind anywhere."""
    yield
    hub.switch_courier("healthy")
    eventually(lambda: hub.waiting("DeliveryQueueUrl") == 0, within=120, what="the delivery queue is empty")
    assert hub.waiting("DeliveryDeadLetterQueueUrl") == 0, "no dead letter but those that a test has looked at"


def record(envelope: dict[str, Any] | str) -> dict[str, Any]:
    """Make a record of a batch, as the event source mapping hands it over."""
    return {
        "messageId": str(uuid4()),
        "receiptHandle": "none",
        "body": envelope if isinstance(envelope, str) else json.dumps(envelope),
        "attributes": {"ApproximateReceiveCount": "1", "ApproximateFirstReceiveTimestamp": "1795248000000"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }


def notified(one: dict[str, Any]) -> dict[str, Any]:
    """Make order.notified of an order, as the rule puts it into the delivery queue."""
    metadata = {
        "correlation_id": str(uuid4()),
        "event_id": str(uuid4()),
        "received_at": "2026-11-21T08:00:00.000+00:00",
        "schema_version": "1",
    }
    return {"detail-type": "order.notified", "source": "widgets.orders", "detail": {"metadata": metadata, "data": one}}


def invoke(hub: Hub, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Hand a batch to the delivery function."""
    answer = hub.stack.client("lambda").invoke(
        FunctionName=hub.stack.outputs["DeliveryFunctionName"], Payload=json.dumps({"Records": records})
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    return dict(json.loads(answer["Payload"].read()))


def all_called(hub: Hub, order_ids: list[str]) -> None:
    eventually(
        lambda: len(hub.calls(order_ids)) == len(order_ids), within=30, what="the courier is asked for each order"
    )


def test_the_courier_refuses_everything_as_too_much_for_a_while(hub: Hub) -> None:
    hub.switch_courier("throttle", retry_after=1)
    order_ids = hub.place(*(order() for _ in range(20)))
    all_called(hub, order_ids)
    time.sleep(THROTTLED_SECONDS)
    calls = sum(hub.calls(order_ids).values())
    assert calls <= len(order_ids) * (3 + THROTTLED_SECONDS / 4), f"refusals do not multiply the calls: {calls}"
    hub.switch_courier("healthy")
    hub.delivered(order_ids, within=150)


def test_a_pause_that_the_courier_asks_for_is_kept_by_every_execution(hub: Hub) -> None:
    hub.switch_courier("unavailable", retry_after=7)
    order_ids = hub.place(*(order() for _ in range(5)))
    eventually(lambda: hub.calls(order_ids), within=20, what="the courier is asked")
    time.sleep(1.5)  # until the executions that had slots already have looked at the pace again
    hub.switch_courier("healthy")
    before = hub.calls(order_ids)
    order_ids += hub.place(*(order() for _ in range(5)))
    time.sleep(3.5)
    assert hub.calls(order_ids) == before, "Retry-After: 7 means nobody, for 7 s"
    hub.delivered(order_ids, within=60)


def test_the_courier_takes_calls_and_never_answers(hub: Hub) -> None:
    hub.switch_courier("hang")
    order_ids = hub.place(*(order() for _ in range(8)))
    all_called(hub, order_ids)
    hub.switch_courier("healthy")
    hub.delivered(order_ids, within=90)


def test_the_courier_takes_an_order_and_its_answer_is_lost(hub: Hub) -> None:
    hub.switch_courier("drop")
    order_ids = hub.place(*(order() for _ in range(4)))
    eventually(lambda: sum(hub.effects(order_ids).values()) == 4, within=30, what="the courier has taken the orders")
    hub.switch_courier("healthy")
    eventually(lambda: min(hub.calls(order_ids).values()) >= 2, within=60, what="each order is asked for again")
    hub.delivered(order_ids, within=60)


def test_the_same_message_is_delivered_twice_at_once(hub: Hub) -> None:
    hub.switch_courier("slow")
    orders = [order() for _ in range(5)]
    batch = [record(notified(one)) for one in orders]
    order_ids = [one["order_id"] for one in orders]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: invoke(hub, batch), range(2)))
    hub.delivered(order_ids, within=5)
    assert set(hub.calls(order_ids).values()) == {1}, "the second execution does not even ask the courier"
    assert invoke(hub, batch) == {"batchItemFailures": []}, "and whoever asks later learns that it is done"
    assert set(hub.calls(order_ids).values()) == {1}


@pytest.mark.parametrize("item", [None, {"rate": {"S": "fast"}}, {"next_slot": {"N": "9e99"}, "revision": {"S": "x"}}])
def test_the_item_of_the_pace_is_missing_or_broken(hub: Hub, item: dict[str, Any] | None) -> None:
    table, key = hub.stack.outputs["DeliveryTableName"], {"pk": {"S": "pace#courier"}}
    if item is None:
        hub.dynamodb.delete_item(TableName=table, Key=key)
    else:
        hub.dynamodb.put_item(TableName=table, Item=key | item)
    hub.delivered(hub.place(*(order() for _ in range(10))), within=60)
    mended = hub.dynamodb.get_item(TableName=table, Key=key)["Item"]
    assert 10 <= float(mended["rate"]["N"]) <= 50


def test_the_delivery_table_is_unavailable_for_a_while(hub: Hub) -> None:
    """Without it nobody knows what was delivered already: orders wait, and none is lost or delivered twice."""
    name = hub.stack.outputs["DeliveryTableName"]
    hub.dynamodb.delete_table(TableName=name)
    try:
        order_ids = hub.place(*(order() for _ in range(5)))
        time.sleep(8)
        assert hub.calls(order_ids) == {}
    finally:
        hub.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
    hub.delivered(order_ids, within=90)


def test_one_poison_message_and_one_refused_order_do_not_hurt_eight_good_ones(hub: Hub) -> None:
    good = [order() for _ in range(8)]
    refused = order(delivery_address={"line1": "Station 1", "postal_code": "0", "city": "McMurdo", "country": "AQ"})
    batch = [record(notified(one)) for one in [*good[:4], refused, *good[4:]]]
    batch.insert(7, record("not json"))
    assert invoke(hub, batch) == {"batchItemFailures": []}
    hub.delivered([one["order_id"] for one in good], within=1)
    letters = {
        attributes["outcome"]: (body, attributes)
        for body, attributes in hub.dead_letters("DeliveryDeadLetterQueueUrl", 2)
    }
    assert letters["poison"][0] == "not json"
    assert "not JSON" in letters["poison"][1]["reason"]
    body, attributes = letters["permanent"]
    assert json.loads(body)["detail"]["data"] == refused, "the order can be sent again as it was"
    assert attributes["reason"] == "HTTP 422"
    assert "no deliveries to AQ" in attributes["answer"]
    assert attributes["correlation_id"] == json.loads(body)["detail"]["metadata"]["correlation_id"]
