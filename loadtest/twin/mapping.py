"""The event source mapping between a queue and a function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.functions import Done, Function
from loadtest.twin.queue import Message, Queue
from loadtest.twin.settings import MappingSettings

Handler = Callable[[list[Message], Done], None]
_LOOK_SECONDS = 1.0


class Mapping:
    """Reads batches from a queue and invokes a function with them.

    It starts with a few concurrent batches and takes more by the minute while messages wait, up to
    MaximumConcurrency; at the cap it stops reading. A batch is read when it is full, or when its window is over. The
    handler settles its messages one by one (partial batch response); a batch whose invocation fails comes back whole.

    Args:
        clock: The time.
        queue: What to read.
        function: Whom to invoke.
        handler: What the function does with a batch.
        settings: The mapping's configuration.
        platform: How Lambda behaves.
        ended: Called with the success of each invocation.
    """

    def __init__(
        self,
        clock: Clock,
        queue: Queue,
        function: Function,
        handler: Handler,
        settings: MappingSettings,
        platform: Platform,
        ended: Callable[[bool], None] = lambda _: None,
    ) -> None:
        ceiling = platform.mapping_ceiling
        self.maximum_concurrency = min(settings.maximum_concurrency or ceiling, ceiling)
        self.enabled = True
        self.running = 0
        self._clock = clock
        self._queue = queue
        self._function = function
        self._handler = handler
        self._batch_size = settings.batch_size
        self._window = settings.window
        self._platform = platform
        self._ended = ended
        self._window_ends: float | None = None
        self._allowed = float(platform.mapping_start)
        self._grown_at = 0.0
        self._looking = False
        queue.tell(self.poll)

    def poll(self) -> None:
        """Read and invoke as long as there are messages and free executions."""
        while self.enabled and self._queue.visible:
            if self.running >= self._limit():
                return
            if not self._batch_is_due():
                return
            self._window_ends = None
            batch = self._queue.receive(self._batch_size)
            if not batch:  # everything was expired or redriven, or too much is in flight
                return
            self.running += 1
            self._clock.after(self._platform.mapping_latency, self._invoke, batch)
        if not self._queue.visible:
            self._window_ends = None

    def _limit(self) -> int:
        """Return how many batches may be under way, growing while messages wait for want of pollers."""
        now = self._clock.now
        if self.running < int(self._allowed):
            self._grown_at = now
            if self.running == 0:
                self._allowed = float(self._platform.mapping_start)
        elif self._allowed < self.maximum_concurrency:
            self._allowed += (now - self._grown_at) * self._platform.mapping_growth_per_minute / 60.0
            self._grown_at = now
            if self.running >= int(self._allowed) and not self._looking:
                self._looking = True
                self._clock.after(_LOOK_SECONDS, self._look)
        return min(int(self._allowed), self.maximum_concurrency)

    def _look(self) -> None:
        self._looking = False
        self.poll()

    def _batch_is_due(self) -> bool:
        if not self._window or self._queue.visible >= self._batch_size:
            return True
        now = self._clock.now
        if self._window_ends is None:
            self._window_ends = now + self._window
            self._clock.after(self._window, self.poll)
        return now >= self._window_ends

    def _invoke(self, batch: list[Message]) -> None:
        startup = self._function.begin()
        if startup is None:  # throttled: the messages come back after their visibility timeout
            self._queue.abandon(batch)
            self._free()
            return
        finished = partial(self._finished, batch, self._clock.now)
        if startup:
            self._clock.after(startup, self._handler, batch, finished)
        else:
            self._handler(batch, finished)

    def _finished(self, batch: list[Message], began: float, success: bool) -> None:
        self._function.end(began)
        self._ended(success)
        if not success:
            self._queue.abandon(batch)
        self._free()

    def _free(self) -> None:
        self.running -= 1
        self.poll()
