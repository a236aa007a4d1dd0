"""A standard queue of SQS: visibility, receive counts, redrive and retention."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.settings import QueueSettings


class Message:
    """One message: the number of its order, when it was sent, and how often it was received."""

    __slots__ = ("first_received", "order", "received", "receives", "sent")

    def __init__(self, order: int, sent: float) -> None:
        self.order = order
        self.sent = sent
        self.receives = 0
        self.first_received = 0.0
        self.received = 0.0


class Queue:
    """Hands messages out, and takes back what is not deleted.

    A message that nobody deletes comes back when its visibility timeout is over. Lambda refuses a mapping whose queue
    has a shorter one than the function's timeout, so no message ever comes back while its invocation still runs.

    Args:
        clock: The time.
        settings: The queue's attributes.
        platform: How SQS behaves.
        dead_letter: Called with an order whose message the redrive policy moves away.
        expire: Called with an order whose message the retention period deletes, in silence.
    """

    def __init__(
        self,
        clock: Clock,
        settings: QueueSettings,
        platform: Platform,
        *,
        dead_letter: Callable[[int], None],
        expire: Callable[[int], None],
    ) -> None:
        self.settings = settings
        self.requests = 0
        """That API Gateway, the bus, Lambda's pollers and the functions made."""
        self._clock = clock
        self._in_flight_limit = platform.in_flight_limit
        self._dead_letter = dead_letter
        self._expire = expire
        self._fresh: deque[Message] = deque()
        """Visible, and not received yet: in the order in which they were sent."""
        self._returned: list[tuple[float, int, Message]] = []
        """Visible again: a heap by the time at which they were sent."""
        self._in_flight = 0
        self._consumer: Callable[[], None] = lambda: None

    @property
    def visible(self) -> int:
        """Messages that can be received now."""
        return len(self._fresh) + len(self._returned)

    @property
    def size(self) -> int:
        """Messages that can be received now or later."""
        return self.visible + self._in_flight

    def tell(self, consumer: Callable[[], None]) -> None:
        """Call a consumer whenever a message becomes visible."""
        self._consumer = consumer

    def send(self, order: int) -> None:
        """Store a message."""
        self.requests += 1
        self._fresh.append(Message(order, self._clock.now))
        self._consumer()

    def receive(self, most: int) -> list[Message]:
        """Hand out up to some messages, each out of sight from now on.

        Those that were sent first come first, returned or not: a standard queue delivers generally in the order in
        which messages were sent (SQS developer guide, Standard queues, "best-effort ordering").
        """
        self.requests += 1
        now = self._clock.now
        most = min(most, self._in_flight_limit - self._in_flight)
        batch: list[Message] = []
        while len(batch) < most and (message := self._oldest()):
            if now - message.sent >= self.settings.retention:
                self._expire(message.order)
            elif self.settings.maximum_receives is not None and message.receives >= self.settings.maximum_receives:
                self._dead_letter(message.order)
            else:
                message.receives += 1
                message.received = now
                if message.receives == 1:
                    message.first_received = now
                batch.append(message)
        self._in_flight += len(batch)
        return batch

    def delete(self, messages: int) -> None:
        """Delete received messages; Lambda and the functions do it in batches of ten."""
        if messages:
            self.requests += 1
            self._in_flight -= messages

    def hide(self, message: Message, seconds: float) -> None:
        """Let a received message come back after some seconds (ChangeMessageVisibility)."""
        if seconds > 0:
            self._clock.after(seconds, self._show, message)
        else:
            self._show(message)

    def abandon(self, messages: Iterable[Message]) -> None:
        """Let received messages come back when their visibility timeout is over: nobody has settled them."""
        for message in messages:
            self.hide(message, max(0.0, message.received + self.settings.visibility - self._clock.now))

    def renew(self, message: Message) -> None:
        """Put a fresh copy of a received message back, and delete the message."""
        self.requests += 2
        self._in_flight -= 1
        self._fresh.append(Message(message.order, self._clock.now))
        self._consumer()

    def expire_all(self) -> None:
        """Delete what has outlived the retention period and waits to be received."""
        oldest = self._clock.now - self.settings.retention
        while (message := self._oldest()) and message.sent <= oldest:
            self._expire(message.order)
        if message:
            heappush(self._returned, (message.sent, message.order, message))

    def _oldest(self) -> Message | None:
        """Take out the visible message that was sent first."""
        if self._returned and not (self._fresh and self._fresh[0].sent < self._returned[0][0]):
            return heappop(self._returned)[2]
        return self._fresh.popleft() if self._fresh else None

    def _show(self, message: Message) -> None:
        self._in_flight -= 1
        heappush(self._returned, (message.sent, message.order, message))
        self._consumer()
