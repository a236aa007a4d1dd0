"""The event contract: what producers make is what consumers read, and nothing else gets through."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
from hypothesis import given
from hypothesis import strategies as st
from referencing.jsonschema import DRAFT7

import hub.events
from hub.events import (
    DELIVERY_COMPLETED,
    DELIVERY_FAILED,
    ORDER_NOTIFIED,
    Event,
    UnreadableEvent,
    check,
    delivery_completed,
    delivery_failed,
    order_notified,
    read_event,
    read_json,
)
from tests.unit.orders import (
    PRIVATE,
    RECEIVED_AT,
    an_envelope,
    an_order,
    compact,
    json_values,
    order_ids,
    orders,
)

SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (Path(hub.events.__file__).parent / "schemas").glob("*.json")
}
REGISTRY: referencing.Registry[Any] = referencing.Registry().with_resources(
    (f"hub:{name}.json", DRAFT7.create_resource(schema)) for name, schema in SCHEMAS.items()
)
LATER = RECEIVED_AT + timedelta(seconds=3)


def notified(order: dict[str, Any], correlation_id: str = "c-1") -> Event:
    return order_notified(order, correlation_id=correlation_id, received_at=RECEIVED_AT)


def envelope_of(event: Event) -> dict[str, Any]:
    """The event as it comes out of EventBridge, through JSON."""
    envelope: dict[str, Any] = json.loads(compact({"detail-type": event.detail_type, "detail": event.detail}))
    return envelope


# ---------------------------------------------------------------------------------------- producers and consumers


@given(orders)
def test_what_is_published_is_what_is_read(order: dict[str, Any]) -> None:
    event = notified(order)
    assert read_event(envelope_of(event), ORDER_NOTIFIED) == event


@given(orders)
def test_an_orders_data_is_the_shops_own_words(order: dict[str, Any]) -> None:
    assert notified(copy.deepcopy(order)).data == order, "the hub adds metadata beside the order, nothing inside it"


@given(orders, st.integers(1, 1000), st.text(min_size=1))
def test_follow_ups_are_read_back_too(order: dict[str, Any], attempts: int, reason: str) -> None:
    event = notified(order)
    for follow_up in (
        delivery_completed(event, delivered_at=LATER, attempts=attempts),
        delivery_failed(event, outcome="permanent", reason=reason, attempts=attempts),
    ):
        assert read_event({"detail-type": follow_up.detail_type, "detail": follow_up.detail}, follow_up.detail_type)
        assert follow_up.order_id == event.order_id
        assert follow_up.correlation_id == event.correlation_id, "one id leads through everything about an order"
        assert follow_up.received_at == event.received_at


def test_follow_ups_carry_nothing_of_the_customer() -> None:
    completed = delivery_completed(notified(an_order()), delivered_at=LATER, attempts=1)
    assert all(value not in compact(completed.detail) for value in PRIVATE.values())


def test_moments_are_utc_with_milliseconds() -> None:
    dublin_summer = timezone(timedelta(hours=1))
    moment = datetime(2026, 6, 1, 10, 30, 0, 123_456, tzinfo=dublin_summer)
    event = order_notified(an_order(), correlation_id="c", received_at=moment)
    assert event.received_at == "2026-06-01T09:30:00.123+00:00"
    completed = delivery_completed(event, delivered_at=moment, attempts=1)
    assert completed.data["delivered_at"] == "2026-06-01T09:30:00.123+00:00"


# -------------------------------------------------------------------------------------------------- event ids


@given(order_ids)
def test_an_order_sent_twice_has_one_event_id(order_id: str) -> None:
    first = notified(an_order(order_id), "first-request")
    second = notified(an_order(order_id), "second-request")
    assert first.event_id == second.event_id, "consumers know a repetition by it, and the courier too"


@given(order_ids)
def test_two_orders_under_one_id_are_told_apart_by_their_content(order_id: str) -> None:
    first, changed = notified(an_order(order_id)), notified(an_order(order_id, total=1))
    assert first.event_id == changed.event_id
    assert first.content != changed.content, "so that consumers can refuse the second instead of swallowing it"
    assert first.content == notified(dict(reversed(an_order(order_id).items()))).content, "the order of keys is nothing"


@given(order_ids, order_ids)
def test_other_orders_have_other_event_ids(order_id: str, other: str) -> None:
    same_id = notified(an_order(order_id)).event_id == notified(an_order(other)).event_id
    assert same_id == (order_id == other)


def test_the_events_of_one_order_have_ids_of_their_own() -> None:
    order = notified(an_order())
    events = [
        order,
        delivery_completed(order, delivered_at=LATER, attempts=1),
        delivery_failed(order, outcome="permanent", reason="HTTP 422", attempts=1),
    ]
    assert len({event.event_id for event in events}) == 3


def test_an_event_id_never_changes_between_releases() -> None:
    assert notified(an_order("ord-2026-11-000417")).event_id == "eba233b2-1a99-5193-b8a5-616825292d97", (
        "a new one would let every order in flight be delivered twice"
    )


# --------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("envelope", [None, [], "event", 5, {}, {"detail": None}, {"detail": "text"}, {"detail": []}])
def test_what_has_no_detail_is_no_event(envelope: Any) -> None:
    with pytest.raises(UnreadableEvent, match="no event from the bus"):
        read_event(envelope, ORDER_NOTIFIED)


@pytest.mark.parametrize("detail_type", [None, "order.cancelled", "Order.Notified", 7])
def test_an_unknown_detail_type_is_refused(detail_type: Any) -> None:
    with pytest.raises(UnreadableEvent, match=f"detail-type must be {ORDER_NOTIFIED}"):
        read_event(an_envelope(**{"detail-type": detail_type}), ORDER_NOTIFIED)


@pytest.mark.parametrize("version", ["2", "0", 1, None, "1.0"])
def test_an_unknown_schema_version_is_refused_with_both_versions(version: Any) -> None:
    envelope = an_envelope()
    envelope["detail"]["metadata"]["schema_version"] = version
    with pytest.raises(UnreadableEvent) as raised:
        read_event(envelope, ORDER_NOTIFIED)
    assert repr(version) in str(raised.value)
    assert "reads '1'" in str(raised.value), "whoever reads the dead letter learns what this consumer can do"


@pytest.mark.parametrize("metadata", [None, "text", [], {}])
def test_metadata_that_is_none_is_refused(metadata: Any) -> None:
    envelope = an_envelope()
    envelope["detail"]["metadata"] = metadata
    with pytest.raises(UnreadableEvent, match="schema_version"):
        read_event(envelope, ORDER_NOTIFIED)


def test_a_schema_version_that_is_no_version_is_not_repeated() -> None:
    envelope = an_envelope()
    envelope["detail"]["metadata"]["schema_version"] = {"customer": {"name": PRIVATE["name"]}}
    with pytest.raises(UnreadableEvent) as raised:
        read_event(envelope, ORDER_NOTIFIED)
    assert PRIVATE["name"] not in str(raised.value), "a reason goes into logs and dead letters"


@pytest.mark.parametrize("text", ["", "no JSON", "{", '{"order_id": }', "'single'", "\x00", '{"a": 1} trailing'])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(UnreadableEvent, match="not JSON"):
        read_json(text)


def test_broken_json_is_told_by_its_place_and_never_shown() -> None:
    broken = json.dumps(an_order(), indent=1)[:-2] + "!"
    with pytest.raises(UnreadableEvent, match=r"line \d+, column \d+") as raised:
        read_json(broken)
    assert all(value not in str(raised.value) for value in PRIVATE.values())
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__, "the decoder's error holds the whole text, and a traceback would show it"


@pytest.mark.parametrize("text", ['{"total": NaN}', '{"total": Infinity}', '{"total": -Infinity}'])
def test_numbers_that_json_does_not_know_are_refused(text: str) -> None:
    with pytest.raises(UnreadableEvent, match="not JSON"):
        read_json(text)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(UnreadableEvent):
        read_json('{"a":' * 40_000 + "1" + "}" * 40_000)


@given(json_values)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value)) == value


# ---------------------------------------------------------------------------------------------- schema violations

WRONG = "Wrongly-Typed-Value-Of-Somebody"


def broken_orders() -> list[Any]:
    """An order for each rule that can be broken, with the field and the rule that the error must name."""
    cases: list[tuple[tuple[Any, ...], Any, str, str]] = [
        (("order_id",), "ord 1&2", "order.order_id", "pattern"),
        (("order_id",), "", "order.order_id", "pattern"),
        (("order_id",), "o" * 65, "order.order_id", "pattern"),
        (("order_id",), "ord-1\n", "order.order_id", "pattern"),
        (("order_id",), 17, "order.order_id", "type"),
        (("placed_at",), "yesterday", "order.placed_at", "pattern"),
        (("placed_at",), "2026-11-21 09:14:02Z", "order.placed_at", "pattern"),
        (("currency",), "euro", "order.currency", "pattern"),
        (("total",), WRONG, "order.total", "type"),
        (("total",), True, "order.total", "type"),
        (("total",), -0.01, "order.total", "minimum"),
        (("customer",), WRONG, "order.customer", "type"),
        (("customer",), {}, "order.customer", "name"),
        (("customer", "name"), "", "order.customer.name", "minLength"),
        (("customer", "name"), WRONG * 10, "order.customer.name", "maxLength"),
        (("customer", "email"), "@" * 255, "order.customer.email", "maxLength"),
        (("customer", "phone"), ["+353"], "order.customer.phone", "type"),
        (("delivery_address", "line1"), None, "order.delivery_address.line1", "type"),
        (("delivery_address", "country"), "Ireland", "order.delivery_address.country", "pattern"),
        (("delivery_address", "postal_code"), 12345, "order.delivery_address.postal_code", "type"),
        (("items",), [], "order.items", "minItems"),
        (("items",), {}, "order.items", "type"),
        (("items", 1), WRONG, "order.items.1", "type"),
        (("items", 1, "quantity"), 0, "order.items.1.quantity", "minimum"),
        (("items", 1, "quantity"), 1.5, "order.items.1.quantity", "type"),
        (("items", 0, "unit_price"), -1, "order.items.0.unit_price", "minimum"),
        (("items", 0, "sku"), "", "order.items.0.sku", "minLength"),
    ]
    return [pytest.param(*case, id=f"{case[2]}-{case[3]}-{index}") for index, case in enumerate(cases)]


@pytest.mark.parametrize(("path", "value", "field", "rule"), broken_orders())
def test_a_violation_names_field_and_rule_and_never_the_value(
    path: tuple[Any, ...], value: Any, field: str, rule: str
) -> None:
    order = an_order()
    *parents, last = path
    place: Any = order
    for step in parents:
        place = place[step]
    place[last] = value
    with pytest.raises(UnreadableEvent) as raised:
        check("order", order)
    message = str(raised.value)
    assert message.startswith(field), "the shop's developer looks for the field"
    assert rule in message, "... and needs to know what is asked of it"
    assert WRONG not in message
    assert all(private not in message for private in PRIVATE.values())
    assert raised.value.__suppress_context__, "the library's error shows the value, and a traceback would show that"


@pytest.mark.parametrize(
    ("parent", "field"),
    [
        *[((), name) for name in SCHEMAS["order"]["required"]],
        (("customer",), "name"),
        *[(("delivery_address",), name) for name in ("line1", "postal_code", "city", "country")],
        *[(("items", 0), name) for name in ("sku", "quantity", "unit_price")],
    ],
)
def test_a_missing_field_is_named(parent: tuple[Any, ...], field: str) -> None:
    order = an_order()
    place: Any = order
    for step in parent:
        place = place[step]
    del place[field]
    expected = ".".join(["order", *map(str, parent)]) + f" must contain {field}"
    with pytest.raises(UnreadableEvent) as raised:
        check("order", order)
    assert str(raised.value) == expected


def test_all_missing_fields_of_an_object_are_named_at_once() -> None:
    with pytest.raises(UnreadableEvent, match="order must contain placed_at, currency, total"):
        check("order", {"order_id": "ord-1"})


@pytest.mark.parametrize("document", [None, [], "text", 5, True])
def test_what_is_no_object_is_no_order(document: Any) -> None:
    with pytest.raises(UnreadableEvent, match="order breaks the rule type"):
        check("order", document)


@pytest.mark.parametrize("field", ["correlation_id", "event_id", "received_at"])
def test_metadata_is_held_to_its_schema_too(field: str) -> None:
    envelope = an_envelope()
    envelope["detail"]["metadata"][field] = ""
    with pytest.raises(UnreadableEvent, match=rf"order\.notified\.metadata\.{field}"):
        read_event(envelope, ORDER_NOTIFIED)


@pytest.mark.parametrize("total", [float("inf"), 1e300, 10**40], ids=["infinite", "1e300", "41 digits"])
def test_a_total_that_no_ledger_can_hold_is_refused_at_the_door(total: float) -> None:
    """JSON cannot carry infinity (1e999 is read as it), and DynamoDB's numbers have 38 digits and end at 1e126."""
    with pytest.raises(UnreadableEvent, match=r"order\.total"):
        check("order", an_order(total=total))


@given(orders)
def test_fields_that_the_contract_does_not_know_are_welcome(order: dict[str, Any]) -> None:
    check("order", {**order, "gift_wrap": True, "coupon": {"code": "SPRING"}})


# ------------------------------------------------------------------------------------- the schemas themselves


def test_there_is_a_schema_for_every_detail_type() -> None:
    assert {ORDER_NOTIFIED, DELIVERY_COMPLETED, DELIVERY_FAILED} <= SCHEMAS.keys()


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_schema_is_itself_valid_json_schema(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert SCHEMAS[name]["title"], "a schema says what it describes"


@given(orders, st.integers(1, 1000), st.text(min_size=1))
def test_what_producers_make_is_valid_to_another_validator(order: dict[str, Any], attempts: int, reason: str) -> None:
    event = notified(order)
    for made in (
        event,
        delivery_completed(event, delivered_at=LATER, attempts=attempts),
        delivery_failed(event, outcome="permanent", reason=reason, attempts=attempts),
    ):
        validator = jsonschema.Draft7Validator(SCHEMAS[made.detail_type], registry=REGISTRY)
        problems = [error.message for error in validator.iter_errors(made.detail)]
        assert not problems, f"{made.detail_type}: other teams' consumers will use other libraries"


@pytest.mark.parametrize(("path", "value", "field", "rule"), broken_orders())
def test_both_validators_refuse_the_same_orders(path: tuple[Any, ...], value: Any, field: str, rule: str) -> None:
    order = an_order()
    *parents, last = path
    place: Any = order
    for step in parents:
        place = place[step]
    place[last] = value
    valid = jsonschema.Draft7Validator(SCHEMAS["order"], registry=REGISTRY).is_valid(order)
    # Python's $ also matches before a final line feed, which jsonschema does not mend.
    assert not valid or str(value).endswith("\n")


@pytest.mark.parametrize(
    ("received_at", "age"),
    [
        ("2026-11-21T09:00:00.000+00:00", 90.0),
        ("2026-11-21T09:02:00.000+00:00", 0.0),  # a clock that is ahead of ours
        ("2026-02-31T09:00:00.000+00:00", None),  # of the schema's form, and no day
    ],
)
def test_the_age_of_an_order_is_never_less_than_nothing(received_at: str, age: float | None) -> None:
    event = hub.events.Event("order.notified", "c", "e", received_at, {})
    assert event.age(datetime.fromisoformat("2026-11-21T09:01:30.000+00:00")) == age


def test_completed_and_failed_say_what_they_are_about() -> None:
    order = notified(an_order())
    failed = delivery_failed(order, outcome="permanent", reason="HTTP 422", attempts=3)
    assert failed.detail["data"] == {
        "order_id": "ord-1",
        "outcome": "permanent",
        "reason": "HTTP 422",
        "attempts": 3,
    }
    completed = delivery_completed(order, delivered_at=LATER, attempts=2)
    assert completed.detail["metadata"]["schema_version"] == "1"
    assert completed.data == {"order_id": "ord-1", "delivered_at": "2026-11-21T09:14:05.481+00:00", "attempts": 2}
