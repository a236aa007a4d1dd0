"""Delivery with flow control: the orders of a batch are called for in parallel, each in its slot of the shared pace.

Each ends in one of three ways. Delivered orders leave the queue. Orders that the courier will never take, and messages
that nobody can read, leave it for the dead-letter queue with the reason. All others stay in the queue, hidden for as
long as their backoff asks. Nothing sleeps between attempts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from hub.attempts import GUARD_CONSECUTIVE, HOLD_SECONDS, hiding_seconds, is_last, latest_start
from hub.circuit import Guard, judge, sample
from hub.courier import Answer
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
from hub.instrument import LambdaContext, in_parallel, logger, record_status
from hub.measures import CALLS, COURIER_FAILURE, DELIVERY_DELAY, PACE
from hub.outcomes import Outcome
from hub.pacer import Pacer
from hub.queues import GIVEN_UP, DeadLetterQueue, Message, batch_response, messages
from once import OnceCourier

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# A call's time-out bounds each wait for the network, not their sum: a courier that dawdles byte by byte is left behind.
LATENESS_SECONDS = 1.0


class NotDelivered(Exception):
    """The courier did not take the order; the message says why."""


@dataclass
class Attempt:
    """One message of the batch, and what became of it."""

    message: Message
    answer: Answer
    order: Event | None = None
    """None if the message cannot be read."""
    slot: float | None = None
    """When its call may begin, on the invocation's clock; None if there was no slot for it."""
    called: bool = False
    """Whether the courier was called for it."""
    delay: float | None = None
    """Seconds from the receipt of the order to the courier's yes; None if it did not say yes to this call."""

    @property
    def correlation_id(self) -> str | None:
        """The order's correlation id, if the message can be read."""
        return self.order.correlation_id if self.order else None


class QueuedDelivery:
    """Delivers the orders of a batch from the delivery queue.

    Args:
        courier: Whom to call.
        pacer: When to call.
        bus: Where to say what became of an order.
        sqs: A boto3 client of SQS.
        queue_url: The delivery queue.
        dead_letters: Where to send what no retry can mend.
        maximum_receives: With which receive an order is given up, 1 or more.
        clock: Gives the time in seconds, from any start, and never goes back.
        sleep: Waits for some seconds.
        random: Source of the jitter.
    """

    def __init__(
        self,
        courier: OnceCourier,
        pacer: Pacer,
        bus: EventBus,
        sqs: SQSClient,
        *,
        queue_url: str,
        dead_letters: DeadLetterQueue,
        maximum_receives: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self._courier = courier
        self._pacer = pacer
        self._bus = bus
        self._sqs = sqs
        self._queue_url = queue_url
        self._dead_letters = dead_letters
        self._maximum_receives = maximum_receives
        self._clock = clock
        self._sleep = sleep
        self._random = random or SystemRandom()  # a seed would be shared by all environments of a snapshot

    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Deliver what can be delivered, and answer which messages go back to the queue.

        The circuit breaker's probe is the same event with ``"probe": true`` and one message. Its answer has a verdict
        on the courier besides; its message is not hidden, and no outage uses up its last receive, because the circuit
        breaker puts it back as a fresh copy.
        """
        self._courier.begin(context)
        last_start = latest_start(
            self._clock(),
            remaining=context.get_remaining_time_in_millis() / 1000,
            courier_timeout=self._courier.timeout,
        )
        probe = event.get("probe") is True
        attempts = [self._read(message) for message in messages(event)]
        orders = [attempt for attempt in attempts if attempt.order]
        self._reserve(orders, last_start, hold=not probe)
        guard = Guard(GUARD_CONSECUTIVE)
        late = in_parallel(
            lambda attempt: self._deliver(attempt, last_start, guard),
            orders,
            timeout=max(0.0, last_start + self._courier.timeout - self._clock()) + LATENESS_SECONDS,
        )
        attempts = [self._abandon(attempt) if attempt in late else attempt for attempt in attempts]
        if not probe:
            for attempt in attempts:
                self._give_up(attempt)
        self._count(attempts)
        untold = self._publish(attempts)
        untaken = self._dead_letter([attempt for attempt in attempts if attempt not in untold])
        returned = [attempt for attempt in attempts if attempt.answer.outcome.goes_back]
        returned += untold + untaken
        answer: dict[str, Any] = batch_response(attempt.message for attempt in returned)
        if probe:
            verdict = judge(attempts[0].answer.outcome, called=attempts[0].called)
            logger.info(
                "PROBE", status="PROBE", verdict=verdict, correlation_id=attempts[0].correlation_id or "unknown"
            )
            return answer | {"verdict": verdict}
        self._hide(returned)
        return answer

    def _read(self, message: Message) -> Attempt:
        try:
            order = read_event(read_json(message.body), ORDER_NOTIFIED)
        except UnreadableEvent as error:
            return Attempt(message, Answer(Outcome.POISON, str(error)))
        return Attempt(message, Answer(Outcome.UNTRIED, "no slot in the time that was left"), order)

    def _reserve(self, attempts: Sequence[Attempt], last_start: float, *, hold: bool) -> None:
        """Give each attempt its slot. Those that find none go back for the others' time, or the courier's pause."""
        now = self._clock()
        slots = self._pacer.reserve(len(attempts), last_start - now) if last_start > now else []
        for attempt, wait in zip(attempts, slots, strict=False):
            attempt.slot = now + wait
        if len(slots) == len(attempts):
            return
        pause = self._pacer.pause()
        for attempt in attempts[len(slots) :]:
            attempt.answer = replace(attempt.answer, retry_after=max(0.0, last_start - now, pause))
        if hold and not slots and not pause:
            self._sleep(max(0.0, min(HOLD_SECONDS, last_start - now)))

    def _deliver(self, attempt: Attempt, last_start: float, guard: Guard) -> None:
        """Call the courier for an order, in its slot. Never raises: one order's misfortune is not the batch's."""
        order = attempt.order
        assert order is not None  # noqa: S101 (for the type checker: unreadable messages are not delivered)
        try:
            with record_status(
                order.detail_type,
                order.correlation_id,
                **order.log_keys,
                attempt=attempt.message.receive_count,
            ):
                self._call(attempt, order, last_start, guard)
                if attempt.answer.outcome is not Outcome.DELIVERED:
                    raise NotDelivered(f"{attempt.answer.outcome}: {attempt.answer.reason}")
        except NotDelivered:
            pass  # attempt.answer says it
        except Exception as error:
            logger.exception("delivery failed unexpectedly", correlation_id=order.correlation_id)
            attempt.answer = Answer(Outcome.TRANSIENT, f"failed unexpectedly: {type(error).__name__}")

    def _call(self, attempt: Attempt, order: Event, last_start: float, guard: Guard) -> None:
        if attempt.slot is None:
            return
        self._sleep(max(0.0, attempt.slot - self._clock()))
        if pause := self._pacer.pause():
            attempt.answer = Answer(Outcome.UNTRIED, "the courier asked to wait", retry_after=pause)
        elif guard.tripped:
            attempt.answer = Answer(Outcome.UNTRIED, "the courier fails: no call made")
        elif self._clock() <= last_start:
            attempt.answer, attempt.called = self._courier.deliver(order)
            if attempt.called:
                if attempt.answer.outcome is Outcome.DELIVERED:
                    attempt.delay = order.age(datetime.now(UTC))
                guard.observe(attempt.answer.outcome)
                self._pacer.report(attempt.answer.outcome, attempt.answer.retry_after)
            else:
                logger.info("courier not called", reason=attempt.answer.reason)

    def _abandon(self, attempt: Attempt) -> Attempt:
        """Settle an order whose call has not ended, in a copy that the call cannot change any more."""
        answer = Answer(Outcome.UNHEALTHY, "the call did not end in its time")
        logger.warning("FAILED", status="FAILED", correlation_id=attempt.correlation_id, reason=answer.reason)
        return Attempt(attempt.message, answer, attempt.order, attempt.slot, called=True)

    def _give_up(self, attempt: Attempt) -> None:
        """Dead-letter an order with its reason, before the queue does it without one, or lets it expire."""
        answer, receives = attempt.answer, attempt.message.receive_count
        age = time.time() - int(attempt.message.first_received_at) / 1000
        if answer.outcome.goes_back and is_last(receives=receives, maximum_receives=self._maximum_receives, age=age):
            reason = f"{GIVEN_UP} {receives} receives; last: {answer.outcome}, {answer.reason}"
            attempt.answer = replace(answer, outcome=Outcome.PERMANENT, reason=reason)

    def _count(self, attempts: Sequence[Attempt]) -> None:
        """Count outcomes and delays, and give the circuit breaker its samples: their average is the failure rate."""
        for attempt in attempts:
            CALLS[attempt.answer.outcome].add()
            if attempt.called and (failed := sample(attempt.answer.outcome)) is not None:
                COURIER_FAILURE.add(failed)
            if attempt.delay is not None:
                DELIVERY_DELAY.add(attempt.delay)
        PACE.add(self._pacer.rate)

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
        waits = [self._backoff(attempt) for attempt in attempts]
        try:
            answer = self._sqs.change_message_visibility_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {
                        "Id": str(index),
                        "ReceiptHandle": attempt.message.receipt_handle,
                        "VisibilityTimeout": waits[index],
                    }
                    for index, attempt in enumerate(attempts)
                ],
            )
        except Exception:  # the other orders of the batch are settled, and must stay so
            logger.exception("backoff not set", message_ids=[attempt.message.message_id for attempt in attempts])
            return
        failed = {int(failure["Id"]) for failure in answer.get("Failed", [])}
        for index, (attempt, wait) in enumerate(zip(attempts, waits, strict=True)):
            if index in failed:
                logger.warning(
                    "backoff not set", correlation_id=attempt.correlation_id, message_id=attempt.message.message_id
                )
            else:
                self._log_return(attempt, wait)

    def _log_return(self, attempt: Attempt, wait: int) -> None:
        """Say when an order comes again, which nobody else knows."""
        logger.info(
            "BACK TO THE QUEUE",
            status="RETRY",
            correlation_id=attempt.correlation_id or "unknown",
            order_id=attempt.order.order_id if attempt.order else None,
            outcome=attempt.answer.outcome,
            reason=attempt.answer.reason,
            attempt=attempt.message.receive_count,
            retry_in_seconds=wait,
        )

    def _backoff(self, attempt: Attempt) -> int:
        return hiding_seconds(
            attempt.answer.outcome,
            receives=attempt.message.receive_count,
            retry_after=attempt.answer.retry_after,
            random=self._random,
        )
