"""Every metric that the functions emit, in one place: its name, who emits it, its unit and what it counts.

Each has the dimension ``service`` and stands in the namespace of template.yaml (``POWERTOOLS_METRICS_NAMESPACE``);
one has another dimension of few values. CloudWatch bills for each name with each set of dimension values, so a
correlation id is never one of them: it stands in the log lines. Dashboard and alarms are held to this list
(``tests/template``).
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_lambda_powertools import single_metric

from hub.instrument import MetricResolution, MetricUnit, metrics


@dataclass(frozen=True)
class Measure:
    """A metric.

    Args:
        name: Its name.
        service: Who emits it, by the dimension ``service``; more than one separated by ", ".
        meaning: What it counts or measures.
        unit: Its unit.
        resolution: High for alarms with periods below a minute.
        dimension: Name of another dimension, of few values; empty for most.
    """

    name: str
    service: str
    meaning: str
    unit: MetricUnit = MetricUnit.Count
    resolution: MetricResolution = MetricResolution.Standard
    dimension: str = ""

    def add(self, value: float = 1, dimension_value: str = "") -> None:
        """Add a value, which goes out with the invocation's other metrics; one with a further dimension at once.

        Args:
            value: The value, in the metric's unit.
            dimension_value: The value of the further dimension, if the metric has one.
        """
        if not self.dimension:
            metrics.add_metric(self.name, self.unit, value, self.resolution)
            return
        given = {"service": metrics.service or self.service, self.dimension: dimension_value}
        with single_metric(self.name, self.unit, value, self.resolution, default_dimensions=given):
            pass


ORDERS_NOTIFIED = Measure("OrdersNotified", "notification", "stored orders that were put on the event bus")
ORDERS_UNREADABLE = Measure(
    "OrdersUnreadable",
    "notification, sales",
    "messages that nobody can read, now dead letters",
)
ORDERS = Measure("Orders", "sales", "orders that sales has kept, each once")
ORDERS_REPEATED = Measure("OrdersRepeated", "sales", "orders that sales had kept before: a repeat without an effect")
ORDERS_REPLAYED = Measure("OrdersReplayed", "sales", "the same, from a replay of the archive")
ORDER_VALUE = Measure("OrderValue", "sales", "their totals, each in its currency", dimension="currency")

DELIVERY_DELAY = Measure(
    "DeliveryDelay", "delivery", "from the receipt of an order to the courier's yes", MetricUnit.Seconds
)
CALLS = {
    "delivered": Measure("CallsDelivered", "delivery", "orders that the courier took, now or before"),
    "throttled": Measure("CallsThrottled", "delivery", "calls that the courier refused, because we were too fast"),
    "unhealthy": Measure("CallsUnhealthy", "delivery", "calls that failed on the courier's side"),
    "transient": Measure("CallsTransient", "delivery", "attempts that failed for once"),
    "permanent": Measure("CallsPermanent", "delivery", "orders that the courier will never take, or given up"),
    "poison": Measure("CallsPoison", "delivery", "messages that nobody can read"),
    "untried": Measure("CallsUntried", "delivery", "attempts without a call: no slot, or a courier that fails"),
}
"""By the outcome of an attempt (``hub.outcomes``)."""
COURIER_FAILURE = Measure(
    "CourierFailure",
    "delivery",
    "1 for a call that failed on the courier's side, 0 for one that it took; its average opens the circuit",
    resolution=MetricResolution.High,
)
PACE = Measure("Pace", "delivery", "the shared rate of calls at present", MetricUnit.CountPerSecond)
PACE_UNAVAILABLE = Measure("PaceUnavailable", "delivery", "times that the shared pace was out of reach")
PACE_MENDED = Measure("PaceMended", "delivery", "times that the item of the pace was broken")

CIRCUIT = {
    "open": Measure("CircuitOpen", "circuit", "times that the circuit opened"),
    "half-open": Measure("CircuitHalfOpen", "circuit", "rounds of probes"),
    "ramping": Measure("CircuitRamping", "circuit", "times that deliveries began to flow again"),
    "closed": Measure("CircuitClosed", "circuit", "times that the circuit closed"),
    "broken": Measure("CircuitBroken", "circuit", "times that the circuit breaker's machine could not go on"),
}
"""By the state that the circuit changed to (``hub.circuit``)."""
CIRCUIT_NOT_CLOSED = Measure("CircuitNotClosed", "circuit", "1 while the circuit is not closed, else 0; each minute")
CIRCUIT_LEVEL = Measure(
    "CircuitLevel", "circuit", "0 closed, 1 ramping, 2 half-open, 3 open, 4 broken; each minute and with each change"
)
CIRCUIT_LEVELS = {"closed": 0, "ramping": 1, "half-open": 2, "open": 3, "broken": 4}
CIRCUIT_REPAIRED = Measure("CircuitRepaired", "circuit", "contradictions that the watchdog mended")

DELIVERIES_ACCEPTED = Measure("DeliveriesAccepted", "slow-api", "deliveries that the courier simulator took")
DELIVERIES_REFUSED = Measure("DeliveriesRefused", "slow-api", "deliveries that the courier simulator failed")

SALES_EXPORTED = Measure("SalesExported", "sales-export", "sales that were written to S3")
DEAD_LETTERS_TOLD = Measure("DeadLettersTold", "dead-letters", "dead letters that people were told of")
LETTERS_REDRIVEN = Measure("LettersRedriven", "recovery", "dead letters that were sent again")

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for value in list(globals().values())
    for measure in (value.values() if isinstance(value, dict) else (value,))
    if isinstance(measure, Measure)
}
"""All of them, by name."""
