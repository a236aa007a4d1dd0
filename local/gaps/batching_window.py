"""The batching window of an SQS event source mapping.

AWS ("Batching behavior", Lambda developer guide): with MaximumBatchingWindowInSeconds, Lambda reads
messages until the window that began with the first one is over, or the batch is full.
ministack: stores the setting, and invokes the function with whatever it finds first.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from local.gaps.emulator import Emulator


def install(emulator: Emulator) -> None:
    """Let the poller pass over a mapping (no free execution) while its window is open."""
    from ministack.services import lambda_svc

    opened: dict[str, float] = {}

    def hold_back(original: Any) -> Any:
        def concurrency(esm: Any, func: Any, config: Any, queue: Any = None) -> int:
            limit = int(original(esm, func, config, queue))
            window = float(esm.get("MaximumBatchingWindowInSeconds") or 0)
            if not window or not queue:
                return limit
            now = time.time()
            visible = sum(message["visible_at"] <= now for message in list(queue["messages"]))
            if not visible:
                opened.pop(esm["UUID"], None)
                return limit
            if esm["UUID"] not in opened:
                opened[esm["UUID"]] = now
                timer = threading.Timer(window, lambda_svc.esm_wake.set)
                timer.daemon = True
                timer.start()
            if visible < int(esm.get("BatchSize", 10)) and now < opened[esm["UUID"]] + window:
                return 0
            if lambda_svc._esm_inflight.get(esm["UUID"], 0) < limit:
                opened.pop(esm["UUID"])
            return limit

        return concurrency

    emulator.wrap(
        lambda_svc,
        "_sqs_esm_concurrency",
        hold_back,
        parameters=("esm", "func_rec", "config", "queue"),
    )
