"""The circuit breaker: alarms, state machine and watchdog, in virtual time.

The machine goes through the states of ``statemachines/circuit_breaker.asl.yaml``; its decisions are ``hub.circuit``'s.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from random import Random
from typing import Any

from hub.circuit import Observation, Repair, State, Verdict, diagnose, probe_wait, ramp_step
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.delivery import PacedDelivery
from loadtest.twin.functions import Function
from loadtest.twin.mapping import Mapping
from loadtest.twin.measure import Measure
from loadtest.twin.queue import Message, Queue
from loadtest.twin.settings import CircuitSettings

Steps = Generator[Any, Any, Any]
_TRANSITIONS_PER_TASK = 2
"""About every second state of the machine is a choice or a pass, which is billed and takes no time."""


class Alarms:
    """The failure rate's alarm and the volume's, and their composite.

    Args:
        clock: The time.
        settings: Thresholds and period.
        platform: How CloudWatch behaves.
    """

    def __init__(self, clock: Clock, settings: CircuitSettings, platform: Platform) -> None:
        self.firing = False
        self.told: list[Any] = []
        """Called when both begin to fire."""
        self._clock = clock
        self._settings = settings
        self._platform = platform
        self._samples: dict[int, list[int]] = {}
        """Calls and failures of each period that is not evaluated yet."""

    def observe(self, failed: int) -> None:
        """Take a sample: 1 for an unhealthy answer, 0 for a delivery."""
        period = int(self._clock.now // self._settings.window)
        if period not in self._samples:
            self._samples[period] = [0, 0]
            self._evaluate_later(period)
        self._samples[period][0] += 1
        self._samples[period][1] += failed

    def _evaluate_later(self, period: int) -> None:
        complete = (period + 1) * self._settings.window + self._platform.metric_delay
        evaluation = self._platform.alarm_evaluation
        due = math.ceil(complete / evaluation - 1e-9) * evaluation
        self._clock.after(due - self._clock.now, self._evaluate, period)

    def _evaluate(self, period: int) -> None:
        calls, failures = self._samples.pop(period, [0, 0])
        fired = self.firing
        self.firing = calls >= self._settings.minimum_calls and failures / max(1, calls) >= self._settings.failure_rate
        if self.firing and period + 1 not in self._samples:  # or nothing would end the alarm
            self._samples[period + 1] = [0, 0]
            self._evaluate_later(period + 1)
        if self.firing and not fired:
            for tell in self.told:
                tell()


class CircuitBreaker:
    """Switches the mapping off and on.

    Args:
        clock: The time.
        settings: The breaker's parameters.
        platform: How long Step Functions and Lambda take.
        alarms: What opens it.
        mapping: What it switches.
        queue: Where probes come from.
        function: The delivery function.
        delivery: Its handler.
        random: Source of the jitter.
        measure: Whom to tell.
    """

    def __init__(
        self,
        clock: Clock,
        settings: CircuitSettings,
        platform: Platform,
        alarms: Alarms,
        mapping: Mapping,
        queue: Queue,
        function: Function,
        delivery: PacedDelivery,
        random: Random,
        measure: Measure,
    ) -> None:
        self.state = State.CLOSED
        self.transitions = 0
        self.announcements = 0
        self.looks = 0
        self.disabled_at: list[float] = []
        """When the mapping was off, after each time that the circuit opened from closed."""
        self.closed_at: list[float] = []
        self._clock = clock
        self._settings = settings
        self._platform = platform
        self._alarms = alarms
        self._mapping = mapping
        self._full = mapping.maximum_concurrency
        self._queue = queue
        self._function = function
        self._delivery = delivery
        self._random = random
        self._measure = measure
        self._changed_at = self._opened_at = 0.0
        alarms.told.append(self._alarmed)
        clock.process(self._watch())

    def _alarmed(self) -> None:
        self._clock.after(self._platform.bus_latency, self._open)

    def _open(self) -> None:
        if self.state is State.CLOSED:
            self._opened_at = self._clock.now
            self._turn(State.OPEN)
            self._clock.process(self._lead())

    def _watch(self) -> Steps:
        """Look for contradictions now and then; here, only an alarm that nobody acted on can occur."""
        while True:
            yield self._clock.timeout(self._settings.watchdog_seconds)
            self.looks += 1
            seen = Observation(
                state=self.state,
                age=self._clock.now - self._changed_at,
                owned=self.state is not State.CLOSED,
                mapping="Enabled" if self._mapping.enabled else "Disabled",
                concurrency=self._mapping.maximum_concurrency,
                full_concurrency=self._full,
                alarm=self._alarms.firing,
            )
            found = diagnose(seen)
            if found and found[0] is Repair.OPEN:
                self._open()

    # ----------------------------------------------------------------------------------------------- the machine

    def _lead(self) -> Steps:
        failures = relapses = 0
        yield from self._task(3)  # read, claim, look at the mapping
        while True:
            yield from self._switch_off()
            if not self.disabled_at or self.disabled_at[-1] < self._opened_at:
                self.disabled_at.append(self._clock.now)
            yield from self._task(2)  # announce, plan
            settings = self._settings
            wait = probe_wait(
                failures, shortest=settings.probe_wait_min, longest=settings.probe_wait_max, random=self._random
            )
            yield self._clock.timeout(max(1, round(wait)))
            self._turn(State.HALF_OPEN)
            yield from self._task(3)  # write, announce, look at the mapping
            well, answered = yield from self._round()
            if well:
                self._turn(State.RAMPING)
                yield from self._task(2)  # write, announce
                if (yield from self._ramp()):
                    self._turn(State.CLOSED)
                    yield from self._task(2)
                    self.closed_at.append(self._clock.now)
                    return
                failures, relapses = failures + 1, relapses + 1
            else:  # one healthy answer shows that the courier is coming back
                failures = relapses if answered else failures + 1
            self._turn(State.OPEN)
            yield from self._task(1)

    def _switch_off(self) -> Steps:
        yield from self._task(1)
        if self._mapping.enabled:
            yield self._clock.timeout(self._platform.mapping_change)
            self._mapping.enabled = False
            yield from self._look_again()

    def _look_again(self) -> Steps:
        """See the mapping's new state at the next look only."""
        yield self._clock.timeout(self._settings.look_seconds / 2)
        yield from self._task(1)

    def _round(self) -> Steps:
        """Try single orders; return whether the courier is well, and whether it took any of them."""
        healthy = sick = 0
        answered = False
        while True:
            message = yield from self._take()
            if message is None:  # no order, and the template names no health check: the ramp will tell
                yield from self._task(1)
                return True, answered
            verdict = yield from self._try(message)
            yield from self._task(2)  # put back or remove
            if verdict is Verdict.HEALTHY:
                healthy, sick, answered = healthy + 1, 0, True
                if healthy >= self._settings.probes:
                    return True, answered
            elif verdict is Verdict.SICK:
                healthy, sick = 0, sick + 1
                if sick >= self._settings.probe_failures:
                    return False, answered
                yield self._clock.timeout(self._settings.pause_seconds)

    def _take(self) -> Steps:
        yield from self._task(1)
        until = self._clock.now + self._settings.receive_seconds
        while True:
            batch = self._queue.receive(1) if self._queue.visible else []
            if batch:
                return batch[0]
            if self._clock.now >= until:
                return None
            yield self._clock.timeout(min(1.0, until - self._clock.now))

    def _try(self, message: Message) -> Steps:
        startup = self._function.begin()
        if startup is None:
            self._queue.renew(message)
            return Verdict.SICK
        began = self._clock.now
        yield self._clock.timeout(startup)
        answered = self._clock.event()
        self._delivery.probe(message, answered.succeed)
        verdict: Verdict = yield answered
        self._function.end(began)
        self._measure.invoked(success=True)
        if verdict is Verdict.SICK:
            self._queue.renew(message)
        else:
            if not self._measure.settled(message.order):
                self._measure.dead(message.order)
            self._queue.delete(1)
        return verdict

    def _ramp(self) -> Steps:
        """Let deliveries flow step by step; return whether they flow in full."""
        number = 0
        while True:
            began = self._clock.now
            step = ramp_step(number, concurrency=self._full, rate=self._delivery.limits.rate)
            yield from self._task(2)  # plan, pace
            pace = self._delivery.pace
            if number == 0 or (pace.rate < step.rate and pace.slowed_at < began):
                self._delivery.pace = replace(pace, rate=step.rate)
            yield from self._task(1)
            self._clock.after(self._platform.mapping_change, self._allow, step.concurrency)
            if step.full:
                yield self._clock.timeout(self._platform.mapping_change)
                yield from self._look_again()
            else:
                yield self._clock.timeout(self._settings.ramp_seconds)
            yield from self._task(1)
            if self._alarms.firing:
                return False
            if step.full:
                return True
            number += 1
            yield from self._task(1)

    def _allow(self, concurrency: int) -> None:
        if self.state is State.RAMPING:
            self._mapping.maximum_concurrency = concurrency
            self._mapping.enabled = True
            self._mapping.poll()

    def _task(self, number: int) -> Steps:
        self.transitions += number * _TRANSITIONS_PER_TASK
        yield self._clock.timeout(number * self._platform.transition_seconds)

    def _turn(self, state: State) -> None:
        self.state = state
        self._changed_at = self._clock.now
        self._measure.turn(state)
        self.announcements += 1
