"""Delivery without flow control: the published first build, kept as it was for comparison.

One invocation for each order; five attempts with sleeps of 3 to 8 s between them, on billed time; then Lambda's two
asynchronous retries; then the order is gone. It works while the courier does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from hub.attempts import DIRECT_CALLS
from hub.courier import Answer, Courier
from hub.event_bus import EventBus
from hub.events import ORDER_NOTIFIED, Event, delivery_completed, read_event
from hub.instrument import LambdaContext, record_status
from hub.measures import CALLS, DELIVERY_DELAY
from hub.outcomes import Outcome


class NotDelivered(Exception):
    """The courier did not take the order. Lambda tries the event again, twice at most."""


class TryAgain(NotDelivered):
    """... but might, if it is asked again."""


class DirectDelivery:
    """Delivers the order of one event from the bus.

    Args:
        courier: Whom to call.
        bus: Where to say that it is done.
        shortest_wait: Least seconds between two calls for an order.
        longest_wait: Most seconds between two calls for an order.
    """

    def __init__(self, courier: Courier, bus: EventBus, shortest_wait: float = 3.0, longest_wait: float = 8.0) -> None:
        self._courier = courier
        self._bus = bus
        self._wait = wait_random(shortest_wait, longest_wait)

    def __call__(self, event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
        """Deliver an order, or raise, so that Lambda tries the event again.

        Raises:
            UnreadableEvent: The event does not follow the contract.
            NotDelivered: The courier did not take the order.
        """
        order = read_event(event, ORDER_NOTIFIED)
        attempts = Retrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_attempt(DIRECT_CALLS),
            wait=self._wait,
            reraise=True,
        )
        with record_status(order.detail_type, order.correlation_id, **order.log_keys):
            attempts(self._call, order)
            completed = delivery_completed(
                order, delivered_at=datetime.now(UTC), attempts=attempts.statistics["attempt_number"]
            )
            if refused := self._bus.publish([completed]):
                raise NotDelivered(f"delivered, but {completed.detail_type} is not on the bus: {refused[0]}")
        return {"order_id": order.order_id, "delivered": True}

    def _call(self, order: Event) -> Answer:
        answer = self._courier.deliver(order)
        CALLS[answer.outcome].add()
        if answer.outcome is Outcome.DELIVERED:
            if (delay := order.age(datetime.now(UTC))) is not None:
                DELIVERY_DELAY.add(delay)
            return answer
        raise (TryAgain if answer.outcome.goes_back else NotDelivered)(answer.reason)
