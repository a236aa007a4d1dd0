"""Lambda functions: execution environments, concurrency, and asynchronous invocation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random

from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.settings import FunctionSettings

Done = Callable[[bool], None]
"""Told once when an invocation ends, with whether it ended without an exception and in time."""


class Account:
    """The concurrency that all functions share.

    Args:
        limit: Executions at a time.
        watch: Called with the number of executions whenever one begins or ends.
    """

    def __init__(self, limit: int, watch: Callable[[int], None] = lambda _: None) -> None:
        self.running = 0
        self._unreserved = limit
        self._watch = watch

    def reserve(self, executions: int) -> None:
        """Set executions aside for one function."""
        self._unreserved -= executions

    def take(self, *, reserved: bool) -> bool:
        """Begin an execution, if there is room for it."""
        if not reserved:
            if self._unreserved <= 0:
                return False
            self._unreserved -= 1
        self.running += 1
        self._watch(self.running)
        return True

    def give_back(self, *, reserved: bool) -> None:
        """End an execution."""
        if not reserved:
            self._unreserved += 1
        self.running -= 1
        self._watch(self.running)


class Function:
    """One function and its execution environments.

    Args:
        clock: The time.
        account: Whose concurrency it uses.
        settings: Its configuration.
        platform: How Lambda behaves.
        watch: Called with the number of its executions whenever one begins or ends.
    """

    def __init__(
        self,
        clock: Clock,
        account: Account,
        settings: FunctionSettings,
        platform: Platform,
        watch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.running = 0
        self.invocations = 0
        self.billed = 0.0
        self._clock = clock
        self._account = account
        self._reserved = settings.reserved is not None
        if settings.reserved is not None:
            account.reserve(settings.reserved)
        self._platform = platform
        self._watch = watch
        self._idle: list[float] = []
        """When each waiting environment was last used; the latest is used first."""
        self._started: list[float] = [-10.0, 0.0]
        """Since when environments are counted, and how many were started since."""

    def begin(self) -> float | None:
        """Begin an invocation.

        Returns:
            The seconds until its handler runs (0 in a warm environment), or None if the invocation is throttled.
        """
        if self.settings.reserved is not None and self.running >= self.settings.reserved:
            return None
        now = self._clock.now
        warm = bool(self._idle) and now - self._idle[-1] <= self._platform.environment_idle
        if not warm and not self._may_start(now):
            return None
        if not self._account.take(reserved=self._reserved):
            return None
        if warm:
            self._idle.pop()
        else:
            self._idle.clear()
            self._started[1] += 1
        self.running += 1
        self.invocations += 1
        self._watch(self.running)
        return 0.0 if warm else self._platform.cold_start

    def end(self, began: float) -> float:
        """End an invocation that began at some time, and return its billed seconds (whole milliseconds, rounded up)."""
        now = self._clock.now
        self.running -= 1
        self._watch(self.running)
        self._account.give_back(reserved=self._reserved)
        self._idle.append(now)
        billed = math.ceil((now - began) * 1000 - 1e-6) / 1000
        self.billed += billed
        return billed

    def _may_start(self, now: float) -> bool:
        if now - self._started[0] >= 10.0:
            self._started[:] = [now, 0.0]
        return self._started[1] < self._platform.environments_per_10_s


class AsynchronousInvocation:
    """Lambda's own queue of events for a function that is invoked asynchronously.

    Errors are tried again after one and two minutes, throttles with a growing wait; what is given up is lost, unless
    the function has a destination for it.

    Args:
        clock: The time.
        function: Whom to invoke.
        handler: What it does with an order.
        platform: How Lambda behaves.
        random: Source of the jitter.
        ended: Called with the success of each invocation.
        give_up: Called with an order that is not tried again.
    """

    def __init__(
        self,
        clock: Clock,
        function: Function,
        handler: Callable[[int, Done], None],
        platform: Platform,
        random: Random,
        *,
        ended: Callable[[bool], None],
        give_up: Callable[[int], None],
    ) -> None:
        self.pending = 0
        """Events that wait for an attempt, or are in one."""
        self._clock = clock
        self._function = function
        self._handler = handler
        self._platform = platform
        self._random = random
        self._ended = ended
        self._give_up = give_up

    def submit(self, order: int) -> None:
        """Take an event in."""
        self.pending += 1
        self._clock.after(self._platform.async_latency, self._attempt, order, self._clock.now, 0, 0)

    def _attempt(self, order: int, since: float, errors: int, throttles: int) -> None:
        startup = self._function.begin()
        if startup is None:
            doubled = self._platform.async_throttle_wait_min * 2.0 ** min(throttles, 30)
            longest = min(self._platform.async_throttle_wait_max, doubled)
            wait = self._random.uniform(longest / 2, longest)
            self._again(wait, order, since, errors, throttles + 1)
            return
        finished = partial(self._finished, order, since, errors, throttles, self._clock.now)
        if startup:
            self._clock.after(startup, self._handler, order, finished)
        else:
            self._handler(order, finished)

    def _finished(self, order: int, since: float, errors: int, throttles: int, began: float, success: bool) -> None:
        self._function.end(began)
        self._ended(success)
        waits = self._platform.async_retry_waits[: self._function.settings.async_retries]
        if success:
            self.pending -= 1
        elif errors >= len(waits):
            self.pending -= 1
            self._give_up(order)
        else:
            self._again(waits[errors], order, since, errors + 1, throttles)

    def _again(self, wait: float, order: int, since: float, errors: int, throttles: int) -> None:
        longest = self._function.settings.async_age or self._platform.async_event_age
        if self._clock.now + wait - since > longest:
            self.pending -= 1
            self._give_up(order)
        else:
            self._clock.after(wait, self._attempt, order, since, errors, throttles)
