"""Arithmetic on what a run leaves behind: executions, attempts, percentiles. No input, no output."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SUCCESS_WINDOW_S = 10.0
LEAST_RESULTS = 5


@dataclass(frozen=True)
class Invocation:
    """One execution of a Lambda function, from the platform's report on it.

    Attributes:
        request_id: AWS request id.
        begin: Epoch seconds at which its execution environment began to work on it, start-up included.
        end: Epoch seconds at which it ended.
        billed_s: Billed duration in seconds.
        failed: Whether it ended in an exception or a timeout.
    """

    request_id: str
    begin: float
    end: float
    billed_s: float
    failed: bool = False


@dataclass(frozen=True)
class CourierCall:
    """One call to the courier, as the delivery function logs it."""

    at: float
    correlation_id: str
    request_id: str
    outcome: str


@dataclass(frozen=True)
class RecordStatus:
    """What the delivery function logs about an order it works on: START, then COMPLETED or FAILED."""

    correlation_id: str
    request_id: str
    status: str


@dataclass(frozen=True)
class Attempt:
    """One order in one invocation of the delivery function.

    Without flow control, an invocation makes several calls for its order and is one attempt; with
    it, an invocation takes a batch and makes an attempt with one call for each of its orders.

    Attributes:
        correlation_id: Names the order.
        end: Epoch seconds at which the invocation ended.
        delivered: Whether the courier accepted the order in it.
    """

    correlation_id: str
    end: float
    delivered: bool


def attempts(statuses: Iterable[RecordStatus], invocations: Iterable[Invocation]) -> list[Attempt]:
    """Group what was logged about orders into attempts, ordered by their end.

    An order that was begun but not completed, such as by a timeout, is an attempt that failed. An
    attempt whose invocation has no report yet has not ended and is left out.
    """
    completed: dict[str, dict[str, bool]] = {}
    for line in statuses:
        orders = completed.setdefault(line.request_id, {})
        orders[line.correlation_id] = orders.get(line.correlation_id, False) or line.status == "COMPLETED"
    return sorted(
        (
            Attempt(order, invocation.end, delivered)
            for invocation in invocations
            for order, delivered in completed.get(invocation.request_id, {}).items()
        ),
        key=lambda attempt: attempt.end,
    )


def failures_by_order(made: Iterable[Attempt]) -> Counter[str]:
    """How many attempts of each order (by correlation id) ended without a delivery."""
    return Counter(
        attempt.correlation_id for attempt in made if attempt.correlation_id is not None and not attempt.delivered
    )


def concurrency(invocations: Iterable[Invocation]) -> list[tuple[float, int]]:
    """Sweep over begins and ends: (epoch second, executions from then on), ordered by time.

    An execution that ends in the very moment another begins does not overlap with it.
    """
    changes: Counter[float] = Counter()
    for invocation in invocations:
        changes[invocation.begin] += 1
        changes[invocation.end] -= 1
    steps: list[tuple[float, int]] = []
    running = 0
    for moment in sorted(changes):
        running += changes[moment]
        steps.append((moment, running))
    return steps


def peak(steps: Iterable[tuple[float, int]]) -> int:
    """Most executions at a time; 0 for none."""
    return max((running for _, running in steps), default=0)


def success_over_time(
    results: Sequence[tuple[float, bool]],
    window_s: float = SUCCESS_WINDOW_S,
    least: int = LEAST_RESULTS,
) -> list[tuple[float, float]]:
    """Share of successes within the window that ends at each result.

    Args:
        results: (epoch second, success), ordered by time.
        window_s: Length of the window in seconds, more than 0; its begin is not part of it.
        least: Windows with fewer results say too little and are left out, 1 or more.
    """
    window: deque[tuple[float, bool]] = deque()
    successes = 0
    shares: list[tuple[float, float]] = []
    for end, success in results:
        window.append((end, success))
        successes += success
        while window[0][0] <= end - window_s:
            successes -= window.popleft()[1]
        if len(window) >= least:
            shares.append((end, successes / len(window)))
    return shares


def worst_success(
    results: Sequence[tuple[float, bool]],
    window_s: float = SUCCESS_WINDOW_S,
    least: int = LEAST_RESULTS,
) -> float | None:
    """Lowest share of successes in any window of `window_s` seconds with `least` results or more.

    If no window has as many, the share of all results; None for no results. The published experiment
    counts in whole minutes ("about 20 % success in its worst minute"); a run on a shortened clock
    needs a shorter window.
    """
    if not results:
        return None
    overall = sum(success for _, success in results) / len(results)
    return min((share for _, share in success_over_time(results, window_s, least)), default=overall)


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank).

    Args:
        values: Any numbers; None is returned for none.
        share: More than 0, at most 1.
    """
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
