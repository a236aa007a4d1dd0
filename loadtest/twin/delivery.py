"""What the delivery function does, in its three builds. The rules are the hub's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from hub.attempts import GUARD_CONSECUTIVE, HOLD_SECONDS, hiding_seconds, is_last, latest_start
from hub.circuit import Guard, Verdict, judge, sample
from hub.outcomes import Outcome, classify
from hub.pacing import Pace, reserve, slow_down, sound, speed_up
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.courier import Courier
from loadtest.twin.functions import Done
from loadtest.twin.measure import Measure
from loadtest.twin.queue import Message, Queue
from loadtest.twin.settings import Deployment


class DirectInvocation:
    """One invocation of the build without flow control."""

    __slots__ = ("calls", "deadline", "done", "order")

    def __init__(self, order: int, deadline: float, done: Done) -> None:
        self.order = order
        self.deadline = deadline
        self.done = done
        self.calls = 0


class DirectDelivery:
    """One order for each invocation, with waits between its calls inside (``functions/delivery/direct.py``).

    Args:
        clock: The time.
        courier: Whom to call.
        deployment: Time-outs, calls and waits.
        platform: How long the rest takes.
        random: Source of the waits.
        measure: Whom to tell.
    """

    def __init__(
        self,
        clock: Clock,
        courier: Courier,
        deployment: Deployment,
        platform: Platform,
        random: Random,
        measure: Measure,
    ) -> None:
        self._clock = clock
        self._courier = courier
        self._timeout = deployment.delivery.timeout
        self._most_calls = deployment.direct_calls
        self._waits = deployment.direct_waits
        self._settle_seconds = platform.settle_seconds
        self._random = random
        self._measure = measure

    def __call__(self, order: int, done: Done) -> None:
        """Deliver an order, or fail."""
        self._measure.records += 1
        self._call(DirectInvocation(order, self._clock.now + self._timeout, done))

    def _call(self, invocation: DirectInvocation) -> None:
        invocation.calls += 1
        self._courier.call(invocation.order, partial(self._answered, invocation))

    def _answered(self, invocation: DirectInvocation, status: int | None, retry_after: float | None) -> None:
        now = self._clock.now
        outcome = classify(status, retry_after)
        self._measure.answered(outcome)
        if now > invocation.deadline:
            invocation.done(False)
        elif outcome is Outcome.DELIVERED:
            self._clock.after(self._settle_seconds, invocation.done, True)
        elif not outcome.goes_back or invocation.calls >= self._most_calls:
            invocation.done(False)
        else:
            wait = self._random.uniform(*self._waits)
            if now + wait < invocation.deadline:
                self._clock.after(wait, self._call, invocation)
            else:
                self._clock.after(invocation.deadline - now, invocation.done, False)


class BufferedDelivery:
    """The same behind a queue: the published build with flow control. Batches of one order."""

    def __init__(self, direct: DirectDelivery, queue: Queue) -> None:
        self._direct = direct
        self._queue = queue

    def __call__(self, batch: list[Message], done: Done) -> None:
        """Deliver the order of a batch; if it fails, Lambda lets the message come back."""
        [message] = batch

        def settle(success: bool) -> None:
            if success:
                self._queue.delete(1)
            done(success)

        self._direct(message.order, settle)


class Batch:
    """One invocation with flow control, and what became of its messages so far."""

    __slots__ = ("called", "done", "guard", "last_start", "messages", "open", "outcomes", "retry_after")

    def __init__(self, messages: list[Message], last_start: float, done: Callable[[Batch], None]) -> None:
        self.messages = messages
        self.last_start = last_start
        self.done = done
        self.guard = Guard(GUARD_CONSECUTIVE)
        self.outcomes = [Outcome.UNTRIED] * len(messages)
        self.retry_after: list[float | None] = [None] * len(messages)
        self.called = [False] * len(messages)
        self.open = len(messages)


class PacedDelivery:
    """A batch for each invocation, each call in its slot of the shared pace (``functions/delivery/queued.py``).

    Args:
        clock: The time.
        courier: Whom to call.
        queue: Where the orders come from, and go back to.
        deployment: Limits, time-outs and receives.
        platform: How long the rest takes.
        random: Source of the jitter.
        measure: Whom to tell.
        observe: Called with each sample for the circuit breaker.
    """

    def __init__(
        self,
        clock: Clock,
        courier: Courier,
        queue: Queue,
        deployment: Deployment,
        platform: Platform,
        random: Random,
        measure: Measure,
        observe: Callable[[int], None],
    ) -> None:
        assert deployment.delivery_queue is not None  # noqa: S101 (for the type checker: this build has a queue)
        self.limits = deployment.courier.limits
        self.pace = Pace(0.0, self.limits.rate)
        self.batches = 0
        """Batches that reserved slots."""
        self.attempts = 0
        """Calls that were recorded before and after (idempotency)."""
        self._clock = clock
        self._courier = courier
        self._queue = queue
        self._timeout = deployment.delivery.timeout
        self._courier_timeout = deployment.courier.timeout
        self._maximum_receives = deployment.delivery_queue.maximum_receives or 1_000_000
        self._platform = platform
        self._random = random
        self._measure = measure
        self._observe = observe
        self._deliveries = 0

    def __call__(self, messages: list[Message], done: Done) -> None:
        """Deliver what can be delivered, and hide what goes back."""
        self._begin(messages, lambda batch: self._settle(batch, done), hold=True)

    def probe(self, message: Message, done: Callable[[Verdict], object]) -> None:
        """Deliver one order, to see how the courier is; the circuit breaker settles its message."""

        def ended(batch: Batch) -> None:
            self._report(batch)
            done(judge(batch.outcomes[0], called=batch.called[0]))

        self._begin([message], ended, hold=False)

    # ------------------------------------------------------------------------------------------ one invocation

    def _begin(self, messages: list[Message], done: Callable[[Batch], None], *, hold: bool) -> None:
        now = self._clock.now
        last_start = latest_start(now, remaining=self._timeout, courier_timeout=self._courier_timeout)
        batch = Batch(messages, last_start, done)
        self.batches += 1
        self._measure.records += len(messages)
        self._clock.after(self._platform.table_latency, self._reserve, batch, hold)

    def _reserve(self, batch: Batch, hold: bool) -> None:
        now = self._clock.now
        deliveries, self._deliveries = self._deliveries, 0
        pace = speed_up(sound(self.pace, self.limits, now), self.limits, deliveries=deliveries)
        calls = len(batch.messages) if batch.last_start > now else 0
        slots, self.pace = reserve(pace, self.limits, calls=calls, now=now, until=batch.last_start)
        for index, slot in enumerate(slots):
            self._clock.after(max(0.0, slot - now), self._call, batch, index)
        if len(slots) == len(batch.messages):
            return
        pause = max(0.0, self.pace.paused_until - now)
        for index in range(len(slots), len(batch.messages)):
            batch.retry_after[index] = max(0.0, batch.last_start - now, pause)
        wait = max(0.0, min(HOLD_SECONDS, batch.last_start - now)) if hold and not slots and not pause else 0.0
        self._clock.after(wait, self._close, batch, len(batch.messages) - len(slots))

    def _call(self, batch: Batch, index: int) -> None:
        now = self._clock.now
        order = batch.messages[index].order
        if self.pace.paused_until > now:
            batch.retry_after[index] = self.pace.paused_until - now
        elif batch.guard.tripped or now > batch.last_start:
            pass  # untried
        elif self._measure.recorded(order):
            batch.outcomes[index] = Outcome.DELIVERED
        else:
            self.attempts += 1
            batch.called[index] = True
            self._clock.after(
                self._platform.table_latency, self._courier.call, order, partial(self._answered, batch, index)
            )
            return
        self._close(batch, 1)

    def _answered(self, batch: Batch, index: int, status: int | None, retry_after: float | None) -> None:
        outcome = classify(status, retry_after)
        batch.outcomes[index] = outcome
        batch.retry_after[index] = retry_after
        batch.guard.observe(outcome)
        self._measure.answered(outcome)
        if outcome is Outcome.DELIVERED:
            self._deliveries += 1
            self._measure.record(batch.messages[index].order)
        elif outcome is Outcome.THROTTLED:
            self.pace = slow_down(self.pace, self.limits, now=self._clock.now, retry_after=retry_after or 0.0)
        self._close(batch, 1)

    def _close(self, batch: Batch, messages: int) -> None:
        batch.open -= messages
        if not batch.open:
            self._clock.after(self._platform.table_latency + self._platform.settle_seconds, batch.done, batch)

    def _settle(self, batch: Batch, done: Done) -> None:
        self._report(batch)
        now, settled = self._clock.now, 0
        for index, message in enumerate(batch.messages):
            outcome = batch.outcomes[index]
            if outcome.goes_back and not is_last(
                receives=message.receives, maximum_receives=self._maximum_receives, age=now - message.first_received
            ):
                self._queue.hide(message, self._hiding(batch, index))
            else:
                settled += 1
                if outcome is not Outcome.DELIVERED:
                    self._measure.dead(message.order)
        self._queue.requests += settled < len(batch.messages)
        self._queue.delete(settled)
        done(True)

    def _report(self, batch: Batch) -> None:
        for outcome, called in zip(batch.outcomes, batch.called, strict=True):
            if called and (failed := sample(outcome)) is not None:
                self._observe(failed)

    def _hiding(self, batch: Batch, index: int) -> int:
        return hiding_seconds(
            batch.outcomes[index],
            receives=batch.messages[index].receives,
            retry_after=batch.retry_after[index],
            random=self._random,
        )
