"""What became of the orders: counted at the courier, in the queues and in the logs.

Nothing here trusts the load generator beyond which orders it sent and which of them the API
accepted. The same code reads a stack on AWS and one on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest import executions, logs, target
from loadtest.executions import Attempt, CourierCall, Invocation, RecordStatus
from loadtest.ledger import Ledger, SentOrder, settle
from loadtest.target import DeployedStack

ASYNC_ATTEMPTS = 3
"""Attempts that Lambda makes of an asynchronous invocation whose function fails: the first and two
retries (Lambda developer guide, "Asynchronous invocation error handling")."""

CLOCK_RESERVE_S = 5.0
"""How much earlier than the first order the logs are read, for clocks that differ."""


@dataclass(frozen=True)
class Figures:
    """The result of a run. Times in seconds, shares from 0 to 1, None where there is nothing to tell.

    Attributes:
        sent: Orders that the load generator sent.
        accepted: Orders that the API answered with 202.
        delivered: Accepted orders that the courier has accepted, from the courier's table.
        lost: Accepted orders that are neither at the courier, nor in a dead-letter queue, nor still
            on their way.
        duplicates: Effects at the courier beyond the first of each order.
        dead_letters: Messages in all dead-letter queues.
        in_flight: Accepted orders that queues or pending retries still hold.
        p50_delay_s: Median of the time from sending an order to its acceptance by the courier.
        p95_delay_s: 95th percentile of the same.
        courier_calls: Calls that the delivery function made to the courier.
        throttled_share: Share of those calls that the courier refused as too many.
        peak_concurrency: Most executions of the delivery function at a time.
        worst_window_success: Lowest share of the delivery function's invocations that ended without
            an exception or a timeout, among those that ended in any 10 s, with 5 or more of them:
            the success rate of Lambda's console, by which the published experiment was judged.
        invocations: Invocations of the delivery function.
        billed_seconds_per_order: Billed time of the delivery function for each accepted order.
    """

    sent: int
    accepted: int
    delivered: int
    lost: int
    duplicates: int
    dead_letters: int
    in_flight: int
    p50_delay_s: float | None
    p95_delay_s: float | None
    courier_calls: int
    throttled_share: float | None
    peak_concurrency: int
    worst_window_success: float | None
    invocations: int
    billed_seconds_per_order: float | None


@dataclass(frozen=True)
class Details:
    """More about a run than the table shows.

    Attributes:
        peak_concurrency_of_hub: Most executions of all the hub's functions at a time.
        failed_invocations: Invocations of the delivery function that raised or timed out.
        worst_window_attempt_success: As `worst_window_success`, but by order instead of invocation:
            a message that a batch hands back to its queue counts as failed, although it only waits
            for its next turn.
        billed_seconds_per_order_of_hub: Billed time of all the hub's functions per accepted order.
        calls_by_outcome: Calls to the courier by class of their answer.
        unexpected_deliveries: Orders delivered although the API did not answer 202.
        drain_s: Seconds from the end of the load until nothing was on its way.
        drained: Whether that happened within the time limit.
    """

    peak_concurrency_of_hub: int
    failed_invocations: int
    worst_window_attempt_success: float | None
    billed_seconds_per_order_of_hub: float | None
    calls_by_outcome: dict[str, int]
    unexpected_deliveries: int
    drain_s: float
    drained: bool


@dataclass(frozen=True)
class Measurement:
    """A run's figures, the series behind its picture in seconds since the first order, and each invocation's bill."""

    figures: Figures
    details: Details
    concurrency: list[tuple[float, int]]
    success: list[tuple[float, float]]
    accepted: list[float]
    delivered: list[float]
    billed_s: list[float]

    def meta(self) -> dict[str, Any]:
        """Return the details and series, as JSON takes them."""
        return asdict(self.details) | {
            "series": {
                "concurrency": [[round(at, 3), n] for at, n in self.concurrency],
                "success": [[round(at, 3), round(share, 4)] for at, share in self.success],
                "accepted": [round(at, 3) for at in self.accepted],
                "delivered": [round(at, 3) for at in self.delivered],
            }
        }


@dataclass(frozen=True)
class Evidence:
    """Everything that is read from the stack, before any arithmetic."""

    sent: Sequence[SentOrder]
    courier: dict[str, target.CourierEntry]
    dead_letters: dict[str, str | None]
    side_dead_letters: int
    waiting: int
    invocations: dict[str, list[Invocation]]
    calls: list[CourierCall]
    statuses: list[RecordStatus]
    spent_after: int | None


def attempts_of(stack: DeployedStack) -> int | None:
    """How often an order is tried before it is given up; None where a queue holds it until then."""
    return None if stack.outputs.get("DeliveryQueueUrl") else ASYNC_ATTEMPTS


def collect(stack: DeployedStack, sent: Sequence[SentOrder]) -> Evidence:
    """Read the courier's table, the queues and the logs of a stack after a run."""
    begin = min((order.sent_at for order in sent), default=time.time()) - CLOCK_RESERVE_S
    log = {function: logs.FunctionLog(stack, f"{function}FunctionName", begin) for function in target.FUNCTIONS}
    failed = logs.parse_failures(log["Delivery"].read(logs.DIAGNOSTICS))
    records = log["Delivery"].read(logs.RECORDS)
    return Evidence(
        sent=sent,
        courier=target.courier_orders(stack),
        dead_letters=target.dead_letters(stack, target.DELIVERY_DEAD_LETTER_QUEUES),
        side_dead_letters=sum(target.messages(stack, target.SIDE_DEAD_LETTER_QUEUES).values()),
        waiting=sum(target.messages(stack, target.DELIVERY_WORK_QUEUES).values()),
        invocations={
            function: logs.parse_invocations(
                log[function].read(logs.REPORTS), failed if function == "Delivery" else set()
            )
            for function in target.FUNCTIONS
        },
        calls=logs.parse_calls(records),
        statuses=logs.parse_statuses(records),
        spent_after=attempts_of(stack),
    )


def spent_orders(sent: Sequence[SentOrder], made: Sequence[Attempt], spent_after: int | None) -> set[str]:
    """Order ids whose last asynchronous attempt has failed; none where a queue holds the orders."""
    if spent_after is None:
        return set()
    failures = executions.failures_by_order(made)
    return {order.order_id for order in sent if order.correlation_id and failures[order.correlation_id] >= spent_after}


def summarise(evidence: Evidence, *, drain_s: float, drained: bool) -> Measurement:
    """Work out a run's figures.

    Args:
        evidence: What was read from the stack.
        drain_s: Seconds from the end of the load until the run was measured.
        drained: Whether nothing was on its way any more.
    """
    sent = evidence.sent
    courier = {order.order_id: evidence.courier[order.order_id] for order in sent if order.order_id in evidence.courier}
    delivery = evidence.invocations["Delivery"]
    made = executions.attempts(evidence.statuses, delivery)
    ledger = _ledger(evidence, courier, made, drained=drained)
    delays = [
        courier[order.order_id].first_accepted_at - order.sent_at
        for order in sent
        if order.order_id in ledger.delivered
    ]
    accepted = sum(order.accepted for order in sent)
    outcomes = [call.outcome for call in evidence.calls]
    results = [(i.end, not i.failed) for i in delivery]
    whole = [i for invocations in evidence.invocations.values() for i in invocations]
    steps = executions.concurrency(delivery)
    start = min((order.sent_at for order in sent), default=0.0)
    return Measurement(
        figures=Figures(
            sent=len(sent),
            accepted=accepted,
            delivered=len(ledger.delivered),
            lost=len(ledger.lost),
            duplicates=ledger.duplicates,
            dead_letters=len(evidence.dead_letters) + evidence.side_dead_letters,
            in_flight=len(ledger.in_flight),
            p50_delay_s=_rounded(executions.percentile(delays, 0.5)),
            p95_delay_s=_rounded(executions.percentile(delays, 0.95)),
            courier_calls=len(outcomes),
            throttled_share=_share(outcomes.count("throttled"), len(outcomes)),
            peak_concurrency=executions.peak(steps),
            worst_window_success=_rounded(executions.worst_success(results)),
            invocations=len(delivery),
            billed_seconds_per_order=_share(sum(i.billed_s for i in delivery), accepted),
        ),
        details=Details(
            peak_concurrency_of_hub=executions.peak(executions.concurrency(whole)),
            failed_invocations=sum(i.failed for i in delivery),
            worst_window_attempt_success=_rounded(
                executions.worst_success([(attempt.end, attempt.delivered) for attempt in made])
            ),
            billed_seconds_per_order_of_hub=_share(sum(i.billed_s for i in whole), accepted),
            calls_by_outcome={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
            unexpected_deliveries=len(ledger.unexpected),
            drain_s=round(drain_s, 1),
            drained=drained,
        ),
        concurrency=[(at - start, running) for at, running in steps],
        success=[(at - start, share) for at, share in executions.success_over_time(results)],
        accepted=sorted(order.sent_at - start for order in sent if order.accepted),
        delivered=sorted(entry.first_accepted_at - start for entry in courier.values()),
        billed_s=[invocation.billed_s for invocation in delivery],
    )


def _ledger(
    evidence: Evidence, courier: Mapping[str, target.CourierEntry], made: Sequence[Attempt], *, drained: bool
) -> Ledger:
    """Settle the orders; what Lambda may still try again by itself is in flight, in no queue."""
    retries_pending = evidence.spent_after is not None and not drained
    waiting = len(evidence.sent) if retries_pending else evidence.waiting
    return settle(
        evidence.sent,
        {order_id: entry.effects for order_id, entry in courier.items()},
        [order_id for order_id in evidence.dead_letters.values() if order_id],
        spent=spent_orders(evidence.sent, made, evidence.spent_after),
        waiting=waiting,
    )


def _share(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
