"""The courier: its usage plan's token bucket before the simulator's own rules."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence

from functions.slow_api.behaviour import Control, Plan, plan
from functions.slow_api.behaviour import Courier as Character

from hub.pacing import Limits
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.functions import Function
from loadtest.twin.measure import Measure
from loadtest.twin.scenario import Outage
from loadtest.twin.settings import CourierSettings

Answered = Callable[[int | None, float | None], None]
"""Told the status of an answer, None for none in time, and the seconds of its Retry-After, None for none."""

_HEALTHY = Control()


class TokenBucket:
    """API Gateway's throttle: tokens come at a rate, and a burst of them can wait to be used."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens = limits.burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        self._tokens = min(self._limits.burst, self._tokens + (now - self._at) * self._limits.rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Courier:
    """Takes calls, and answers as the simulator would.

    Args:
        clock: The time.
        settings: Limit, time-out of the caller, and character.
        function: The simulator's function; None if the courier is somebody else's.
        platform: How API Gateway behaves.
        outages: When it is in which mode.
        seed: The same seed meets the same courier.
        measure: Whom to tell.
    """

    def __init__(
        self,
        clock: Clock,
        settings: CourierSettings,
        function: Function | None,
        platform: Platform,
        outages: Sequence[Outage],
        seed: int,
        measure: Measure,
    ) -> None:
        self._clock = clock
        self._timeout = settings.timeout
        self._character = Character(settings.failure_rate, *settings.latency, settings.seed)
        self._function = function
        self._latency = platform.gateway_latency
        self._bucket = TokenBucket(settings.limits)
        self._retry_after = settings.throttled_retry_after
        self._honours_key = settings.honours_idempotency_key
        self._outages = sorted(outages, key=lambda outage: outage.begin)
        self._begins = [outage.begin for outage in self._outages]
        self._seed = seed
        self._calls = array("L")
        self._measure = measure

    def call(self, order: int, answered: Answered) -> None:
        """Ask for a delivery."""
        now = self._clock.now
        if not self._bucket.take(now):
            self._measure.called(throttled=True)
            self._clock.after(self._latency, answered, 429, self._retry_after)
            return
        self._measure.called(throttled=False)
        if self._function and self._function.begin() is None:  # which API Gateway answers with 500
            self._clock.after(self._latency, answered, 500, None)
            return
        course = plan(self._character, self._control(now), f"{self._seed}-{order}", self._count(order))
        seconds = self._latency + course.latency + course.silence
        if seconds <= self._timeout:
            self._clock.after(seconds, self._end, order, course, now, answered)
        else:
            self._clock.after(self._timeout, answered, None, None)
            self._clock.after(seconds, self._end, order, course, now, None)

    def _end(self, order: int, course: Plan, began: float, answered: Answered | None) -> None:
        if self._function:
            self._function.end(began)
        if course.accepts:
            self._measure.taken(order, self._clock.now - course.silence, again=not self._honours_key)
        if answered:
            answered(course.status, course.retry_after)

    def _count(self, order: int) -> int:
        """Count a call for an order, and return which one it is, from 1."""
        while len(self._calls) <= order:
            self._calls.append(0)
        self._calls[order] += 1
        return self._calls[order]

    def _control(self, now: float) -> Control:
        index = bisect_right(self._begins, now) - 1
        if index < 0 or now >= self._outages[index].end:
            return _HEALTHY
        return Control(self._outages[index].mode)
