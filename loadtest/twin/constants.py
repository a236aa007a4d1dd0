"""Everything that the twin believes of AWS, each with its source.

What stands in template.yaml is not here (``settings`` reads it), nor are the hub's own policies (``hub``). A value
whose source begins with "assumption" is not documented by anybody; docs/sizing.md says what depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


def fact(value: Any, source: str, *, above_zero: bool = False) -> Any:
    """Make a field of a table: its value, where it is from, and whether it makes no sense as 0 (a count never does)."""
    return field(default=value, metadata={"source": source, "above_zero": above_zero or isinstance(value, int)})


@dataclass(frozen=True)
class Platform:
    """How the platform behaves. Times in seconds, unless a name says otherwise."""

    # Event source mapping of a queue
    mapping_start: int = fact(5, "Lambda developer guide, Configuring scaling behavior for SQS event source mappings")
    mapping_growth_per_minute: float = fact(300.0, "the same: up to 300 more concurrent invokes a minute")
    mapping_ceiling: int = fact(1250, "the same: at most 1,250 (older pages: 1,000)")
    mapping_latency: float = fact(
        0.016, "Bite-Sized Serverless, Serverless Messaging: Latency Compared (2022): SQS standard to Lambda, median"
    )
    mapping_change: float = fact(5.0, "assumption: enabling and disabling are asynchronous; no figure published")

    # Queue
    in_flight_limit: int = fact(120_000, "SQS developer guide, Quotas: in-flight messages of a standard queue")

    # Function
    account_concurrency: int = fact(1000, "Lambda developer guide, Quotas: concurrent executions by default")
    environments_per_10_s: int = fact(1000, "Lambda developer guide, Scaling behavior: each function, every 10 s")
    environment_idle: float = fact(300.0, "assumption: an idle execution environment is kept for minutes, undocumented")
    cold_start: float = fact(
        1.0, "assumption: environment and imports of a 512 MB function; make bench measures ratios, not AWS's seconds"
    )
    notification_seconds: float = fact(0.025, "assumption: one PutEvents; the local stack takes as long")
    sales_seconds_per_order: float = fact(0.006, "assumption: one PutItem")

    # Asynchronous invocation
    async_latency: float = fact(0.018, "with bus_latency the 148 ms from EventBridge to Lambda (median) given there")
    async_retry_waits: tuple[float, ...] = fact(
        (60.0, 120.0), "Lambda developer guide, Error handling for asynchronous invocation: one minute, then two"
    )
    async_throttle_wait_min: float = fact(
        1.0, "the same: throttles and system errors back off from 1 s", above_zero=True
    )
    async_throttle_wait_max: float = fact(300.0, "the same: to at most 5 minutes", above_zero=True)
    async_event_age: float = fact(21_600.0, "the same: an event is kept for up to 6 hours")

    # Event bus, gateway, tables
    bus_latency: float = fact(0.13, "Bite-Sized Serverless, the same (2023 update): EventBridge, 148 ms with Lambda")
    gateway_latency: float = fact(0.03, "assumption: TLS, API Gateway and network of a call to the courier")
    table_latency: float = fact(0.008, "assumption: one DynamoDB write (product page: single-digit milliseconds)")
    settle_seconds: float = fact(0.04, "assumption: PutEvents and ChangeMessageVisibilityBatch at the end of a batch")

    # Alarms and the circuit breaker
    alarm_evaluation: float = fact(
        10.0, "CloudWatch user guide, High-resolution alarms: evaluated every 10 s", above_zero=True
    )
    metric_delay: float = fact(5.0, "assumption: from the log line to the metric (embedded metric format)")
    transition_seconds: float = fact(0.1, "Bite-Sized Serverless (2022): Step Functions Standard, synchronous, median")


@dataclass(frozen=True)
class PublishedBuild:
    """The published build with flow control, which this repository does not deploy: the variant plain-buffer."""

    maximum_concurrency: int = fact(10, "the published design: concurrency cap of the delivery function")
    batch_size: int = fact(1, "the published design: one order an invocation, waits inside it")
    maximum_receives: int = fact(5, "assumption: Lambda developer guide, Using Lambda with SQS, asks for 5 at least")
    visibility_factor: int = fact(6, "Lambda developer guide, Using Lambda with SQS: six times the function's timeout")


@dataclass(frozen=True)
class PublishedFigures:
    """What the published run of 18 minutes measured, on AWS."""

    peak_concurrency: int = fact(788, "the published run without flow control: concurrent executions of the account")
    failed_per_minute: int = fact(1535, "the same: failed invocations in the worst minute")
    worst_minute_success: float = fact(0.20, "the same: about 20 % in the worst minute")
    buffered_concurrency: int = fact(20, "the published run with flow control: about 20 concurrent executions in total")
    buffered_success: float = fact(0.98, "the same: at least 98 % in the worst minute")


@dataclass(frozen=True)
class Prices:
    """List prices of us-east-1 in USD, as of November 2026, without free tiers; other Regions differ a little.

    Those without a value here stand in template.yaml, whose dashboard uses them too (``settings.prices``).
    """

    lambda_gb_second: float
    lambda_request: float
    queue_request: float
    bus_event: float
    gateway_request: float
    table_write: float
    table_read: float
    log_gb: float
    bus_archive_gb: float = fact(0.10, "Amazon EventBridge pricing: archive processing")
    transition: float = fact(25.0e-6, "AWS Step Functions pricing: standard workflow, state transition")


@dataclass(frozen=True)
class Sizes:
    """How much one unit of work writes."""

    event_bytes: int = fact(1_500, "events/: an order.notified of the load test, with its envelope")
    log_bytes_per_invocation: int = fact(1_500, "assumption: START, END, REPORT and one line of metrics")
    log_bytes_per_record: int = fact(1_200, "assumption: START, COMPLETED or FAILED, and the courier call of one order")


def assume(given: Mapping[str, str]) -> Platform:
    """Return the platform with other values, given by name; several values of one are separated by commas.

    Raises:
        ValueError: There is no such name, or a value is not what its rule asks for; the message says which and why.
    """
    known = {each.name: each for each in fields(Platform)}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            raise ValueError(f"there is nothing to assume about {name}; there is about {', '.join(known)}")
        values[name] = _assumed(name, text, known[name].default, above_zero=known[name].metadata["above_zero"])
    return Platform(**values)


def _assumed(name: str, text: str, default: Any, *, above_zero: bool) -> Any:
    """Read another value for a fact, of the same kind as the one that it replaces."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    whole = isinstance(default, int)
    several = isinstance(default, tuple)
    allowed = all(
        0 <= number < math.inf and not (above_zero and number == 0) and not (whole and number % 1) for number in numbers
    )
    if not allowed or (len(numbers) > 1 and not several):
        rule = "a whole number, 1 or more" if whole else "a number above 0" if above_zero else "a number, 0 or more"
        raise ValueError(f"{name} must be {rule}, not {text!r}")
    return numbers if several else type(default)(numbers[0])


def table(kind: type) -> list[tuple[str, Any, str]]:
    """Return a table's rows: name, value, source."""
    return [(each.name, each.default, each.metadata["source"]) for each in fields(kind)]
