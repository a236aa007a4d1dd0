"""The polite producer against the hub's API, with a throttle and a network that fails between the two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.stack import ROOT
from tests.integration.deployed_hub import Hub, eventually, order
from tests.runtime.loopback import JsonRequestHandler, LoopbackServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

FAULTS = ["lost answer", "refused before", "failed after", "none"]
"""What happens to each order once, in turn: to its first call, or to the first answer that says that it is stored."""


@dataclass
class BadNetwork:
    """What stands between the producer and the API, and what it did."""

    url: str
    calls: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, order_id: str) -> str:
        """Count a call, and return what is to happen to its order."""
        with self.lock:
            self.calls[order_id] += 1
            return FAULTS[list(self.calls).index(order_id) % len(FAULTS)]

    def forward(self, order_id: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Hand a call to the API."""
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text, received = answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            status, text, received = error.code, error.read(), dict(error.headers)
        with self.lock:
            self.answers[status] += 1
            self.taken[order_id] += status == 202
        return status, text, received


class Gateway(JsonRequestHandler):
    """One connection of the producer."""

    network: BadNetwork

    def do_POST(self) -> None:  # noqa: N802 (http.server's name)
        body = self.read_body()
        order_id = json.loads(body)["order_id"]
        fault = self.network.begin(order_id)
        if fault == "refused before" and self.network.calls[order_id] == 1:
            self.answer(502, b'{"message": "nobody there"}')
            return
        passed = {name: self.headers[name] for name in ("Content-Type", "x-api-key")}
        status, text, headers = self.network.forward(order_id, body, passed)
        stored_now = status == 202 and self.network.taken[order_id] == 1
        if stored_now and fault == "lost answer":
            self.close_connection = True
        elif stored_now and fault == "failed after":
            self.answer(500, b'{"message": "something broke on the way back"}')
        else:
            self.answer(status, text, {"Retry-After": headers["Retry-After"]} if "Retry-After" in headers else {})


@pytest.fixture
def network(hub: Hub) -> Iterator[tuple[BadNetwork, str]]:
    """Start the bad network; gives it, and its address."""
    bad = BadNetwork(hub.stack.outputs["OrdersUrl"])
    with LoopbackServer(type("Handler", (Gateway,), {"network": bad})) as server:
        yield bad, f"http://{server.address}/orders"


def produce(hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m loadtest.producer` as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "loadtest.producer", *arguments],
        cwd=ROOT,
        env=os.environ | {"ORDERS_API_KEY": hub.api_key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_order_is_accepted_and_has_one_effect(hub: Hub, network: tuple[BadNetwork, str], tmp_path: Path) -> None:
    bad, url = network
    unsent = tmp_path / "unsent.jsonl"
    with hub.throttled(rate=8.0, burst=3):
        answer = produce(hub, "--url", url, "--orders", "40", "--rate", "40", "--unsent", str(unsent))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert not unsent.exists()
    assert "accepted" in answer.stdout
    assert hub.api_key not in answer.stdout + answer.stderr

    orders = list(bad.calls)
    assert len(orders) == 40
    assert bad.answers[429] > 0, "the throttle was met"
    assert set(bad.answers) == {202, 429}
    stored = Counter(bad.taken.values())
    assert stored == {1: 20, 2: 20}, "orders whose answer was lost or a failure were stored again, the others were not"

    hub.delivered(orders, within=60)
    eventually(
        lambda: not any(hub.waiting(f"{queue}QueueUrl") for queue in ("Ingest", "Delivery", "Sales")),
        within=60,
        what="the repeats are taken from the queues",
    )
    assert set(hub.effects(orders).values()) == {1}, "one effect each, however often it was sent"
    assert set(hub.calls(orders).values()) == {1}, "the courier was not even asked again"
    assert len(hub.sold(orders)) == 40
    for queue in ("Ingest", "Event", "Delivery", "Sales"):
        assert hub.waiting(f"{queue}DeadLetterQueueUrl") == 0, "a repeat is no dead letter"


def test_a_refused_order_is_shown_with_its_rule_and_not_sent_again(
    hub: Hub, network: tuple[BadNetwork, str], tmp_path: Path
) -> None:
    bad, url = network
    good, wrong = order(), order(order_id="ord-wrong", total=-1)
    del wrong["currency"]
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (wrong, good)))
    answer = produce(hub, str(path), "--url", url)
    assert answer.returncode == 1
    [line] = [line for line in answer.stdout.splitlines() if line.startswith("ord-wrong refused: HTTP 400")]
    shown = answer.stdout.replace("\n", "")
    assert "currency" in shown, line
    assert "minimum" in shown, line
    assert bad.calls["ord-wrong"] == 1, "it was not sent again"
    hub.delivered([good["order_id"]], within=30)


def test_another_order_under_a_used_order_id_is_a_dead_letter_and_never_lost_in_silence(hub: Hub) -> None:
    first = order()
    hub.place(first)
    hub.delivered([first["order_id"]], within=30)
    eventually(lambda: hub.sold([first["order_id"]]), within=20, what="the first one is sold")
    second = first | {"total": 1234.5}
    hub.place(second)
    for queue in ("DeliveryDeadLetterQueueUrl", "SalesDeadLetterQueueUrl"):
        [(body, attributes)] = hub.dead_letters(queue, 1)
        assert json.loads(body)["detail"]["data"] == second, "the second order is kept, whole"
        assert attributes["reason"] == "its order_id was used before, for an order with other content"
    assert hub.effects([first["order_id"]]) == {first["order_id"]: 1}
    assert [float(row["total"]) for row in hub.sold([first["order_id"]])] == [first["total"]]
