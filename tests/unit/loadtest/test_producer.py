"""The polite producer, against a real HTTP server, and in virtual time where it waits."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from random import Random

import pytest

from hub.events import check
from loadtest import producer
from loadtest.orders import Order, OrdersError, made_up_orders, read_orders
from loadtest.politeness import Patience, Turn
from loadtest.producer import OrdersApi, Reply, Schedule, Sent, produce, send
from tests.unit.courier_server import CourierServer
from tests.unit.courier_server import Reply as Answer

ORDER = Order("ord-1", b'{"order_id": "ord-1"}')
PATIENCE = Patience(attempts=8, deadline_s=120.0, base_s=0.5, cap_s=20.0)
STORED = Answer(202, body=b'{"status": "accepted", "correlation_id": "c-1"}')


class VirtualTime:
    """Virtual time: sleeping is all that takes any."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def api() -> Iterator[CourierServer]:
    """A server that answers posts, as it is told to."""
    with CourierServer() as server:
        yield server


def sent(replies: list[Reply], patience: Patience = PATIENCE) -> tuple[Sent, list[float]]:
    """Send an order to an API that gives these replies; returns the times of the calls too."""
    virtual, calls, left = VirtualTime(), [], iter(replies)

    def post(order: Order) -> Reply:
        assert order is ORDER, "the very same order each time"
        calls.append(virtual.now)
        return next(left)

    schedule = Schedule(1000.0, clock=virtual.clock, sleep=virtual.sleep)
    result = send(ORDER, post, schedule, patience, random=Random(1), clock=virtual.clock, sleep=virtual.sleep)
    return result, calls


# ----------------------------------------------------------------------------------------------------------- sending


def test_an_order_is_sent_until_it_is_accepted() -> None:
    result, calls = sent(
        [Reply(None, "no answer: TimeoutError"), Reply(503, "", 5.0), Reply(429, "", 1.0), Reply(202, "")]
    )
    assert result.turn is Turn.ACCEPTED
    assert dict(result.retries) == {"no answer: TimeoutError": 1, "HTTP 503": 1, "HTTP 429": 1}
    assert calls[2] - calls[1] >= 5.0
    assert calls[3] - calls[2] >= 1.0


def test_a_refusal_is_final() -> None:
    result, calls = sent([Reply(400, "items is missing")])
    assert (result.turn, len(calls)) == (Turn.REFUSED, 1)
    assert producer.complaint(result) == "ord-1 refused: HTTP 400 items is missing"


def test_an_order_is_given_up_with_what_was_tried() -> None:
    result, calls = sent([Reply(500, "")] * 8)
    assert (result.turn, len(calls)) == (Turn.GIVEN_UP, 8)
    assert producer.complaint(result) == "ord-1 given up: HTTP 500 (after 8 calls)"


def test_retry_after_is_for_everybody() -> None:
    virtual = VirtualTime()
    schedule = Schedule(10.0, clock=virtual.clock, sleep=virtual.sleep)
    schedule.close(30.0)
    began = virtual.now
    schedule.wait_turn()
    assert virtual.now - began == pytest.approx(30.0)


def test_orders_are_begun_at_their_rate() -> None:
    virtual = VirtualTime()
    schedule = Schedule(4.0, clock=virtual.clock, sleep=virtual.sleep)
    moments = []
    for _ in range(9):
        schedule.wait_turn()
        moments.append(virtual.now - 1000.0)
    assert moments == pytest.approx([number / 4 for number in range(9)])


def test_after_a_stall_orders_do_not_come_as_a_crowd() -> None:
    virtual = VirtualTime()
    schedule = Schedule(4.0, clock=virtual.clock, sleep=virtual.sleep)
    virtual.now += 60.0
    moments = []
    for _ in range(3):
        schedule.wait_turn()
        moments.append(virtual.now)
    assert moments == pytest.approx([1060.0, 1060.25, 1060.5])


# -------------------------------------------------------------------------------------------------------------- HTTP


def test_an_answer_is_read_with_what_it_says(api: CourierServer) -> None:
    api.answers(STORED)
    assert OrdersApi(api.url, "the-key").post(ORDER) == Reply(202, "", None, "c-1")
    [request] = api.requests
    assert request.body == ORDER.body
    assert request.headers["x-api-key"] == "the-key"
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_read_in_seconds_and_as_a_date(api: CourierServer, form: str) -> None:
    value = "30" if form == "seconds" else formatdate(time.time() + 30, usegmt=True)
    api.answers(Answer(429, {"Retry-After": value}, b"{}"))
    asked = OrdersApi(api.url, "k").post(ORDER).retry_after_s
    assert asked is not None
    assert 28.0 <= asked <= 30.0


@pytest.mark.parametrize("answer", [Answer(hangs_up=True), Answer(delay=1.0)], ids=["hangs up", "takes too long"])
def test_no_answer_is_an_answer(api: CourierServer, answer: Answer) -> None:
    api.answers(answer)
    reply = OrdersApi(api.url, "k", timeout_s=0.3).post(ORDER)
    assert reply.status is None
    assert reply.explanation.startswith("no answer: ")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"text"'])
def test_an_answer_that_is_no_json_object_is_read_all_the_same(api: CourierServer, body: bytes) -> None:
    api.answers(Answer(502, {}, body))
    assert OrdersApi(api.url, "k").post(ORDER) == Reply(502, "")


def test_a_redirect_is_not_followed_with_the_key(api: CourierServer) -> None:
    api.answers(Answer(307, {"Location": api.url}, b"{}"))
    assert OrdersApi(api.url, "k").post(ORDER).status == 307
    assert len(api.requests) == 1


# ------------------------------------------------------------------------------------------------------- all of them


def test_all_orders_are_accepted_by_an_api_that_fails_at_first(
    api: CourierServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.reply = lambda request: STORED if api.calls(request.order_id) > 1 else Answer(503, {}, b"{}")
    orders = list(made_up_orders(8, "run"))
    patience = Patience(attempts=3, deadline_s=10.0, base_s=0.01, cap_s=0.02)
    unsent = tmp_path / "unsent.jsonl"
    assert produce(orders, OrdersApi(api.url, "k").post, 1000.0, patience, unsent) == 0
    bodies = {order.order_id: order.body for order in orders}
    assert len(api.requests) == 16
    assert all(request.body == bodies[request.order_id] for request in api.requests)
    shown = capsys.readouterr().out
    assert "make story ID=c-1" in shown
    assert not unsent.exists()


def test_what_is_given_up_is_kept_and_can_be_sent_again(
    api: CourierServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = list(made_up_orders(3, "run"))
    api.answers(
        STORED, **{orders[1].order_id.replace("-", "_"): Answer(500), orders[2].order_id.replace("-", "_"): Answer(400)}
    )
    patience = Patience(attempts=2, deadline_s=10.0, base_s=0.01, cap_s=0.02)
    unsent = tmp_path / "out" / "unsent.jsonl"
    assert produce(orders, OrdersApi(api.url, "k").post, 1000.0, patience, unsent) == 1
    assert read_orders(unsent) == [orders[1]], "the refused one would be refused again"
    assert str(unsent) in capsys.readouterr().out.replace("\n", "")


def test_whoever_stops_it_keeps_every_order_whose_fate_is_not_known(
    api: CourierServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that waits for its next call must not hold up whoever pressed Ctrl-C."""

    def interrupt(*_: object) -> None:
        while not api.requests:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(producer, "follow", interrupt)
    api.answers(Answer(503, {"Retry-After": "60"}, b"{}"))
    orders, unsent = list(made_up_orders(30, "run")), tmp_path / "unsent.jsonl"
    began = time.monotonic()
    assert produce(orders, OrdersApi(api.url, "k").post, 1000.0, PATIENCE, unsent) == 130
    assert time.monotonic() - began < 10
    assert read_orders(unsent) == orders


# ------------------------------------------------------------------------------------------------------------ orders


def test_made_up_orders_follow_the_contract_and_are_nobodys() -> None:
    orders = list(made_up_orders(50, "run"))
    for order in orders:
        document = json.loads(order.body)
        check("order", document)
        cents = sum(item["quantity"] * round(item["unit_price"] * 100) for item in document["items"])
        assert round(document["total"] * 100) == cents
    assert len({order.order_id for order in orders}) == 50


def test_a_file_is_sent_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text('{"order_id": "a",  "note": "ü"}\n\n{"order_id": "b"}\n{"order_id": "b"}\n', encoding="utf-8")
    assert read_orders(path) == [
        Order("a", '{"order_id": "a",  "note": "ü"}'.encode()),
        Order("b", b'{"order_id": "b"}'),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"order_id": "a"}\nnot json', "line 2"),
        ("[]", "line 1"),
        ('{"id": "a"}', "order_id"),
        ('{"order_id": "a"}\n{"order_id": "a", "total": 1}', "line 1 with other content"),
    ],
)
def test_a_file_that_cannot_be_sent_names_the_line(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(text)
    with pytest.raises(OrdersError, match=named):
        read_orders(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OrdersError, match=r"nowhere\.jsonl"):
        read_orders(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"url": None, "stack": None}, "--stack"),
        ({"url": "https://shop.example/orders", "stack": None}, "ORDERS_API_KEY"),
        ({"url": "shop.example/orders", "stack": None}, "whole address"),
    ],
)
def test_who_does_not_say_where_to_is_told_how(
    given: dict[str, str | None], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORDERS_API_KEY", raising=False)
    with pytest.raises(producer.UsageError, match=named):
        producer.address(argparse.Namespace(key=None, **given))


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_API_KEY", "secret")
    given = argparse.Namespace(key=None, url="https://shop.example/orders", stack=None)
    assert producer.address(given) == ("https://shop.example/orders", "secret")
