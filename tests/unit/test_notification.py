"""NotificationFunction: every stored order is told to the company, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.events import ORDER_NOTIFIED
from tests.unit.aws import BUS, AwsErrors, Bus, Queue
from tests.unit.lambda_functions import call, load_function, returned
from tests.unit.orders import (
    INGEST_ATTRIBUTES,
    PRIVATE,
    a_queue_event,
    an_ingest_event,
    an_order,
)
from tests.unit.output import Output

type Read = Callable[[], Output]


@pytest.fixture
def dead_letters(aws: None) -> Queue:
    return Queue("ingest-dead-letters")


@pytest.fixture
def notification(bus: Bus, dead_letters: Queue) -> ModuleType:
    return load_function("notification", {"HUB_BUS_NAME": BUS, "DEAD_LETTER_QUEUE_URL": dead_letters.url})


def bodies(*order_ids: str) -> list[str]:
    return [json.dumps(an_order(order_id)) for order_id in order_ids]


def order_ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["detail"]["data"]["order_id"] for event in events]


# ------------------------------------------------------------------------------------------------------- published


def test_each_order_of_a_batch_is_published(notification: ModuleType, bus: Bus, output: Read) -> None:
    response = call(notification, an_ingest_event(*bodies("ord-1", "ord-2", "ord-3")))
    assert response == {"batchItemFailures": []}
    events = bus.published()
    assert order_ids(events) == ["ord-1", "ord-2", "ord-3"]
    assert {(event["source"], event["detail-type"]) for event in events} == {("widgets.orders", ORDER_NOTIFIED)}
    assert output().metric("OrdersNotified") == 3


def test_the_metadata_comes_from_the_api(notification: ModuleType, bus: Bus) -> None:
    call(notification, an_ingest_event(*bodies("ord-2026-11-000417")))
    [event] = bus.published()
    assert event["detail"]["metadata"] == {
        "correlation_id": INGEST_ATTRIBUTES["correlation_id"],
        "event_id": "eba233b2-1a99-5193-b8a5-616825292d97",
        "received_at": "2026-11-21T09:14:02.481+00:00",
        "schema_version": "1",
    }


def test_more_orders_than_one_request_takes(notification: ModuleType, bus: Bus, aws_errors: AwsErrors) -> None:
    names = [f"ord-{index}" for index in range(23)]
    assert call(notification, an_ingest_event(*bodies(*names))) == {"batchItemFailures": []}
    assert order_ids(bus.published()) == names
    assert aws_errors.count("PutEvents") == 3, "ten to a request"


@pytest.mark.parametrize(
    "text",
    [
        "Müller & Söhne",
        "100 % + 1 = 101 %",
        "a=b&c=d%20e+f",
        "🎁 für Zoë 👩‍👩‍👧",
        "first line\nsecond line\r\n\tthird",
        'quotes " and \\ backslashes',
        "<b>&amp;</b>",
        "\u2028 \u0000 \x7f",
    ],
)
def test_every_character_arrives_as_it_was_sent(text: str, notification: ModuleType, bus: Bus) -> None:
    order = an_order(note=text, items=[{"sku": text, "quantity": 1, "unit_price": 1.5}])
    for body in (json.dumps(order), json.dumps(order, ensure_ascii=False)):
        call(notification, an_ingest_event(body))
        [event] = bus.published()
        assert event["detail"]["data"] == order


def test_an_order_that_comes_twice_has_one_event_id(notification: ModuleType, bus: Bus) -> None:
    call(notification, an_ingest_event(*bodies("ord-1", "ord-1")))
    first, second = bus.published()
    assert first["detail"]["metadata"]["event_id"] == second["detail"]["metadata"]["event_id"]


def test_an_empty_batch_is_nothing_to_do(notification: ModuleType, bus: Bus) -> None:
    assert call(notification, {"Records": []}) == {"batchItemFailures": []}
    assert bus.published() == []


def test_each_order_is_started_and_completed_under_its_correlation_id(notification: ModuleType, output: Read) -> None:
    event = a_queue_event(
        *((body, {**INGEST_ATTRIBUTES, "correlation_id": f"c-{index}"}) for index, body in enumerate(bodies("a", "b")))
    )
    call(notification, event)
    written = output()
    assert written.statuses("c-0") == written.statuses("c-1") == ["START", "COMPLETED"]


# --------------------------------------------------------------------------------------- what the bus did not take


def test_only_the_order_that_the_bus_refuses_goes_back(
    notification: ModuleType, bus: Bus, aws_errors: AwsErrors, output: Read, no_waits: None
) -> None:
    aws_errors.refuse_events(lambda detail: "ord-2" in detail)
    response = call(notification, an_ingest_event(*bodies("ord-1", "ord-2", "ord-3")))
    assert returned(response) == ["message-1"]
    assert order_ids(bus.published()) == ["ord-1", "ord-3"]
    written = output()
    assert written.metric("OrdersNotified") == 2
    assert "ThrottlingException" in written.text, "the reason stands in the log"


def test_a_refusal_that_passes_is_not_noticed(
    notification: ModuleType, bus: Bus, aws_errors: AwsErrors, no_waits: None
) -> None:
    aws_errors.refuse_events(lambda detail: "ord-2" in detail, times=2)
    response = call(notification, an_ingest_event(*bodies("ord-1", "ord-2", "ord-3")))
    assert response == {"batchItemFailures": []}
    assert sorted(order_ids(bus.published())) == ["ord-1", "ord-2", "ord-3"], "each once"


def test_an_outage_of_the_bus_gives_every_order_back(
    notification: ModuleType, bus: Bus, dead_letters: Queue, aws_errors: AwsErrors, no_waits: None
) -> None:
    aws_errors.refuse("PutEvents", "InternalException")
    response = call(notification, an_ingest_event(*bodies("ord-1", "ord-2")))
    assert returned(response) == ["message-0", "message-1"]
    assert dead_letters.letters() == [], "an outage is not the order's fault"


# ---------------------------------------------------------------------------------------------- unreadable messages


def without(attribute: str) -> dict[str, str]:
    return {name: value for name, value in INGEST_ATTRIBUTES.items() if name != attribute}


GOOD_BODY = json.dumps(an_order())
POISON: dict[str, tuple[str, dict[str, str], str]] = {
    "not JSON": ("order: 17", INGEST_ATTRIBUTES, "the message is not JSON"),
    "cut short": (GOOD_BODY[:-20], INGEST_ATTRIBUTES, "the message is not JSON"),
    "a list": ("[]", INGEST_ATTRIBUTES, "order breaks the rule type"),
    "a text": ('"ord-1"', INGEST_ATTRIBUTES, "order breaks the rule type"),
    "null": ("null", INGEST_ATTRIBUTES, "order breaks the rule type"),
    "a wrong type": (json.dumps(an_order(total="59.90")), INGEST_ATTRIBUTES, "order.total breaks the rule type"),
    "a broken rule": (json.dumps(an_order(items=[])), INGEST_ATTRIBUTES, "order.items breaks the rule minItems"),
    "a missing field": ('{"order_id": "ord-1"}', INGEST_ATTRIBUTES, "order must contain placed_at, currency"),
    "NaN": (GOOD_BODY.replace("59.9", "NaN"), INGEST_ATTRIBUTES, "not JSON"),
    "infinity": (GOOD_BODY.replace("59.9", "1e999"), INGEST_ATTRIBUTES, "a number that is too large"),
    "no character": (GOOD_BODY.replace("59.9", '59.9, "note": "\\uffff"'), INGEST_ATTRIBUTES, "U+FFFF"),
    "too large for the bus": (
        GOOD_BODY.replace("59.9", '59.9, "note": [' + ",".join(["1e15"] * 40_000) + "]"),
        INGEST_ATTRIBUTES,
        "it may have",
    ),
    "no correlation id": (GOOD_BODY, without("correlation_id"), "has no attribute correlation_id"),
    "no attributes": (GOOD_BODY, {}, "has no attribute correlation_id, received_at"),
    "no moment": (GOOD_BODY, {**INGEST_ATTRIBUTES, "received_at": "noon"}, "received_at must be milliseconds"),
    "no such moment": (GOOD_BODY, {**INGEST_ATTRIBUTES, "received_at": "9" * 30}, "received_at must be milliseconds"),
    "nested without end": ('{"a":' * 40_000 + "1" + "}" * 40_000, INGEST_ATTRIBUTES, ""),
}


@pytest.mark.parametrize("kind", POISON)
def test_an_unreadable_message_goes_to_the_dead_letters_alone(
    kind: str, notification: ModuleType, bus: Bus, dead_letters: Queue, output: Read
) -> None:
    body, attributes, reason = POISON[kind]
    event = a_queue_event(
        (json.dumps(an_order("ord-before")), INGEST_ATTRIBUTES),
        (body, attributes),
        (json.dumps(an_order("ord-after")), INGEST_ATTRIBUTES),
    )
    assert call(notification, event) == {"batchItemFailures": []}, "no retry can mend it"
    assert order_ids(bus.published()) == ["ord-before", "ord-after"], "the rest of the batch goes on"
    [(letter, facts)] = dead_letters.letters()
    assert letter == body, "byte for byte, so that it can be mended and sent again"
    assert reason in facts["reason"]
    assert facts["outcome"] == "poison"
    assert facts.get("correlation_id") == attributes.get("correlation_id")
    assert all(value not in json.dumps(facts) for value in PRIVATE.values())
    assert output().metric("OrdersUnreadable") == 1


def test_half_a_surrogate_pair_does_not_hurt_the_other_orders(
    notification: ModuleType, bus: Bus, dead_letters: Queue
) -> None:
    """JSON can escape one, and UTF-8 cannot carry it: a body of plain ASCII that passes the API."""
    half = json.dumps(an_order("ord-half", note="\ud83d"))
    assert call(notification, an_ingest_event(*bodies("ord-1"), half, *bodies("ord-3"))) == {"batchItemFailures": []}
    published = order_ids(bus.published())
    assert {"ord-1", "ord-3"} <= set(published)
    assert ("ord-half" in published) != (half in [body for body, _ in dead_letters.letters()])


def test_a_message_that_the_dead_letters_do_not_take_goes_back(
    notification: ModuleType, bus: Bus, aws_errors: AwsErrors, output: Read
) -> None:
    aws_errors.refuse("SendMessage")
    response = call(notification, an_ingest_event("not JSON", *bodies("ord-2")))
    assert returned(response) == ["message-0"], "deleting it would be losing it"
    assert order_ids(bus.published()) == ["ord-2"]
    written = output()
    assert written.metric("OrdersUnreadable") is None
    assert "FAILED" in written.statuses()


# ------------------------------------------------------------------------------------------------ nothing is lost


@dataclass(frozen=True)
class Fate:
    """One message: what is in it, and how often AWS refuses what is made of it."""

    kind: str
    refusals: int


class FakeAws:
    """Answers PutEvents and SendMessage without moto, and refuses what the fates say."""

    def __init__(self, fates: list[Fate]) -> None:
        self.fates = fates
        self.published: list[int] = []
        self.dead: list[int] = []
        self._attempts: dict[int, int] = {}

    def _refuses(self, index: int) -> bool:
        self._attempts[index] = self._attempts.get(index, 0) + 1
        return self._attempts[index] <= self.fates[index].refusals

    def put_events(self, parameters: Mapping[str, Any], _: Any) -> Any:
        answers: list[dict[str, str]] = []
        for entry in parameters["Entries"]:
            index = int(json.loads(entry["Detail"])["data"]["order_id"].removeprefix("ord-"))
            if self._refuses(index):
                answers.append({"ErrorCode": "InternalFailure"})
            else:
                self.published.append(index)
                answers.append({"EventId": str(index)})
        return {"FailedEntryCount": 0, "Entries": answers}

    def send_message(self, parameters: Mapping[str, Any], _: Any) -> Any:
        index = int(parameters["MessageAttributes"]["message_id"]["StringValue"].removeprefix("message-"))
        if self._refuses(index):
            raise ConnectionError("the dead-letter queue cannot be reached")
        self.dead.append(index)
        return {"MessageId": str(index)}


MAKERS: dict[str, Callable[[int], tuple[str, dict[str, str]]]] = {
    "good": lambda index: (json.dumps(an_order(f"ord-{index}")), INGEST_ATTRIBUTES),
    "not JSON": lambda index: (f"order {index}", INGEST_ATTRIBUTES),
    "broken": lambda index: (json.dumps(an_order(f"ord-{index}", total=-1)), INGEST_ATTRIBUTES),
    "strange": lambda index: (json.dumps(an_order(f"ord-{index}")), {}),
}
fates = st.lists(
    st.builds(Fate, st.sampled_from(["good", "good", "good", *MAKERS]), st.sampled_from([0, 0, 1, 2, 3, 99])),
    max_size=24,
)


@settings(max_examples=60)
@given(fates)
def test_every_message_ends_in_exactly_one_place(
    notification: ModuleType, aws_errors: AwsErrors, no_waits: None, fates: list[Fate]
) -> None:
    fake = FakeAws(fates)
    aws_errors.on("PutEvents", fake.put_events)
    aws_errors.on("SendMessage", fake.send_message)
    event = a_queue_event(*(MAKERS[fate.kind](index) for index, fate in enumerate(fates)))
    back = [int(name.removeprefix("message-")) for name in returned(call(notification, event))]
    ends = sorted(fake.published + fake.dead + back)
    assert ends == list(range(len(fates))), "published, dead-lettered or given back: one of them, once, for each"
    assert all(fates[index].kind == "good" for index in fake.published)
    assert all(fates[index].kind != "good" for index in fake.dead)


@pytest.mark.parametrize("missing", ["HUB_BUS_NAME", "DEAD_LETTER_QUEUE_URL"])
def test_a_missing_setting_stops_the_start(aws: None, missing: str) -> None:
    environment = {"HUB_BUS_NAME": "hub", "DEAD_LETTER_QUEUE_URL": "https://queue.example"} | {missing: ""}
    with pytest.raises(Exception, match=f"{missing} is not set"):
        load_function("notification", environment)
