"""Asynchronous invocations: throttles wait, errors are retried twice.

AWS ("How Lambda handles errors and retries with asynchronous invocation", Lambda developer guide):
a function error is retried twice, after one and two more minutes. A throttle is no error: the event
goes back to the queue and is tried again for up to six hours, with a backoff from one second to
five minutes.
ministack: counts a throttle as an error, so a function at its limit loses the event after three
attempts; keeps a thread asleep for each waiting retry, of which a collapse makes thousands.

`LAMBDA_ASYNC_RETRY_BASE_SECONDS` shortens the minute (and the backoff by the same factor).
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.gaps.emulator import Emulator

MINUTE = 60.0
MOST_THROTTLE_BACKOFF = 300.0
SIX_HOURS = 21_600.0


def install(emulator: Emulator) -> None:
    """Replace the emulator's retry loop by a queue of events that wait for their next attempt."""
    from ministack.services import lambda_svc

    schedule = Schedule()
    scale = lambda_svc._LAMBDA_ASYNC_RETRY_BASE_SECONDS / MINUTE

    def replace(_original: Any) -> Any:
        def invoke(func: dict[str, Any], event: Any) -> None:
            config = func.get("config") or func
            account, region = lambda_svc._account_region_from_function_config(config)
            queued = QueuedEvent(func, config, event, account, region, scale)
            schedule.after(0.0, lambda: queued.attempt(schedule))

        return invoke

    emulator.wrap(lambda_svc, "invoke_async_with_retry", replace, parameters=("func", "event"))


@dataclass
class QueuedEvent:
    """An event in Lambda's internal queue."""

    func: dict[str, Any]
    config: dict[str, Any]
    event: Any
    account: str
    region: str
    scale: float
    received: float = field(default_factory=time.monotonic)
    errors: int = 0
    throttles: int = 0

    def attempt(self, schedule: Schedule) -> None:
        """Invoke once; on failure wait for the next attempt, or give the event up."""
        from ministack.services import lambda_svc

        lambda_svc._request_account_id.set(self.account)
        lambda_svc._request_region.set(self.region)
        result = lambda_svc._execute_function(self.func, self.event)
        if not result.get("error"):
            return
        settings = self.settings()
        retries = settings.get("MaximumRetryAttempts")
        if result.get("throttle"):
            self.throttles += 1
            backoff = min(MOST_THROTTLE_BACKOFF, 2.0 ** min(self.throttles - 1, 10))
            delay = backoff * random.uniform(0.5, 1.0) * self.scale  # noqa: S311 - no secret
        else:
            self.errors += 1
            if self.errors > int(2 if retries is None else retries):
                self.give_up(settings, result)
                return
            delay = MINUTE * self.errors * self.scale
        age = time.monotonic() - self.received
        if age + delay > float(settings.get("MaximumEventAgeInSeconds") or SIX_HOURS):
            self.give_up(settings, result)
            return
        schedule.after(max(0.05, delay), lambda: self.attempt(schedule))

    def settings(self) -> dict[str, Any]:
        """The function's EventInvokeConfig, as it is now."""
        versions = self.func.get("event_invoke_configs") or {}
        return self.func.get("event_invoke_config") or versions.get("$LATEST") or {}

    def give_up(self, settings: dict[str, Any], result: dict[str, Any]) -> None:
        """Hand the event to the function's failure destination or dead-letter queue, if any."""
        from ministack.services import lambda_svc

        destination = (settings.get("DestinationConfig") or {}).get("OnFailure") or {}
        dead_letter = self.config.get("DeadLetterConfig") or {}
        target = destination.get("Destination") or dead_letter.get("TargetArn")
        if target:
            lambda_svc._route_async_failure(target, self.config.get("FunctionName", ""), self.event, result)


class Schedule:
    """Runs calls at their time, each in a thread that lives only as long as the call."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True, name="asynchronous-events").start()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Run `call` after so many seconds."""
        if seconds <= 0:
            self._start(call)
            return
        with self._changed:
            entry = (time.monotonic() + seconds, next(self._order), call)
            heapq.heappush(self._heap, entry)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    wait = self._heap[0][0] - time.monotonic() if self._heap else None
                    self._changed.wait(wait)
                call = heapq.heappop(self._heap)[2]
            self._start(call)

    @staticmethod
    def _start(call: Callable[[], None]) -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(call,), daemon=True).start()
