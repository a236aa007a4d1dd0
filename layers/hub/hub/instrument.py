"""Universal instrumentation: every function logs, traces and counts in the same way.

A handler is wrapped once with :func:`instrument`; a record is processed inside :func:`record_status`. Neither changes
what the platform sees: answers pass through, exceptions are raised again.
"""

from __future__ import annotations

import functools
import json
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricResolution, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from hub.redaction import private_texts, redact

__all__ = [
    "LambdaContext",
    "MetricResolution",
    "MetricUnit",
    "in_parallel",
    "instrument",
    "logger",
    "metrics",
    "record_status",
    "tracer",
]

TIMEOUT_WARNING_SECONDS = 1.0

# What says where a line comes from and what it is about. Private texts are not searched for in these: a postal code can
# stand in a time or in an order id by chance.
_IDENTIFYING_KEYS = (
    {"level", "location", "timestamp", "service", "function_name", "function_request_id", "xray_trace_id"}
    | {"record", "status", "outcome", "error", "attempt", "http_status"}
    | {"correlation_id", "order_id", "event_id", "message_id", "message_ids"}
)

# What the event of the present invocation holds of people and secrets; an environment serves one at a time.
_private: frozenset[str] = frozenset()


def _serialize(line: dict[str, Any]) -> str:
    """Write a log line as JSON, without personal data and secrets, whoever logged them."""
    shown = {
        key: redact(value) if key in _IDENTIFYING_KEYS else redact({key: value}, _private)[key]
        for key, value in line.items()
    }
    text = json.dumps(shown, default=str, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace").decode()


logger = Logger(json_serializer=_serialize, utc=True, use_rfc3339=True)
metrics = Metrics()
# Only the AWS SDK is traced by itself; what the other ten libraries would cost at every cold start is in decisions.md.
tracer = Tracer(patch_modules=("botocore",))

type Handler = Callable[[dict[str, Any], LambdaContext], Any]


def instrument(handler: Handler) -> Handler:
    """Wrap a Lambda handler with logs, traces, metrics and diagnostics.

    On an exception, and one second before the function's timeout, a line is logged with the (redacted) event, so that
    whoever reads it can tell which order was hurt. The exception is raised again.

    Args:
        handler: The function that Lambda calls with an event and a context.
    """
    # Neither responses nor exceptions go into traces, which nobody redacts.
    traced = tracer.capture_lambda_handler(handler, capture_response=False, capture_error=False)
    measured = metrics.log_metrics(traced, capture_cold_start_metric=True)

    @functools.wraps(handler)
    def wrapper(event: dict[str, Any], context: LambdaContext) -> Any:
        global _private
        _private = frozenset(private_texts(event))
        logger.thread_safe_clear_keys()
        logger.append_keys(function_request_id=context.aws_request_id)
        with _timeout_warning(event, context), warnings.catch_warnings():
            # An invocation that counts nothing is no mistake.
            warnings.filterwarnings("ignore", message="No application metrics to publish")
            try:
                return measured(event, context)
            except Exception as error:
                logger.exception("FAILED", status="FAILED", diagnostics=_diagnostics(event, context, error))
                raise

    return wrapper


@contextmanager
def record_status(record: str, correlation_id: str | None, **keys: Any) -> Iterator[None]:
    """Log START and then COMPLETED or FAILED of one record, with its correlation id on every line between them.

    Each thread has its own keys, so records may be processed in parallel.

    Args:
        record: What is processed, such as the detail type of an event.
        correlation_id: The request id under which the shop's order was accepted; None if it cannot be read.
        keys: More to stand on every line of the record.
    """
    keys = {"record": record, "correlation_id": correlation_id or "unknown", **keys}
    logger.thread_safe_append_keys(**keys)
    logger.info("START", status="START")
    try:
        yield
    except Exception as error:
        logger.warning("FAILED", status="FAILED", error=type(error).__name__, reason=str(error))
        raise
    else:
        logger.info("COMPLETED", status="COMPLETED")
    finally:
        logger.thread_safe_remove_keys(list(keys))


def in_parallel[Item](function: Callable[[Item], None], items: Sequence[Item], *, timeout: float) -> list[Item]:
    """Call a function with each item, all at once, and return the items whose calls did not end in time.

    Each call runs in a thread of its own, with log keys of its own and in the invocation's trace. One that does not end
    is left to itself: it must not keep the invocation from settling the others.

    Args:
        function: What to call. It should not raise: an exception counts as a call that did not end.
        items: What to call it with.
        timeout: Seconds that all calls together may take.
    """
    if not items:
        return []
    xray: Any = tracer.provider  # Powertools types it as less than the X-Ray SDK's recorder that it is
    segment = xray.get_trace_entity()

    def traced(item: Item) -> None:
        xray.set_trace_entity(segment)
        function(item)

    pool = ThreadPoolExecutor(max_workers=len(items))
    calls = {pool.submit(traced, item): item for item in items}
    ended, _ = wait(calls, timeout=timeout)
    pool.shutdown(wait=False, cancel_futures=True)
    return [item for call, item in calls.items() if call not in ended or call.exception()]


@contextmanager
def _timeout_warning(event: dict[str, Any], context: LambdaContext) -> Iterator[None]:
    seconds_left = context.get_remaining_time_in_millis() / 1000
    timer = threading.Timer(
        max(0.0, seconds_left - TIMEOUT_WARNING_SECONDS),
        lambda: logger.warning("About to time out", status="TIMEOUT", diagnostics=_diagnostics(event, context)),
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _diagnostics(event: dict[str, Any], context: LambdaContext, error: Exception | None = None) -> dict[str, Any]:
    """Put the event first: what was worked on, by whom, with how much time left, and what went wrong."""
    return {
        "event": event,
        "remaining_milliseconds": context.get_remaining_time_in_millis(),
        "function_request_id": context.aws_request_id,
        "error": type(error).__name__ if error else None,
    }
