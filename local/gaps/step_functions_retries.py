"""The waits between the attempts of a task.

AWS ("Retrying after an error", Step Functions developer guide): the wait is IntervalSeconds (1)
times BackoffRate (2.0) to the power of the retries so far, at most MaxDelaySeconds; with the
JitterStrategy FULL it is a random time between 0 and that.
ministack: knows neither of the two, and waits for a minute at most.
"""

from __future__ import annotations

import random
from typing import Any

from local.gaps.emulator import Emulator

Retrier = dict[str, Any]


def install(emulator: Emulator) -> None:
    """Wait when the retrier is found; what is left for the emulator to wait is nothing."""
    from ministack.services import stepfunctions

    def wait(original: Any) -> Any:
        def find(retriers: list[Retrier], error: str, retry_counts: dict[int, int]) -> tuple[Retrier | None, int]:
            retrier, index = original(retriers, error, retry_counts)
            if retrier is None:
                return None, index
            stepfunctions._scaled_sleep(delay(retrier, retry_counts.get(index, 0)))
            return retrier | {"IntervalSeconds": 0}, index

        return find

    emulator.wrap(stepfunctions, "_find_matching_retrier", wait, parameters=("retriers", "error", "retry_counts"))


def delay(retrier: Retrier, retries: int) -> float:
    """Seconds before the next attempt, after so many retries."""
    backoff = float(retrier.get("IntervalSeconds", 1)) * float(retrier.get("BackoffRate", 2.0)) ** retries
    backoff = min(backoff, float(retrier.get("MaxDelaySeconds", backoff)))
    if retrier.get("JitterStrategy") == "FULL":
        return random.uniform(0, backoff)  # noqa: S311 - no secret
    return backoff
