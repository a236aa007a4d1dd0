"""The courier's client, against real HTTP on the loopback interface."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from threading import Thread

import pytest

from hub.courier import Answer, Courier
from hub.events import Event, order_notified
from hub.outcomes import Outcome
from tests.unit.courier_server import CourierServer, Reply, Request
from tests.unit.orders import CORRELATION_ID, COURIER_KEY, RECEIVED_AT, an_order
from tests.unit.output import Output


@dataclass
class Keys:
    """Gives a key, and a fresh one to whoever says that it was refused."""

    current: str = COURIER_KEY
    fresh: str = COURIER_KEY
    asked: list[bool] = field(default_factory=list)

    def __call__(self, refused: bool) -> str:
        self.asked.append(refused)
        if refused:
            self.current = self.fresh
        return self.current


def an_event(order_id: str = "ord-1") -> Event:
    order = an_order(order_id)
    return order_notified(order, correlation_id=CORRELATION_ID, received_at=RECEIVED_AT)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def client(courier: CourierServer, keys: Keys) -> Courier:
    return Courier(courier.url, timeout=2.0, api_key=keys)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody else can begin to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def test_a_delivery_is_one_post_of_the_order_as_json(client: Courier, courier: CourierServer) -> None:
    answer = client.deliver(an_event())
    assert answer == Answer(Outcome.DELIVERED, "HTTP 201", 201, None, '{"message": "scheduled"}')
    [request] = courier.requests
    assert json.loads(request.body) == an_order()
    assert request.headers["Content-Type"] == "application/json"


def test_a_call_carries_key_idempotency_key_and_correlation_id(client: Courier, courier: CourierServer) -> None:
    event = an_event()
    client.deliver(event)
    [request] = courier.requests
    assert request.headers["x-api-key"] == COURIER_KEY
    assert request.headers["Idempotency-Key"] == event.event_id, "the same for every call of an order"
    assert request.headers["X-Correlation-Id"] == CORRELATION_ID


def test_letters_of_all_the_world_arrive(client: Courier, courier: CourierServer) -> None:
    order = an_order(items=[{"sku": "Größe & 100 % + 🎁\n", "quantity": 1, "unit_price": 1}])
    event = order_notified(order, correlation_id=CORRELATION_ID, received_at=RECEIVED_AT)
    client.deliver(event)
    assert json.loads(courier.requests[0].body) == order


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (202, Outcome.DELIVERED),
        (429, Outcome.THROTTLED),
        (408, Outcome.TRANSIENT),
        (422, Outcome.PERMANENT),
        (500, Outcome.UNHEALTHY),
        (503, Outcome.UNHEALTHY),
    ],
)
def test_the_status_gives_the_outcome_and_the_reason(
    client: Courier, courier: CourierServer, status: int, outcome: Outcome
) -> None:
    courier.answers(Reply(status))
    answer = client.deliver(an_event())
    assert (answer.outcome, answer.status, answer.reason) == (outcome, status, f"HTTP {status}")
    assert len(courier.requests) == 1, "one delivery is one call: whoever retries is paced, this client is not"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(client: Courier, courier: CourierServer, status: int) -> None:
    courier.answers(Reply(status, {"Location": f"{courier.url}/elsewhere"}))
    assert client.deliver(an_event()).outcome is Outcome.UNHEALTHY
    assert len(courier.requests) == 1, "the API key must not be handed to wherever an answer points"


def test_retry_after_in_seconds(client: Courier, courier: CourierServer) -> None:
    courier.answers(Reply(503, {"Retry-After": "17"}))
    answer = client.deliver(an_event())
    assert (answer.outcome, answer.retry_after) == (Outcome.THROTTLED, 17.0)


def test_retry_after_as_a_date(client: Courier, courier: CourierServer) -> None:
    courier.answers(Reply(429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)}))
    retry_after = client.deliver(an_event()).retry_after
    assert retry_after == pytest.approx(60, abs=5)


@pytest.mark.parametrize("value", ["soon", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
def test_an_unreadable_retry_after_is_none(client: Courier, courier: CourierServer, value: str) -> None:
    courier.answers(Reply(503, {"Retry-After": value}))
    answer = client.deliver(an_event())
    assert (answer.outcome, answer.retry_after) == (Outcome.UNHEALTHY, None)


def test_no_answer_in_time_is_unhealthy_and_says_so(courier: CourierServer, keys: Keys) -> None:
    courier.answers(Reply(delay=1.0))
    started = time.monotonic()
    answer = Courier(courier.url, timeout=0.2, api_key=keys).deliver(an_event())
    assert (answer.outcome, answer.status) == (Outcome.UNHEALTHY, None)
    assert answer.reason == "no answer within 0.2 s"
    assert time.monotonic() - started < 0.8


def test_an_answer_that_trickles_in_is_bounded_by_the_timeout_too(courier: CourierServer, keys: Keys) -> None:
    courier.answers(Reply(body=b"x" * 30, pause_between_bytes=0.05))
    started = time.monotonic()
    answer = Courier(courier.url, timeout=0.2, api_key=keys).deliver(an_event())
    took = time.monotonic() - started
    assert took < 1.0, "a call has to end in time even if each byte of its answer comes just before the next timeout"
    assert answer.outcome in (Outcome.UNHEALTHY, Outcome.DELIVERED)


def test_a_refused_connection_is_unhealthy(closed_port: int, keys: Keys) -> None:
    answer = Courier(f"http://127.0.0.1:{closed_port}/", timeout=1.0, api_key=keys).deliver(an_event())
    assert (answer.outcome, answer.status) == (Outcome.UNHEALTHY, None)
    assert answer.reason.startswith("connection failed: ")


def test_a_name_that_does_not_resolve_is_unhealthy(keys: Keys) -> None:
    answer = Courier("http://courier.invalid/", timeout=1.0, api_key=keys).deliver(an_event())
    assert answer.outcome is Outcome.UNHEALTHY
    assert answer.reason.startswith("connection failed: ")


def test_a_broken_connection_is_unhealthy_and_the_next_call_opens_a_new_one(
    client: Courier, courier: CourierServer
) -> None:
    courier.answers(Reply(hangs_up=True))
    assert client.deliver(an_event()).outcome is Outcome.UNHEALTHY
    courier.answers(Reply())
    assert client.deliver(an_event()).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("status", [401, 403])
def test_a_rotated_key_is_read_afresh_and_tried_once(courier: CourierServer, status: int) -> None:
    def only_new(request: Request) -> Reply:
        return Reply(201 if request.headers["x-api-key"] == "new" else status)

    courier.reply = only_new
    keys = Keys(current="old", fresh="new")
    answer = Courier(courier.url, timeout=2.0, api_key=keys).deliver(an_event())
    assert answer.outcome is Outcome.DELIVERED
    assert [request.headers["x-api-key"] for request in courier.requests] == ["old", "new"]
    assert keys.asked == [False, True]


@pytest.mark.parametrize("status", [401, 403])
def test_an_unchanged_key_is_not_tried_again(client: Courier, courier: CourierServer, keys: Keys, status: int) -> None:
    courier.answers(Reply(status))
    answer = client.deliver(an_event())
    assert (answer.outcome, answer.status) == (Outcome.PERMANENT, status)
    assert len(courier.requests) == 1, "the same question gets the same answer"
    assert keys.asked == [False, True]


def test_a_rotated_key_that_is_refused_too_is_the_end_of_it(courier: CourierServer) -> None:
    courier.answers(Reply(403))
    answer = Courier(courier.url, timeout=2.0, api_key=Keys("old", "new")).deliver(an_event())
    assert answer.outcome is Outcome.PERMANENT
    assert len(courier.requests) == 2


def test_other_refusals_do_not_ask_for_a_new_key(client: Courier, courier: CourierServer, keys: Keys) -> None:
    courier.answers(Reply(422))
    client.deliver(an_event())
    assert keys.asked == [False], "reading a secret costs time and money"


def test_only_the_start_of_the_answer_is_kept(client: Courier, courier: CourierServer) -> None:
    courier.answers(Reply(422, body=b"n" * 100_000))
    assert client.deliver(an_event()).body == "n" * 16 * 1024


def test_an_answer_that_is_no_text_is_kept_as_far_as_it_is_one(client: Courier, courier: CourierServer) -> None:
    courier.answers(Reply(422, body=b"\xff\xfe ok"))
    assert client.deliver(an_event()).body == "\ufffd\ufffd ok"


def test_calls_one_after_the_other_share_a_connection(client: Courier, courier: CourierServer) -> None:
    courier.answers(Reply(), ord_2=Reply(500), ord_3=Reply(422, body=b"x" * 10_000))
    for order_id in ("ord-1", "ord-2", "ord-3", "ord-4"):
        client.deliver(an_event(order_id))
    assert len({request.connection for request in courier.requests}) == 1, (
        "a TLS handshake for each order would cost more than the call"
    )


def test_a_call_leaves_a_line_with_outcome_and_duration(
    client: Courier, courier: CourierServer, output: Callable[[], Output]
) -> None:
    courier.answers(Reply(429, {"Retry-After": "3"}))
    client.deliver(an_event())
    [line] = output().logs
    assert (line["outcome"], line["http_status"], line["retry_after"]) == ("throttled", 429, 3.0)
    assert 0 <= line["duration_seconds"] < 2


def test_the_timeout_can_be_asked_for() -> None:
    assert Courier("http://courier.invalid/", timeout=4.5, api_key=Keys()).timeout == 4.5


def test_an_interim_answer_is_never_taken_for_the_next_orders(keys: Keys) -> None:
    """A courier that sends 103 first: its 201 must not be read as the answer to whoever uses the connection next."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        for final in (b"201 Created", b"503 Service Unavailable"):
            connection, _ = listener.accept()
            connections.append(connection)
            connection.recv(65536)
            if final.startswith(b"201"):
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                time.sleep(0.2)
            with contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 " + final + b"\r\nContent-Length: 0\r\n\r\n")

    thread = Thread(target=serve, daemon=True)
    thread.start()
    client = Courier(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=2.0, api_key=keys)
    try:
        assert client.deliver(an_event("ord-a")).outcome is Outcome.UNHEALTHY
        time.sleep(0.4)
        assert client.deliver(an_event("ord-b")).status == 503, "not the 201 that was meant for ord-a"
    finally:
        thread.join(timeout=5)
        for connection in (*connections, listener):
            connection.close()
