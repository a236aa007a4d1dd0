"""Real artillery against a server of this process."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from loadtest import artillery
from loadtest.artillery import ArtilleryError, Load
from loadtest.profiles import Phase, Profile

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "layers" / "hub" / "hub" / "schemas" / "order.json").read_text())
PROFILE = Profile("tiny", (Phase("ramp up", 2, 5, 10), Phase("peak", 1, 10, 10)))

needs_artillery = pytest.mark.skipif(not artillery.ARTILLERY.exists(), reason="run `make setup` to install artillery")


class Shop(ThreadingHTTPServer):
    """Answers 202, and every fifth order with 429, 500 or a broken connection."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None, dict[str, Any]]] = []

    @property
    def stack(self) -> Any:
        url = f"http://127.0.0.1:{self.server_port}/live/orders"
        return SimpleNamespace(name="unit-test", outputs={"OrdersUrl": url}, api_key=lambda: "the-key")


class Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, self.headers["x-api-key"], body))
        match int(body["order_id"].rpartition("-")[2]) % 15:
            case 5:
                self.answer(429, {"message": "later"})
            case 10:
                self.answer(500, {"message": "broken"})
            case 0:
                self.connection.shutdown(socket.SHUT_RDWR)
            case _:
                self.answer(202, {"correlation_id": f"c-{body['order_id']}"})

    def answer(self, status: int, body: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@needs_artillery
def test_every_order_is_sent_once_and_recorded_with_its_answer(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artillery, "OUT", tmp_path)
    load = Load.start(shop.stack, PROFILE, seed=7)
    thresholds_met = load.finish()

    sent = load.sent()
    orders = [body for _, _, body in shop.requests]
    assert {path for path, _, _ in shop.requests} == {"/live/orders"}
    assert {key for _, key, _ in shop.requests} == {"the-key"}
    assert len(sent) == pytest.approx(PROFILE.orders, abs=3)
    assert sorted(order.order_id for order in sent) == sorted(order["order_id"] for order in orders)
    assert {order.order_id for order in sent} == {f"ord-7-{n:06}" for n in range(1, len(sent) + 1)}
    for order in orders:
        jsonschema.validate(order, SCHEMA)
        assert order["total"] == pytest.approx(sum(i["quantity"] * i["unit_price"] for i in order["items"]))
    assert len({order["customer"]["name"] for order in orders}) > 10

    for order in sent:
        expected = {5: 429, 10: 500, 0: None}.get(int(order.order_id[-6:]) % 15, 202)
        assert order.status == expected
        assert order.correlation_id == (f"c-{order.order_id}" if expected == 202 else None)
    assert not thresholds_met


@needs_artillery
def test_a_load_that_cannot_be_sent_is_told_with_artillerys_own_words(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artillery, "OUT", tmp_path)
    load = Load.start(shop.stack, Profile("wrong", (Phase("no time at all", -1, 1, 2),)), seed=7)
    with pytest.raises(ArtilleryError, match="artillery ended with status"):
        load.finish()
    assert not shop.requests


def test_missing_artillery_is_told_with_what_to_do(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artillery, "ARTILLERY", tmp_path / "artillery")
    with pytest.raises(ArtilleryError, match="make setup"):
        Load.start(shop.stack, PROFILE, seed=7)
