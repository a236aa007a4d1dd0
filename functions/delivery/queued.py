"""Delivery with flow control: the orders of a batch are called for in parallel, and each ends in one of three ways.

Delivered orders leave the queue. Orders that the courier will never take, and messages that nobody can read, leave it
for the dead-letter queue with the reason. All others stay in the queue, hidden for as long as their backoff asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

from hub.backoff import RETRY_BASE_SECONDS, RETRY_CAP_SECONDS, full_jitter, visibility_seconds
from hub.courier import Answer, Courier
from hub.event_bus import EventBus
from hub.events import (
    ORDER_NOTIFIED,
    Event,
    UnreadableEvent,
    delivery_completed,
    delivery_failed,
    read_event,
    read_json,
)
from hub.instrument import LambdaContext, MetricUnit, in_parallel, logger, metrics, record_status
from hub.outcomes import Outcome
from hub.queues import DeadLetterQueue, Message, batch_response, messages

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# What it takes to publish, dead-letter and hide the orders of a batch after the last call, with the SDK's retries.
SETTLING_SECONDS = 5.0


class NotDelivered(Exception):
    """The courier did not take the order; the message says why."""


@dataclass
class Attempt:
    """One message of the batch, and what became of it."""

    message: Message
    answer: Answer
    order: Event | None = None
    """None if the message cannot be read."""

    @property
    def correlation_id(self) -> str | None:
        """The order's correlation id, if the message can be read."""
        return self.order.correlation_id if self.order else None


class QueuedDelivery:
    """Delivers the orders of a batch from the delivery queue.

    Args:
        courier: Whom to call.
        bus: Where to say what became of an order.
        sqs: A boto3 client of SQS.
        queue_url: The delivery queue.
        dead_letters: Where to send what no retry can mend.
        clock: Gives the time in seconds, from any start, and never goes back.
        random: Source of the jitter.
    """

    def __init__(
        self,
        courier: Courier,
        bus: EventBus,
        sqs: SQSClient,
        *,
        queue_url: str,
        dead_letters: DeadLetterQueue,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self._courier = courier
        self._bus = bus
        self._sqs = sqs
        self._queue_url = queue_url
        self._dead_letters = dead_letters
        self._clock = clock
        self._random = random or Random()  # noqa: S311 (jitter, not cryptography)

    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Deliver what can be delivered, and answer which messages go back to the queue."""
        seconds_left = context.get_remaining_time_in_millis() / 1000
        last_start = self._clock() + seconds_left - SETTLING_SECONDS - self._courier.timeout
        attempts = in_parallel(lambda message: self._attempt(message, last_start), messages(event))
        for attempt in attempts:
            metrics.add_metric(f"Calls{attempt.answer.outcome.capitalize()}", MetricUnit.Count, 1)
        unsettled = self._publish(attempts)
        unsettled += self._dead_letter([attempt for attempt in attempts if attempt not in unsettled])
        returned = [attempt for attempt in attempts if attempt.answer.outcome.goes_back or attempt in unsettled]
        self._hide(returned)
        return batch_response(attempt.message for attempt in returned)

    def _attempt(self, message: Message, last_start: float) -> Attempt:
        """Read a message and call the courier for it. Never raises: one order's misfortune is not the batch's."""
        try:
            order = read_event(read_json(message.body), ORDER_NOTIFIED)
        except UnreadableEvent as error:
            return Attempt(message, Answer(Outcome.POISON, str(error)))
        attempt = Attempt(message, Answer(Outcome.UNTRIED, "no time left to call"), order)
        try:
            with record_status(
                order.detail_type,
                order.correlation_id,
                order_id=order.order_id,
                event_id=order.event_id,
                attempt=message.receive_count,
            ):
                if self._clock() < last_start:
                    attempt.answer = self._courier.deliver(order)
                if attempt.answer.outcome is not Outcome.DELIVERED:
                    raise NotDelivered(f"{attempt.answer.outcome}: {attempt.answer.reason}")
        except NotDelivered:
            pass  # attempt.answer says it
        except Exception as error:
            logger.exception("delivery failed unexpectedly", order_id=order.order_id)
            attempt.answer = Answer(Outcome.TRANSIENT, f"{type(error).__name__}: {error}")
        return attempt

    def _publish(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Tell the bus what became of the orders, and return the attempts of which it could not be told."""
        told = [(attempt, event) for attempt in attempts if (event := self._event(attempt))]
        refused = self._bus.publish([event for _, event in told])
        for index, reason in refused.items():
            attempt, event = told[index]
            logger.error(
                "event not published", correlation_id=attempt.correlation_id, event=event.detail_type, reason=reason
            )
        return [told[index][0] for index in refused]

    def _event(self, attempt: Attempt) -> Event | None:
        if attempt.order is None:
            return None
        tries = attempt.message.receive_count
        match attempt.answer.outcome:
            case Outcome.DELIVERED:
                return delivery_completed(attempt.order, delivered_at=datetime.now(UTC), attempts=tries)
            case Outcome.PERMANENT as outcome:
                return delivery_failed(attempt.order, outcome=outcome, reason=attempt.answer.reason, attempts=tries)
        return None

    def _dead_letter(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Send what no retry can mend to the dead-letter queue, and return what the queue did not take."""
        untaken: list[Attempt] = []
        for attempt in attempts:
            answer = attempt.answer
            if answer.outcome not in (Outcome.PERMANENT, Outcome.POISON):
                continue
            try:
                self._dead_letters.send(
                    attempt.message,
                    outcome=answer.outcome,
                    reason=answer.reason,
                    correlation_id=attempt.correlation_id,
                    answer=answer.body,
                )
            except Exception:
                logger.exception("dead-letter queue refused", correlation_id=attempt.correlation_id)
                untaken.append(attempt)
        return untaken

    def _hide(self, attempts: Sequence[Attempt]) -> None:
        """Hide messages for their backoff. One that cannot be hidden waits for the queue's visibility timeout."""
        if not attempts:
            return
        answer = self._sqs.change_message_visibility_batch(
            QueueUrl=self._queue_url,
            Entries=[
                {
                    "Id": str(index),
                    "ReceiptHandle": attempt.message.receipt_handle,
                    "VisibilityTimeout": self._backoff(attempt),
                }
                for index, attempt in enumerate(attempts)
            ],
        )
        for failure in answer.get("Failed", []):
            logger.warning("backoff not set", message_id=attempts[int(failure["Id"])].message.message_id)

    def _backoff(self, attempt: Attempt) -> int:
        asked = attempt.answer.retry_after or 0.0
        jitter = full_jitter(
            attempt.message.receive_count, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, random=self._random
        )
        return visibility_seconds(asked + jitter, at_least=asked)
