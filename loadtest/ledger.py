"""The fate of every accepted order, by its id."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SentOrder:
    """What the load generator recorded of one order.

    Attributes:
        order_id: The shop's number.
        sent_at: Epoch seconds.
        status: HTTP status of the answer, None if there was none.
        correlation_id: The hub's name for the order, from a 202.
    """

    order_id: str
    sent_at: float
    status: int | None
    correlation_id: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the hub has promised to deliver it."""
        return self.status == 202


@dataclass(frozen=True)
class Ledger:
    """Accepted orders by what became of them. The four sets share no order and leave none out."""

    delivered: frozenset[str]
    dead: frozenset[str]
    in_flight: frozenset[str]
    lost: frozenset[str]
    duplicates: int = 0
    unexpected: frozenset[str] = field(default_factory=frozenset)
    """Delivered although the API did not answer 202, such as after a timeout of the client."""


def settle(
    sent: Collection[SentOrder],
    effects: Mapping[str, int],
    dead_letters: Collection[str],
    *,
    spent: Collection[str] = frozenset(),
    waiting: int = 0,
) -> Ledger:
    """Find each accepted order at the courier, among the dead letters, or on its way; the rest is lost.

    Args:
        sent: Every order that was sent.
        effects: Accepted calls for each order id at the courier.
        dead_letters: Order ids found in dead-letter queues of the way to the courier.
        spent: Order ids whose last attempt has failed: nothing will try them again.
        waiting: How many orders queues and pending retries still hold, whichever they are. As many
            of the unaccounted orders count as in flight, never an order that is spent.
    """
    accepted = {order.order_id for order in sent if order.accepted}
    at_courier = {order_id for order_id, count in effects.items() if count > 0}
    delivered = accepted & at_courier
    dead = (accepted & set(dead_letters)) - delivered
    missing = accepted - delivered - dead
    candidates = sorted(missing - set(spent))
    in_flight = frozenset(candidates[: max(0, waiting)])
    return Ledger(
        delivered=frozenset(delivered),
        dead=frozenset(dead),
        in_flight=in_flight,
        lost=frozenset(missing - in_flight),
        duplicates=sum(count - 1 for count in effects.values() if count > 1),
        unexpected=frozenset({order.order_id for order in sent} & at_courier - accepted),
    )


def read_records(lines: Collection[str]) -> list[SentOrder]:
    """Parse the NDJSON records of the load generator; a last line that is still being written is left out."""
    records: list[SentOrder] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        records.append(SentOrder(record["order_id"], record["sent_at"], record["status"], record["correlation_id"]))
    return records
