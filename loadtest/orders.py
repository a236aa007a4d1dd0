"""Orders to send: from a file, or made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random


class OrdersError(Exception):
    """A file's orders cannot be sent; the message names the line."""


@dataclass(frozen=True)
class Order:
    """An order as it goes over the wire: the same bytes each time."""

    order_id: str
    body: bytes


def read_orders(path: Path) -> list[Order]:
    """Read orders from JSON Lines.

    Raises:
        OrdersError: The file cannot be read, a line is no order, or an order id stands for two orders.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OrdersError(f"cannot read {path}: {error}") from None
    seen: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            order_id = json.loads(line)["order_id"]
        except (ValueError, TypeError, KeyError):
            raise OrdersError(f"{path}, line {number}: each line must be a JSON object with an order_id") from None
        before, text = seen.setdefault(str(order_id), (number, line))
        if text != line:
            raise OrdersError(
                f"{path}, line {number}: order_id {order_id} stands in line {before} with other content. "
                "The order id is the idempotency key: the hub would take the first order only."
            )
    return [Order(order_id, line.encode()) for order_id, (_, line) in seen.items()]


def made_up_orders(count: int, run: str) -> Iterator[Order]:
    """Make up orders of nobody; the same run gives the same ones, but for the time at which they were placed."""
    placed_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    for number in range(1, count + 1):
        dice = Random(f"{run}/{number}")
        prices = dice.sample(range(199, 15000), dice.randint(1, 4))  # in cents
        quantities = [dice.randint(1, 3) for _ in prices]
        items = [
            {"sku": f"SKU-{dice.randint(10000, 99999)}", "quantity": quantity, "unit_price": price / 100}
            for quantity, price in zip(quantities, prices, strict=True)
        ]
        total = sum(quantity * price for quantity, price in zip(quantities, prices, strict=True)) / 100
        order = {
            "order_id": f"ord-{run}-{number:06d}",
            "placed_at": placed_at,
            "currency": "EUR",
            "total": total,
            "customer": {"name": f"Customer {number}"},
            "delivery_address": {
                "line1": f"{number} Main Street",
                "postal_code": f"{dice.randint(10000, 99999)}",
                "city": "Springfield",
                "country": dice.choice(["AT", "BE", "DE", "FR", "IE", "IT", "NL", "SE"]),
            },
            "items": items,
        }
        yield Order(str(order["order_id"]), json.dumps(order).encode())
