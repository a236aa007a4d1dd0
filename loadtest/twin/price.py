"""What it costs: the work that was done, at list prices. What a stack costs while it stands idle is not in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loadtest.twin.constants import Prices, Sizes
from loadtest.twin.functions import Function


@dataclass(frozen=True)
class Work:
    """What the hub did. The courier, and so its simulator, is somebody else's bill.

    Args:
        functions: Each function, with what it was billed for.
        gateway_requests: Orders that the API took.
        queue_requests: To all queues; the empty receives of idle mappings are not counted.
        bus_events: Events that were put on the bus.
        table_writes: Write units of DynamoDB.
        table_reads: Read units of DynamoDB.
        transitions: State transitions of the circuit breaker.
        records: Orders that functions logged about, once for each invocation.
    """

    functions: Iterable[Function]
    gateway_requests: int
    queue_requests: int
    bus_events: int
    table_writes: int
    table_reads: int
    transitions: int
    records: int


def bill(work: Work, prices: Prices, sizes: Sizes) -> dict[str, float]:
    """Return the price of some work by service, in USD."""
    functions = list(work.functions)
    invocations = sum(function.invocations for function in functions)
    gb_seconds = sum(function.billed * function.settings.memory / 1024 for function in functions)
    logged = invocations * sizes.log_bytes_per_invocation + work.records * sizes.log_bytes_per_record
    archived = work.bus_events * sizes.event_bytes
    return {
        "lambda": gb_seconds * prices.lambda_gb_second + invocations * prices.lambda_request,
        "sqs": work.queue_requests * prices.queue_request,
        "eventbridge": work.bus_events * prices.bus_event + archived / 1e9 * prices.bus_archive_gb,
        "api_gateway": work.gateway_requests * prices.gateway_request,
        "dynamodb": work.table_writes * prices.table_write + work.table_reads * prices.table_read,
        "step_functions": work.transitions * prices.transition,
        "cloudwatch_logs": logged / 1e9 * prices.log_gb,
    }
