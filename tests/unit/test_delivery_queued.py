"""DeliveryFunction with flow control: each message ends as its courier's answer asks, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from threading import Barrier
from types import ModuleType
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.courier import Answer, Courier
from hub.events import DELIVERY_COMPLETED, DELIVERY_FAILED
from tests.unit.aws import BUS, AwsErrors, Bus, Queue, create_table
from tests.unit.courier_server import CourierServer, Reply, Request
from tests.unit.lambda_functions import Context, call, load_function, returned
from tests.unit.orders import COURIER_KEY, PRIVATE, RECEIVED_AT, an_envelope, an_order, compact, correlation_of
from tests.unit.output import Output

type Read = Callable[[], Output]

TIMEOUT = 1.0
MAXIMUM_RECEIVES = 50


@dataclass
class Delivery:
    """The function between its queues, its bus and its courier."""

    function: ModuleType
    queue: Queue
    dead_letters: Queue
    bus: Bus
    secret_arn: str

    def deliver(self, *bodies: str, receive_count: int = 1, context: Context | None = None) -> dict[str, Any]:
        """Send messages, let the function have them as one batch, and delete what it does not give back."""
        self.queue.send(*bodies)
        event = self.queue.batch()
        for record in event["Records"]:
            record["attributes"]["ApproximateReceiveCount"] = str(receive_count)
        response: dict[str, Any] = call(self.function, event, context or Context(seconds=30))
        self.queue.settle(event, response)
        return response

    def left(self) -> list[str]:
        """The orders that are still in the queue."""
        return [json.loads(body)["detail"]["data"]["order_id"] for body in self.queue.bodies]

    def hidden_seconds(self) -> float:
        """For how long the only message of the queue is hidden."""
        [seconds] = self.queue.hidden_seconds().values()
        return seconds


@pytest.fixture
def delivery(bus: Bus, courier: CourierServer) -> Delivery:
    queue, dead_letters = Queue("deliveries"), Queue("delivery-dead-letters")
    create_table("delivery", "pk")
    secret = boto3.client("secretsmanager").create_secret(
        Name="courier", SecretString=json.dumps({"api_key": COURIER_KEY})
    )
    function = load_function(
        "delivery",
        {
            "FLOW_CONTROL": "enabled",
            "HUB_BUS_NAME": BUS,
            "COURIER_URL": courier.url,
            "COURIER_SECRET_ARN": secret["ARN"],
            "COURIER_TIMEOUT": str(TIMEOUT),
            "REMEMBERED_SECONDS": "5184000",
            "COURIER_RATE": "1000",  # so fast that no test waits for its pace
            "COURIER_BURST": "1000",
            "MAXIMUM_CONCURRENCY": "1",
            "MAXIMUM_RECEIVES": str(MAXIMUM_RECEIVES),
            "DELIVERY_TABLE_NAME": "delivery",
            "DELIVERY_QUEUE_URL": queue.url,
            "DEAD_LETTER_QUEUE_URL": dead_letters.url,
        },
    )
    return Delivery(function, queue, dead_letters, bus, secret["ARN"])


def body(order_id: str = "ord-1") -> str:
    return compact(an_envelope(an_order(order_id)))


# --------------------------------------------------------------------- the table of the design, answer by answer


def test_a_delivered_order_leaves_the_queue_and_is_reported(
    delivery: Delivery, courier: CourierServer, output: Read
) -> None:
    assert delivery.deliver(body(), receive_count=3) == {"batchItemFailures": []}
    [request] = courier.requests
    assert json.loads(request.body) == an_order()
    assert request.headers["x-api-key"] == COURIER_KEY
    [event] = delivery.bus.published()
    assert event["detail-type"] == DELIVERY_COMPLETED
    assert event["detail"]["data"]["order_id"] == "ord-1"
    assert event["detail"]["data"]["attempts"] == 3, "as often as the queue handed it out"
    assert event["detail"]["metadata"]["correlation_id"] == correlation_of(an_order())
    written = output()
    assert written.metric("CallsDelivered") == 1
    assert written.metric("Pace") == 1000
    assert written.metric("DeliveryDelay") == pytest.approx(
        (datetime.fromisoformat(event["detail"]["data"]["delivered_at"]) - RECEIVED_AT).total_seconds(), abs=5
    )
    assert written.statuses(correlation_of(an_order())) == ["START", "COMPLETED"]


BACK = {
    "throttled": Reply(429, {"Retry-After": "3"}),
    "throttled by 503": Reply(503, {"Retry-After": "3"}),
    "unhealthy": Reply(500),
    "unhealthy 502": Reply(502),
    "unhealthy 503": Reply(503),
    "no answer": Reply(delay=TIMEOUT + 0.3),
    "broken connection": Reply(hangs_up=True),
    "transient 408": Reply(408),
    "transient 425": Reply(425),
}


@pytest.mark.parametrize("kind", BACK)
def test_what_may_succeed_later_goes_back_to_the_queue(
    kind: str, delivery: Delivery, courier: CourierServer, output: Read
) -> None:
    courier.answers(BACK[kind])
    assert len(returned(delivery.deliver(body()))) == 1
    assert delivery.left() == ["ord-1"]
    assert courier.calls("ord-1") == 1, "the next call is the queue's to time, not this invocation's"
    assert delivery.bus.published() == []
    assert delivery.dead_letters.letters() == []
    metric = f"Calls{kind.split()[0].capitalize()}" if kind.split()[0] not in ("no", "broken") else "CallsUnhealthy"
    assert output().metric(metric) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_what_the_courier_will_never_take_goes_to_the_dead_letters_at_once(
    status: int, delivery: Delivery, courier: CourierServer, output: Read
) -> None:
    courier.answers(Reply(status, body=b'{"message": "not deliverable"}'))
    assert delivery.deliver(body()) == {"batchItemFailures": []}
    assert delivery.left() == [], "further tries would be burnt"
    [(letter, facts)] = delivery.dead_letters.letters()
    assert letter == body()
    assert facts["outcome"] == "permanent"
    assert facts["reason"] == f"HTTP {status}"
    assert "not deliverable" in facts["answer"]
    assert facts["correlation_id"] == correlation_of(an_order())
    [event] = delivery.bus.published()
    assert event["detail-type"] == DELIVERY_FAILED
    assert event["detail"]["data"]["reason"] == f"HTTP {status}"
    assert output().metric("CallsPermanent") == 1


def unreadable() -> dict[str, tuple[str, str]]:
    future = an_envelope()
    future["detail"]["metadata"]["schema_version"] = "2"
    broken = an_envelope()
    broken["detail"]["data"]["items"] = []
    return {
        "not JSON": ("order 17", "not JSON"),
        "no event": ("{}", "no event from the bus"),
        "another event": (compact(an_envelope() | {"detail-type": "order.cancelled"}), "detail-type must be"),
        "an unknown schema version": (compact(future), "schema_version is '2'"),
        "a broken rule": (compact(broken), "order.notified.data.items breaks the rule minItems"),
        "nested without end": ('{"a":' * 40_000 + "1" + "}" * 40_000, ""),
    }


@pytest.mark.parametrize("kind", unreadable())
def test_an_unreadable_message_goes_to_the_dead_letters_without_a_call(
    kind: str, delivery: Delivery, courier: CourierServer, output: Read
) -> None:
    poison, reason = unreadable()[kind]
    assert delivery.deliver(body("ord-1"), poison, body("ord-3")) == {"batchItemFailures": []}
    assert {request.order_id for request in courier.requests} == {"ord-1", "ord-3"}
    assert len(delivery.bus.published(DELIVERY_COMPLETED)) == 2, "the rest of the batch goes on"
    [(letter, facts)] = delivery.dead_letters.letters()
    assert letter == poison
    assert facts["outcome"] == "poison"
    assert reason in facts["reason"]
    assert output().metric("CallsPoison") == 1


def test_a_batch_with_one_poison_one_permanent_and_eight_good(delivery: Delivery, courier: CourierServer) -> None:
    courier.answers(Reply(), ord_5=Reply(422))
    bodies = [body(f"ord-{index}") for index in range(9)] + ["poison"]
    assert delivery.deliver(*bodies) == {"batchItemFailures": []}
    assert delivery.queue.bodies == []
    letters = dict(delivery.dead_letters.letters())
    assert {facts["outcome"] for facts in letters.values()} == {"poison", "permanent"}
    assert set(letters) == {"poison", body("ord-5")}
    completed = {event["detail"]["data"]["order_id"] for event in delivery.bus.published(DELIVERY_COMPLETED)}
    assert completed == {f"ord-{index}" for index in range(9)} - {"ord-5"}
    assert len(courier.requests) == 9


def test_an_outage_of_the_couriers_name_is_no_more_than_an_unhealthy_courier(
    delivery: Delivery, courier: CourierServer
) -> None:
    courier.__exit__()
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2")))) == 2
    assert sorted(delivery.left()) == ["ord-1", "ord-2"]


@pytest.mark.parametrize("status", [500, 429])
def test_an_order_is_given_up_with_a_reason_before_the_queue_does_it_without_one(
    status: int, delivery: Delivery, courier: CourierServer
) -> None:
    courier.answers(Reply(status))
    assert delivery.deliver(body(), receive_count=MAXIMUM_RECEIVES) == {"batchItemFailures": []}
    [(_, facts)] = delivery.dead_letters.letters()
    assert f"given up after {MAXIMUM_RECEIVES} receives" in facts["reason"]
    assert f"HTTP {status}" in facts["reason"]
    assert len(delivery.bus.published(DELIVERY_FAILED)) == 1


def test_an_order_that_the_queue_delivers_twice_is_asked_for_once(delivery: Delivery, courier: CourierServer) -> None:
    for _ in range(2):
        assert delivery.deliver(body()) == {"batchItemFailures": []}
    assert courier.calls("ord-1") == 1, "SQS delivers at least once; the customer wants one parcel"


# ---------------------------------------------------------------------------------------------------- backoff


@pytest.mark.parametrize(("receive_count", "ceiling"), [(1, 2), (2, 4), (3, 8), (10, 120)])
def test_a_failed_order_is_hidden_for_its_backoff(
    receive_count: int, ceiling: int, delivery: Delivery, courier: CourierServer
) -> None:
    courier.answers(Reply(500))
    delivery.deliver(body(), receive_count=receive_count)
    assert delivery.hidden_seconds() <= ceiling, "not for the queue's visibility timeout of 900 s"


def test_the_log_says_when_an_order_comes_again(delivery: Delivery, courier: CourierServer, output: Read) -> None:
    courier.answers(Reply(429, {"Retry-After": "40"}))
    delivery.deliver(body())
    [line] = [line for line in output().logs if line.get("status") == "RETRY"]
    assert line["retry_in_seconds"] == pytest.approx(delivery.hidden_seconds(), abs=1.0)
    assert (line["correlation_id"], line["order_id"]) == ("correlation-of-ord-1", "ord-1")
    assert (line["outcome"], line["reason"], line["attempt"]) == ("throttled", "HTTP 429", 1)


def test_the_log_says_why_the_courier_was_not_called(delivery: Delivery, courier: CourierServer, output: Read) -> None:
    delivery.deliver(body())
    delivery.deliver(body())
    [line] = [line for line in output().logs if line.get("message") == "courier not called"]
    assert line["reason"] == "taken before: HTTP 201 (correlation id correlation-of-ord-1)"


def test_the_backoff_of_many_orders_is_spread(delivery: Delivery, courier: CourierServer) -> None:
    courier.answers(Reply(500))
    delivery.deliver(*(body(f"ord-{index}") for index in range(10)), receive_count=7)
    assert len(set(delivery.queue.hidden_seconds().values())) > 3, "they must not come back as one crowd"


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttled_order_is_not_seen_again_before_retry_after(
    status: int, delivery: Delivery, courier: CourierServer
) -> None:
    courier.answers(Reply(status, {"Retry-After": "40"}))
    delivery.deliver(body())
    assert 39 <= delivery.hidden_seconds() <= 45


@pytest.mark.parametrize("asked", ["100000", "9" * 30])
def test_no_order_is_hidden_for_longer_than_sqs_can(asked: str, delivery: Delivery, courier: CourierServer) -> None:
    courier.answers(Reply(429, {"Retry-After": asked}))
    delivery.deliver(body())
    assert 11 * 3600 < delivery.hidden_seconds() <= 12 * 3600, "12 hours in all, counted from the receive"


def test_a_retry_after_that_is_no_number_of_this_world_hurts_nobody(delivery: Delivery, courier: CourierServer) -> None:
    courier.answers(Reply(429, {"Retry-After": "9" * 400}))
    assert len(returned(delivery.deliver(body("ord-1"), "poison"))) == 1
    assert delivery.left() == ["ord-1"]
    assert delivery.hidden_seconds() <= 43_200


def test_messages_whose_backoff_cannot_be_set_go_back_all_the_same(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors
) -> None:
    def one_fails(parameters: Mapping[str, Any], proceed: Callable[[Mapping[str, Any]], Any]) -> Any:
        first, *others = parameters["Entries"]
        answer = proceed({**parameters, "Entries": others})
        failed = {"Id": first["Id"], "Code": "InternalError", "SenderFault": False}
        return {**answer, "Failed": [*answer.get("Failed", []), failed]}

    aws_errors.on("ChangeMessageVisibilityBatch", one_fails)
    courier.answers(Reply(500), ord_3=Reply())
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2"), body("ord-3")))) == 2
    assert sorted(delivery.left()) == ["ord-1", "ord-2"]


def test_an_outage_of_the_queues_api_does_not_take_delivered_orders_back(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors
) -> None:
    aws_errors.refuse("ChangeMessageVisibilityBatch", "ServiceUnavailable")
    aws_errors.refuse("ChangeMessageVisibility", "ServiceUnavailable")
    courier.answers(Reply(), ord_2=Reply(500))
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2")))) == 1
    assert delivery.left() == ["ord-2"], "an exception would give the whole batch back, and ord-1 would come twice"


# ------------------------------------------------------------------------------------------------------- time


def test_without_time_for_a_call_no_call_is_begun(delivery: Delivery, courier: CourierServer, output: Read) -> None:
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2"), context=Context(seconds=TIMEOUT + 0.5)))) == 2
    assert courier.requests == [], "a call that is cut off by the function's timeout may have had its effect"
    assert sorted(delivery.left()) == ["ord-1", "ord-2"]
    assert output().metric("CallsUntried") == 2


def test_without_time_poison_is_settled_all_the_same(delivery: Delivery) -> None:
    assert delivery.deliver("poison", context=Context(seconds=TIMEOUT + 0.5)) == {"batchItemFailures": []}
    assert len(delivery.dead_letters.letters()) == 1


def test_the_orders_of_a_batch_are_called_for_in_parallel(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(10)
    post = Courier._post

    def meet(self: Courier, *arguments: Any, **named: Any) -> Answer:
        together.wait(timeout=5)  # ends when ten calls are under way at once, and fails if they come one by one
        return post(self, *arguments, **named)

    monkeypatch.setattr(Courier, "_post", meet)
    assert delivery.deliver(*(body(f"ord-{index}") for index in range(10))) == {"batchItemFailures": []}


# ------------------------------------------------------------------------------------------ when AWS itself fails


def test_an_order_whose_completion_is_not_on_the_bus_goes_back(
    delivery: Delivery, aws_errors: AwsErrors, no_waits: None
) -> None:
    aws_errors.refuse_events(lambda detail: "ord-2" in detail)
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2"), body("ord-3")))) == 1
    assert delivery.left() == ["ord-2"], "the company was not told yet"
    assert len(delivery.bus.published(DELIVERY_COMPLETED)) == 2


def test_an_order_whose_completion_was_not_told_is_told_later_without_another_call(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors, no_waits: None
) -> None:
    aws_errors.refuse("PutEvents", "InternalException")
    assert len(returned(delivery.deliver(body()))) == 1
    aws_errors.refuse("PutEvents", times=0)
    delivery.queue.forget()
    assert delivery.deliver(body(), receive_count=2) == {"batchItemFailures": []}
    assert len(delivery.bus.published(DELIVERY_COMPLETED)) == 1
    assert courier.calls("ord-1") == 1


def test_a_refused_order_whose_failure_is_not_on_the_bus_is_not_dead_lettered_yet(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors, no_waits: None
) -> None:
    aws_errors.refuse("PutEvents", "InternalException")
    courier.answers(Reply(422))
    assert len(returned(delivery.deliver(body()))) == 1
    assert delivery.left() == ["ord-1"]
    assert delivery.dead_letters.letters() == [], "it would be there twice after the next try"


def test_what_the_dead_letters_do_not_take_goes_back(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors
) -> None:
    delivery.queue.send("poison", body("ord-2"), body("ord-3"))
    event = delivery.queue.batch()
    aws_errors.refuse("SendMessage")
    courier.answers(Reply(), ord_2=Reply(422))
    response = call(delivery.function, event)
    delivery.queue.settle(event, response)
    assert sorted(delivery.queue.bodies) == sorted(["poison", body("ord-2")])


def test_an_unexpected_exception_in_one_order_hurts_no_other(
    delivery: Delivery, courier: CourierServer, monkeypatch: pytest.MonkeyPatch, output: Read
) -> None:
    from hub.courier import Courier

    original = Courier.deliver

    def deliver(self: Courier, order: Any, *rest: Any, **named: Any) -> Any:
        if order.order_id == "ord-2":
            raise LookupError("nobody has thought of this")
        return original(self, order, *rest, **named)

    monkeypatch.setattr(Courier, "deliver", deliver)
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2"), body("ord-3")))) == 1
    assert delivery.left() == ["ord-2"]
    assert len(delivery.bus.published(DELIVERY_COMPLETED)) == 2
    assert "nobody has thought of this" in output().text


def test_without_the_secret_every_order_goes_back(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors
) -> None:
    aws_errors.refuse("GetSecretValue", "InternalServiceError")
    assert len(returned(delivery.deliver(body("ord-1"), body("ord-2")))) == 2
    assert courier.requests == []
    assert delivery.dead_letters.letters() == []


# -------------------------------------------------------------------------------------------------------- the key


def test_the_key_is_read_once_for_many_batches(delivery: Delivery, aws_errors: AwsErrors) -> None:
    for batch in range(3):
        delivery.deliver(*(body(f"ord-{batch}-{index}") for index in range(5)))
    assert aws_errors.count("GetSecretValue") == 1, "a secret read on each invocation is paid for on each invocation"


def test_a_rotated_key_is_picked_up_without_a_failed_order(delivery: Delivery, courier: CourierServer) -> None:
    delivery.deliver(body("ord-1"))

    def only_new(request: Request) -> Reply:
        return Reply(201 if request.headers["x-api-key"] == "rotated" else 403)

    courier.reply = only_new
    boto3.client("secretsmanager").put_secret_value(
        SecretId=delivery.secret_arn, SecretString=json.dumps({"api_key": "rotated"})
    )
    assert delivery.deliver(body("ord-2"), body("ord-3")) == {"batchItemFailures": []}
    assert delivery.dead_letters.letters() == []
    assert len(delivery.bus.published(DELIVERY_COMPLETED)) == 3


# ----------------------------------------------------------------------------------------------------- the log


def test_every_line_about_an_order_carries_its_correlation_id(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors, output: Read, no_waits: None
) -> None:
    courier.answers(Reply(), ord_2=Reply(422), ord_3=Reply(500))
    aws_errors.refuse_events(lambda detail: "ord-4" in detail)
    delivery.deliver(*(body(f"ord-{index}") for index in range(1, 5)))
    known = {correlation_of(an_order(f"ord-{index}")) for index in range(1, 5)}
    nobodys = [line for line in output().logs if line.get("correlation_id") not in known]
    assert not nobodys, "whoever follows one order through the log filters by its correlation id"


def test_parallel_orders_do_not_mix_their_lines(delivery: Delivery, courier: CourierServer, output: Read) -> None:
    courier.answers(Reply(delay=0.05))
    delivery.deliver(*(body(f"ord-{index}") for index in range(10)))
    for line in output().logs:
        if "order_id" in line:
            assert line["correlation_id"] == correlation_of(an_order(line["order_id"]))


def test_a_dead_letter_shows_no_private_value_beside_its_body(delivery: Delivery, courier: CourierServer) -> None:
    echo = json.dumps({"message": "not deliverable", "you_sent": an_order()}).encode()
    courier.answers(Reply(422, body=echo), ord_2=Reply(422, body=b" " * 400 + echo))
    delivery.deliver(body("ord-1"), body("ord-2"))
    letters = delivery.dead_letters.letters()
    assert len(letters) == 2
    for _, facts in letters:
        leaked = [name for name, value in PRIVATE.items() if value in json.dumps(facts, ensure_ascii=False)]
        assert not leaked, "attributes are copied into alarms and consoles"


# ------------------------------------------------------------------------------------------------ nothing is lost


replies = st.sampled_from([Reply(), Reply(422), Reply(500), Reply(429), Reply(hangs_up=True)])
examples = count()  # an order of an earlier example is known already, and would not be called for
members = st.lists(st.tuples(st.sampled_from(["good", "good", "poison"]), replies, st.booleans()), max_size=10)


@settings(max_examples=15)
@given(members=members, dead_letters_work=st.booleans())
def test_every_message_ends_in_exactly_one_place(
    delivery: Delivery,
    courier: CourierServer,
    aws_errors: AwsErrors,
    no_waits: None,
    members: list[tuple[str, Reply, bool]],
    dead_letters_work: bool,
) -> None:
    """Completed, dead-lettered or back in the queue; each member says what it is and whether the bus takes it."""
    delivery.queue.forget()
    example = next(examples)
    courier.reply = lambda request: members[int(request.order_id.rpartition("-")[2])][1]
    refused = {f'"ord-{example}-{index}"' for index, (_, _, told) in enumerate(members) if not told}
    aws_errors.refuse_events(lambda detail: any(name in detail for name in refused))
    bodies = [
        body(f"ord-{example}-{index}") if kind == "good" else f"poison {index}"
        for index, (kind, _, _) in enumerate(members)
    ]
    delivery.queue.send(*bodies)
    event = delivery.queue.batch()
    aws_errors.refuse("SendMessage", when=lambda _: not dead_letters_work)
    delivery.queue.settle(event, call(delivery.function, event))
    aws_errors.refuse("SendMessage", times=0)
    completed = [event["detail"]["data"]["order_id"] for event in delivery.bus.published(DELIVERY_COMPLETED)]
    ends = [body(name) for name in completed] + [letter for letter, _ in delivery.dead_letters.letters()]
    assert sorted(ends + delivery.queue.bodies) == sorted(bodies)


# ------------------------------------------------------------------------------- what has hurt an order once already


def test_another_order_under_a_used_order_id_goes_to_people(delivery: Delivery, courier: CourierServer) -> None:
    delivery.deliver(body())
    changed = compact(an_envelope(an_order("ord-1", total=1)))
    assert delivery.deliver(changed) == {"batchItemFailures": []}
    assert courier.calls("ord-1") == 1
    [(letter, facts)] = delivery.dead_letters.letters()
    assert letter == changed
    assert "order_id was used before" in facts["reason"]


def test_the_couriers_answer_counts_even_if_it_cannot_be_recorded(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors
) -> None:
    aws_errors.refuse("UpdateItem")
    assert delivery.deliver(body()) == {"batchItemFailures": []}, "it was delivered: asking again gains nothing"
    assert courier.calls("ord-1") == 1


def test_a_refusal_is_kept_to_even_if_its_item_cannot_be_removed(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors
) -> None:
    courier.answers(Reply(503, {"Retry-After": "30"}))
    aws_errors.refuse("DeleteItem")
    delivery.deliver(body())
    assert delivery.hidden_seconds() > 28


def test_orders_without_a_slot_wait_for_the_end_of_the_couriers_pause(
    delivery: Delivery, courier: CourierServer
) -> None:
    courier.answers(Reply(429, {"Retry-After": "600"}))
    delivery.deliver(body("ord-1"))
    delivery.queue.forget()
    delivery.deliver(body("ord-2"))
    assert courier.calls("ord-2") == 0
    assert delivery.hidden_seconds() > 590, "every receive before that would be one for nothing"


def test_a_key_that_no_header_can_carry_is_not_shown(delivery: Delivery, courier: CourierServer, output: Read) -> None:
    key = "courier-key\nnobody-may-see"
    boto3.client("secretsmanager").put_secret_value(
        SecretId=delivery.secret_arn, SecretString=json.dumps({"api_key": key})
    )
    delivery.deliver(body(), receive_count=MAXIMUM_RECEIVES)
    [(_, facts)] = delivery.dead_letters.letters()
    assert "nobody-may-see" not in json.dumps(facts) + output().text


def test_a_courier_that_repeats_our_key_does_not_get_it_into_a_dead_letter(
    delivery: Delivery, courier: CourierServer
) -> None:
    courier.answers(Reply(403, body=f"unknown key {COURIER_KEY}".encode()))
    delivery.deliver(body())
    [(_, facts)] = delivery.dead_letters.letters()
    assert COURIER_KEY not in json.dumps(facts)


# ------------------------------------------------------------------------------------- probes of the circuit breaker


def probe(delivery: Delivery, message: str, *, receive_count: int = 1) -> dict[str, Any]:
    """Send a message, and let the function have it as the circuit breaker's probe."""
    delivery.queue.send(message)
    event = delivery.queue.batch() | {"probe": True}
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(receive_count)
    answer: dict[str, Any] = call(delivery.function, event, Context(seconds=30))
    return answer


def test_a_probe_of_a_healthy_courier_is_a_delivery(delivery: Delivery, courier: CourierServer) -> None:
    assert probe(delivery, body()) == {"batchItemFailures": [], "verdict": "healthy"}
    assert [event["detail-type"] for event in delivery.bus.published()] == [DELIVERY_COMPLETED]
    assert probe(delivery, body())["verdict"] == "nothing", "an order that was taken before says nothing about today"
    assert courier.calls("ord-1") == 1


def test_a_probe_says_in_the_log_what_it_found(delivery: Delivery, courier: CourierServer, output: Read) -> None:
    courier.answers(Reply(500))
    probe(delivery, body())
    [line] = [line for line in output().logs if line.get("status") == "PROBE"]
    assert (line["verdict"], line["correlation_id"]) == ("sick", "correlation-of-ord-1")


@pytest.mark.parametrize("reply", [Reply(500), Reply(429), Reply(hangs_up=True)])
def test_a_probe_of_a_sick_courier_leaves_its_message_as_it_is(
    delivery: Delivery, courier: CourierServer, aws_errors: AwsErrors, reply: Reply
) -> None:
    courier.answers(reply)
    answer = probe(delivery, body(), receive_count=MAXIMUM_RECEIVES)
    assert answer["verdict"] == "sick"
    assert len(answer["batchItemFailures"]) == 1
    assert delivery.dead_letters.letters() == [], "not even at its last receive"
    assert aws_errors.count("ChangeMessageVisibilityBatch") == 0


@pytest.mark.parametrize("message", ["no JSON", body("ord-2")])
def test_poison_and_refused_probes_are_dead_letters_and_say_nothing(
    delivery: Delivery, courier: CourierServer, message: str
) -> None:
    courier.answers(Reply(422))
    assert probe(delivery, message) == {"batchItemFailures": [], "verdict": "nothing"}
    assert len(delivery.dead_letters.letters()) == 1


def test_a_probe_without_a_slot_does_not_hold_its_invocation(delivery: Delivery, courier: CourierServer) -> None:
    began = time.monotonic()
    delivery.queue.send(body())
    event = delivery.queue.batch() | {"probe": True}
    answer = call(delivery.function, event, Context(seconds=3))  # too short for a call
    assert answer["verdict"] == "sick"
    assert time.monotonic() - began < 2
