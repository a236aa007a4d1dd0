"""SalesFunction: each order is kept once, with what was sold and nothing about who bought it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from tests.unit.aws import AwsErrors, Queue, create_table
from tests.unit.lambda_functions import call, load_function, returned
from tests.unit.orders import PRIVATE, a_queue_event, an_envelope, an_order, compact, correlation_of
from tests.unit.output import Output

type Read = Callable[[], Output]


@pytest.fixture
def dead_letters(aws: None) -> Queue:
    return Queue("sales-dead-letters")


@pytest.fixture
def table(aws: None) -> Any:
    return create_table("sales", "order_id")


@pytest.fixture
def sales(table: Any, dead_letters: Queue) -> ModuleType:
    return load_function("sales", {"SALES_TABLE_NAME": "sales", "DEAD_LETTER_QUEUE_URL": dead_letters.url})


def body(order_id: str = "ord-1", **changes: Any) -> str:
    return compact(an_envelope(an_order(order_id, **changes)))


def kept(table: Any) -> dict[str, dict[str, Any]]:
    return {item["order_id"]: item for item in table.scan()["Items"]}


def test_each_order_of_a_batch_is_kept(sales: ModuleType, table: Any, output: Read) -> None:
    response = call(sales, a_queue_event(body("ord-1"), body("ord-2", total=40), body("ord-3", total=0)))
    assert response == {"batchItemFailures": []}
    assert {name: item["total"] for name, item in kept(table).items()} == {
        "ord-1": Decimal("59.9"),
        "ord-2": Decimal(40),
        "ord-3": Decimal(0),
    }
    written = output()
    assert written.metric("Orders") == 3
    assert written.metric("OrderValue") == pytest.approx(99.9)


def test_money_is_kept_to_the_cent(sales: ModuleType, table: Any) -> None:
    total = 0.1 + 0.2  # 0.30000000000000004, as the shop's JavaScript would send it
    call(sales, a_queue_event(body(total=total)))
    assert kept(table)["ord-1"]["total"] == Decimal(str(total)), "as it was written, not as a float happens to be"


def test_each_currency_is_counted_for_itself(sales: ModuleType, output: Read) -> None:
    call(sales, a_queue_event(body("ord-1", currency="EUR", total=10), body("ord-2", currency="GBP", total=7)))
    written = output()
    assert [written.metric("OrderValue", currency=currency) for currency in ("EUR", "GBP")] == [10, 7]


def test_an_item_says_what_was_sold_and_when(sales: ModuleType, table: Any) -> None:
    call(sales, a_queue_event(body()))
    item = kept(table)["ord-1"]
    metadata = an_envelope(an_order())["detail"]["metadata"]
    assert item["event_id"] == metadata["event_id"]
    assert item["correlation_id"] == metadata["correlation_id"]
    assert item["received_at"] == metadata["received_at"]
    assert item["placed_at"] == an_order()["placed_at"]
    assert item["items"][0] == {"sku": "WIDGET-BLUE-M", "quantity": Decimal(2), "unit_price": Decimal("19.95")}


def test_nothing_about_the_customer_is_kept(sales: ModuleType, table: Any) -> None:
    call(sales, a_queue_event(body(note=f"call {PRIVATE['phone']}")))
    text = json.dumps(kept(table)["ord-1"], default=str, ensure_ascii=False)
    for name, value in PRIVATE.items():
        assert value not in text, f"marketing does not need the customer's {name}"


@pytest.mark.parametrize("batches", [1, 2])
def test_an_order_that_comes_twice_is_kept_and_counted_once(
    batches: int, sales: ModuleType, table: Any, dead_letters: Queue, output: Read
) -> None:
    for bodies in [[body(), body()]] if batches == 1 else [[body()], [body()]]:
        assert call(sales, a_queue_event(*bodies)) == {"batchItemFailures": []}
    assert kept(table).keys() == {"ord-1"}
    written = output()
    assert written.metric("Orders") == 1, "a queue delivers at least once; sales are made once"
    assert written.metric("OrdersRepeated") == 1
    assert dead_letters.letters() == []


def test_an_order_that_is_replayed_is_marked_and_no_repetition_of_the_shop(
    sales: ModuleType, table: Any, output: Read
) -> None:
    replayed = compact(an_envelope(an_order(), **{"replay-name": "sales-1"}))
    call(sales, a_queue_event(body()))
    before = kept(table)
    output()
    call(sales, a_queue_event(replayed))
    written = output()
    assert kept(table) == before
    assert (written.metric("OrdersReplayed"), written.metric("OrdersRepeated")) == (1, None)
    assert {line["replay"] for line in written.logs if "status" in line} == {"sales-1"}


def test_an_order_id_that_was_used_for_another_order_goes_to_people(
    sales: ModuleType, table: Any, dead_letters: Queue, output: Read
) -> None:
    first, second = body(total=10), body(total=20)
    call(sales, a_queue_event(first))
    assert call(sales, a_queue_event(second)) == {"batchItemFailures": []}
    assert kept(table)["ord-1"]["total"] == 10, "the first order must not be written over"
    [(letter, facts)] = dead_letters.letters()
    assert letter == second
    assert facts["reason"] == "its order_id was used before, for an order with other content"
    assert facts["correlation_id"] == correlation_of(an_order())
    assert output().metric("OrdersRepeated") is None


def unreadable() -> dict[str, tuple[str, str]]:
    future = an_envelope()
    future["detail"]["metadata"]["schema_version"] = "2"
    broken = an_envelope()
    del broken["detail"]["data"]["total"]
    return {
        "not JSON": ("order 17", "not JSON"),
        "no event": ("{}", "no event from the bus"),
        "a list": ("[]", "no event from the bus"),
        "another event": (compact(an_envelope() | {"detail-type": "order.cancelled"}), "detail-type must be"),
        "an unknown schema version": (compact(future), "schema_version is '2'"),
        "a broken rule": (compact(broken), "order.notified.data must contain total"),
        "nested without end": ('{"a":' * 40_000 + "1" + "}" * 40_000, ""),
    }


@pytest.mark.parametrize("kind", unreadable())
def test_an_unreadable_message_goes_to_the_dead_letters_alone(
    kind: str, sales: ModuleType, table: Any, dead_letters: Queue, output: Read
) -> None:
    poison, reason = unreadable()[kind]
    response = call(sales, a_queue_event(body("ord-before"), poison, body("ord-after")))
    assert response == {"batchItemFailures": []}
    assert kept(table).keys() == {"ord-before", "ord-after"}
    [(letter, facts)] = dead_letters.letters()
    assert letter == poison
    assert reason in facts["reason"]
    assert facts["outcome"] == "poison"
    assert output().metric("OrdersUnreadable") == 1


def test_an_error_of_the_table_gives_only_that_order_back(
    sales: ModuleType, table: Any, dead_letters: Queue, aws_errors: AwsErrors, output: Read
) -> None:
    aws_errors.refuse(
        "PutItem",
        "ProvisionedThroughputExceededException",
        when=lambda parameters: parameters["Item"]["order_id"] == "ord-2",
    )
    response = call(sales, a_queue_event(body("ord-1"), body("ord-2"), body("ord-3")))
    assert returned(response) == ["message-1"]
    assert kept(table).keys() == {"ord-1", "ord-3"}
    assert dead_letters.letters() == []
    assert output().statuses(correlation_of(an_order("ord-2"))) == ["START", "FAILED"]


def test_an_outage_of_the_table_gives_the_whole_batch_back_without_an_exception(
    sales: ModuleType, aws_errors: AwsErrors
) -> None:
    aws_errors.refuse("PutItem", "InternalServerError")
    assert returned(call(sales, a_queue_event(body("ord-1"), body("ord-2")))) == ["message-0", "message-1"]


def test_a_message_that_the_dead_letters_do_not_take_goes_back(sales: ModuleType, aws_errors: AwsErrors) -> None:
    aws_errors.refuse("SendMessage")
    assert returned(call(sales, a_queue_event("not JSON", body()))) == ["message-0"]


def test_a_failed_invocation_leaves_nothing_for_the_next(sales: ModuleType, aws_errors: AwsErrors) -> None:
    aws_errors.refuse("PutItem", "InternalServerError", times=1)
    assert returned(call(sales, a_queue_event(body("ord-1")))) == ["message-0"]
    assert call(sales, a_queue_event(body("ord-1"))) == {"batchItemFailures": []}, "the batch processor is reused"


def test_an_event_that_is_none_is_raised_as_it_is(sales: ModuleType, output: Read) -> None:
    with pytest.raises(KeyError):
        call(sales, {"Records": [{"eventSource": "aws:sqs"}]})
    assert "FAILED" in output().statuses()
