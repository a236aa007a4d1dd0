"""How to size the hub for a courier: arithmetic first, then an hour in the twin.

The arithmetic is Little's law (calls in flight = calls a second x seconds each; Little, "A Proof for the Queuing
Formula L = λW", Operations Research, 1961), applied to batches: an execution holds its batch from the first slot until
the slowest answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hub.attempts import MAXIMUM_AGE_SECONDS, SETTLING_SECONDS, latest_start
from hub.circuit import LEAST_CONCURRENCY
from loadtest.profiles import Phase, Profile
from loadtest.twin.constants import Platform
from loadtest.twin.model import simulate
from loadtest.twin.result import Result
from loadtest.twin.scenario import Scenario
from loadtest.twin.settings import Deployment, SettingError, check, deployment
from local.translated import template_yaml

DAY_S = 86_400.0
_VISIBILITY_FACTOR = 6
"""Lambda developer guide, Using Lambda with SQS: the visibility timeout is six function timeouts at least."""
_INTEGRATION_STEPS = 500
_INGEST_RESERVE = 1.5
"""The webhook's limit over the mean of what the shop sends."""
MOST_ORDERS = 300_000
"""That the twin tries: some fifteen seconds."""
_BUSY = 0.9
"""Above this utilisation of the courier small disturbances make long queues."""


@dataclass(frozen=True)
class Question:
    """What there is to size for.

    Args:
        orders: Orders a second, on average, above 0.
        rate: Calls a second that the courier accepts, above 0.
        latency: Least and most seconds that it takes to answer.
        failure_rate: Share of its answers that are failures on a good day, from 0, below 1.
        burst: Calls at once that it accepts, 1 or more.
    """

    orders: float
    rate: float
    latency: tuple[float, float]
    failure_rate: float
    burst: float

    def __post_init__(self) -> None:
        problems = [
            text
            for text, holds in (
                (f"--orders-per-second must be above 0, not {self.orders:g}", 0 < self.orders < math.inf),
                (f"--courier-rate must be above 0, not {self.rate:g}", 0 < self.rate < math.inf),
                (
                    f"--courier-latency must be LEAST,MOST seconds, 0 or more, not {self.latency}",
                    0 <= self.latency[0] <= self.latency[1] < math.inf,
                ),
                (f"--failure-rate must be from 0, below 1, not {self.failure_rate:g}", 0 <= self.failure_rate < 1),
                (f"--courier-burst must be 1 or more, not {self.burst:g}", 1 <= self.burst < math.inf),
            )
            if not holds
        ]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def capacity(self) -> float:
        """Deliveries a second that the courier allows."""
        return self.rate * (1 - self.failure_rate)

    @property
    def calls(self) -> float:
        """Calls a second that the orders need, as far as the courier accepts them."""
        return min(self.rate, self.orders / (1 - self.failure_rate))

    @property
    def mean_latency(self) -> float:
        """Seconds that an answer takes on average."""
        return sum(self.latency) / 2

    def late(self, timeout: float) -> float:
        """Return the share of answers that take longer than a time-out in seconds."""
        least, most = self.latency
        return min(1.0, max(0.0, most - timeout) / (most - least)) if most > least else float(most > timeout)

    def last_answer(self, batch: int) -> float:
        """Return the mean time from a batch's first slot to its last answer, in seconds.

        The calls begin 1 / rate apart and take uniform times; the mean of a maximum is the integral of the chance that
        it is still to come.
        """
        least, most = self.latency
        spread = most - least
        last_slot = (batch - 1) / self.rate
        step = (last_slot + spread) / _INTEGRATION_STEPS
        still_open = 0.0
        for index in range(_INTEGRATION_STEPS):
            after = (index + 0.5) * step
            answered = 1.0
            for call in range(batch):
                passed = after - call / self.rate
                answered *= min(1.0, max(0.0, passed / spread)) if spread else float(passed >= 0)
            still_open += (1.0 - answered) * step
        return least + still_open

    def parameters(self) -> dict[str, str]:
        """Return the template's parameters that describe the courier."""
        return {
            "CourierRate": f"{self.rate:g}",
            "CourierBurst": f"{self.burst:g}",
            "SimulatorFailureRate": f"{self.failure_rate:g}",
            "SimulatorLatencyMin": f"{self.latency[0]:g}",
            "SimulatorLatencyMax": f"{self.latency[1]:g}",
        }


ASKED: Mapping[str, str] = {
    "CourierRate": "--courier-rate",
    "CourierBurst": "--courier-burst",
    "SimulatorFailureRate": "--failure-rate",
    "SimulatorLatencyMin": "--courier-latency",
    "SimulatorLatencyMax": "--courier-latency",
}
"""Parameters of the template that the question gives, and with which option."""


@dataclass(frozen=True)
class Setting:
    """One value to set, and why."""

    name: str
    value: str
    reason: str
    parameter: bool = True
    """Whether it is a parameter of the template; else it stands in its Mappings."""


@dataclass(frozen=True)
class Plan:
    """The answer: what to set, what to expect, and what is unsafe."""

    question: Question
    settings: list[Setting]
    warnings: list[str]
    expected: dict[str, Any]
    result: Result

    def to_json(self) -> str:
        """Return the same bytes for the same question."""
        values = {
            "question": asdict(self.question),
            "settings": [asdict(setting) for setting in self.settings],
            "warnings": self.warnings,
            "expected": self.expected,
            "simulated": json.loads(self.result.to_json(series=False)),
        }
        return json.dumps(values, indent=2, sort_keys=True) + "\n"


def plan(question: Question, given: Mapping[str, str], *, hours: float, seed: int) -> Plan:
    """Size the hub, try it in the twin, and say what to expect and what is unsafe.

    Args:
        question: The load and the courier.
        given: Parameters of the template that are decided already; they are checked, not changed.
        hours: How long the twin tries it, with independent customers, above 0; less if there are very many of them.
        seed: The same seed gives the same answer.

    Raises:
        ValueError: No order came, a given parameter is part of the question, or no setting suits it.
        SettingError: A given parameter does not exist, or its value is not allowed.
    """
    for name in given:
        if option := ASKED.get(name):
            raise ValueError(f"{name} is part of the question: give it with {option}, not with --set")
    template = deployment("flow-control", question.parameters() | dict(given))
    settings = advise(question, template, given)
    chosen = {setting.name: setting.value for setting in settings if setting.parameter}
    try:
        check(template_yaml(), chosen)
    except SettingError as error:
        raise SettingError(f"this load and this courier ask for more than the template allows: {error}") from None
    parameters = question.parameters() | chosen | dict(given)
    seconds = min(hours * 3600.0, MOST_ORDERS / question.orders)
    profile = Profile("plan", (Phase("steady", seconds, question.orders, question.orders),))
    result = simulate(
        Scenario("flow-control", profile, seed=seed, parameters=parameters, arrivals="poisson", horizon=seconds)
    )
    if not result.accepted:
        raise ValueError(f"in {seconds / 3600:g} h at {question.orders:g} orders a second none came: try more --hours")
    deployed = deployment("flow-control", parameters)
    expected = expect(question, deployed, result, seconds)
    return Plan(question, settings, warn(question, deployed), expected, result)


def needed_concurrency(question: Question, batch: int, overhead: float) -> float:
    """Return the executions that keep the courier busy: while one holds a batch, the others must fill its slots.

    An execution is busy from its first slot to its last answer, and for some overhead; with n executions it gets its
    next slots after n x batch / rate seconds. The two are equal at the least n that loses no slot.
    """
    return (question.last_answer(batch) + overhead) * question.rate / batch


def overhead(platform: Platform) -> float:
    """Return the seconds of an invocation that are neither a slot nor an answer."""
    return platform.mapping_latency + 3 * platform.table_latency + platform.gateway_latency + platform.settle_seconds


# ----------------------------------------------------------------------------------------------------- settings


def advise(question: Question, template: Deployment, given: Mapping[str, str]) -> list[Setting]:
    """Choose the settings; those that are given are kept."""
    beside = overhead(Platform())
    batch = int(given.get("DeliveryBatchSize", 0)) or _batch_size(question, template, beside)
    exact = needed_concurrency(question, batch, beside)
    cap = int(given.get("MaximumConcurrency", 0)) or max(LEAST_CONCURRENCY, math.ceil(exact))
    call_timeout = float(given.get("CourierTimeout", 0)) or _courier_timeout(question)
    function_timeout = max(
        template.delivery.timeout, math.ceil(cap * batch / question.rate + call_timeout + SETTLING_SECONDS)
    )
    assert template.delivery_mapping and template.delivery_queue  # noqa: S101, PT018 (flow control has both)
    window = template.delivery_mapping.window
    visibility = max(template.delivery_queue.visibility, _VISIBILITY_FACTOR * function_timeout + window)
    retention = template.delivery_queue.retention
    return [
        *_ingest(question, template, given),
        Setting(
            "DeliveryBatchSize",
            str(batch),
            "the most that the slots of all executions fit into one invocation; larger batches need fewer executions",
        ),
        Setting(
            "MaximumConcurrency",
            str(cap),
            f"a batch holds an execution for {exact * batch / question.rate:.1f} s, of which its slots take"
            f" {batch / question.rate:.1f} s: {exact:.1f} executions keep the courier busy"
            + (f", and Lambda allows {LEAST_CONCURRENCY} at least" if exact < LEAST_CONCURRENCY else ""),
        ),
        Setting("CourierTimeout", f"{call_timeout:g}", f"the courier takes up to {question.latency[1]:g} s to answer"),
        Setting(
            "Seconds.Delivery.FunctionTimeout",
            f"{function_timeout:g}",
            "time for the slots of all executions, one call and what comes after it",
            parameter=False,
        ),
        Setting(
            "Seconds.Delivery.VisibilityTimeout",
            f"{visibility:g}",
            f"{_VISIBILITY_FACTOR} function timeouts and the batching window",
            parameter=False,
        ),
        Setting(
            "Seconds.Retention.Queue",
            f"{retention:.0f}",
            f"{retention / DAY_S:g} days; an order is given up, with its reason, after {MAXIMUM_AGE_SECONDS / DAY_S:g}",
            parameter=False,
        ),
    ]


def _ingest(question: Question, template: Deployment, given: Mapping[str, str]) -> list[Setting]:
    """Let the webhook take what the shop sends, if it does not yet."""
    if "IngestRate" in given or template.ingest.rate >= _INGEST_RESERVE * question.orders:
        return []
    rate = math.ceil(_INGEST_RESERVE * question.orders)
    return [
        Setting("IngestRate", str(rate), f"the webhook refuses more; now it takes {template.ingest.rate:g} a second")
    ]


def _batch_size(question: Question, template: Deployment, beside: float) -> int:
    """Return the largest batch whose slots, with those of all other executions, fit into one invocation."""
    room = latest_start(0.0, remaining=template.delivery.timeout, courier_timeout=_courier_timeout(question))
    for batch in range(10, 1, -1):
        cap = max(LEAST_CONCURRENCY, math.ceil(needed_concurrency(question, batch, beside)))
        if cap * batch / question.rate <= room:
            return batch
    return 1


def _courier_timeout(question: Question) -> float:
    """Return a time-out with room to spare, within what the template allows (1 to 15 s)."""
    return float(min(15, max(5, math.ceil(1.5 * question.latency[1]))))


# ----------------------------------------------------------------------------------------------------- warnings


def warn(question: Question, deployed: Deployment) -> list[str]:
    """Name what is unsafe about a setting, in whole sentences."""
    about = (_webhook, _load, _concurrency, _times, _circuit)
    return [sentence for find in about for sentence in find(question, deployed)]


def _webhook(question: Question, deployed: Deployment) -> list[str]:
    if deployed.ingest.rate >= question.orders:
        return []
    return [
        f"The webhook refuses orders: {question.orders:g} a second come, and IngestRate is {deployed.ingest.rate:g}."
        " The shop gets a 429 for the rest."
    ]


def _load(question: Question, deployed: Deployment) -> list[str]:
    use = question.orders / question.capacity
    if use >= 1:
        growth = question.orders - question.capacity
        assert deployed.delivery_queue  # noqa: S101
        patience = min(deployed.delivery_queue.retention, MAXIMUM_AGE_SECONDS)
        waits = f"{growth * 3600:,.0f} more orders wait with every hour" if use > 1 else "what waits goes on waiting"
        sentences = [
            f"Never drains: {question.orders:g} orders a second come, and the courier takes {question.capacity:g} at"
            f" most; {waits}. Agree on more than {question.orders / (1 - question.failure_rate):.4g} calls a second"
            " with the courier."
        ]
        if use > 1:
            days = patience / (use - 1) / DAY_S
            sentences.append(
                f"Retention runs out: if it goes on like this, orders are {patience / DAY_S:g} days old after"
                f" {days:.1f} days, and from then on end in the dead-letter queue."
            )
        return sentences
    if use > _BUSY:
        return [
            f"Hardly drains: the courier is used to {use:.0%}, so after an hour of outage the queue needs"
            f" {use / (1 - use):,.0f} hours to be empty again."
        ]
    return []


def _concurrency(question: Question, deployed: Deployment) -> list[str]:
    mapping = deployed.delivery_mapping
    assert mapping  # noqa: S101
    batch, cap = mapping.batch_size, mapping.maximum_concurrency or 0
    needed = needed_concurrency(question, batch, overhead(Platform()))
    reached = question.rate * min(1.0, cap / needed)
    room = latest_start(0.0, remaining=deployed.delivery.timeout, courier_timeout=deployed.courier.timeout)
    sentences: list[str] = []
    if reached < question.calls * 0.99:
        sentences.append(
            f"MaximumConcurrency {cap} with batches of {batch} makes {reached:.3g} calls a second, and the orders need"
            f" {question.calls:.3g}: set {math.ceil(needed)}."
        )
    if cap >= 2 * max(LEAST_CONCURRENCY, math.ceil(needed)):
        sentences.append(
            f"MaximumConcurrency {cap} does not limit anything: the pace does, at {math.ceil(needed)} executions. While"
            f" orders wait, the rest wait for their slots on billed time,"
            f" {cap / question.capacity:.2g} s an order instead of {math.ceil(needed) / question.capacity:.2g} s."
        )
    if cap * batch / question.rate > room:
        sentences.append(
            f"{cap} executions with batches of {batch} ask for slots of {cap * batch / question.rate:.0f} s, and a"
            f" call must begin within {room:.0f} s of the function's {deployed.delivery.timeout:g} s: the other orders"
            " go back untried and use up receives."
        )
    return sentences


def _times(question: Question, deployed: Deployment) -> list[str]:
    mapping, queue = deployed.delivery_mapping, deployed.delivery_queue
    assert mapping and queue  # noqa: S101, PT018
    sentences: list[str] = []
    least = _VISIBILITY_FACTOR * deployed.delivery.timeout + mapping.window
    if queue.visibility < least:
        sentences.append(f"The visibility timeout is {queue.visibility:g} s; it should be {least:g} s at least.")
    if question.latency[1] >= deployed.courier.timeout:
        sentences.append(
            f"The courier may take {question.latency[1]:g} s and CourierTimeout is {deployed.courier.timeout:g} s:"
            f" {question.late(deployed.courier.timeout):.0%} of its answers come too late, count as failed, and the"
            " orders are sent again. Unless it honours Idempotency-Key, it delivers twice."
        )
    return sentences


def _circuit(question: Question, deployed: Deployment) -> list[str]:
    circuit = deployed.circuit
    assert circuit  # noqa: S101
    calls = question.calls * circuit.window
    if calls < circuit.minimum_calls:
        return [
            f"The circuit cannot open: {calls:.3g} calls come in {circuit.window:g} s and CircuitMinimumCalls is"
            f" {circuit.minimum_calls}. Set a longer CircuitWindow, or a lower CircuitMinimumCalls."
        ]
    failing = 1 - (1 - question.failure_rate) * (1 - question.late(deployed.courier.timeout))
    by_chance = _tail(round(calls), circuit.failure_rate, failing) * DAY_S / circuit.window
    if by_chance > 1 / 30:
        return [
            f"The circuit opens by chance {by_chance:.2g} times a day: of {calls:.0f} calls in {circuit.window:g} s,"
            f" {failing:.0%} fail on average and {circuit.failure_rate:.0%} at times. Raise"
            " CircuitFailureRate or CircuitWindow."
        ]
    return []


def _tail(calls: int, share: float, failure_rate: float) -> float:
    """Return the chance that at least a share of some calls fail (binomial distribution)."""
    least = math.ceil(share * calls - 1e-9)
    return (
        sum(
            math.comb(calls, number) * failure_rate**number * (1 - failure_rate) ** (calls - number)
            for number in range(least, calls + 1)
        )
        if calls <= 1000
        else float(failure_rate >= share)
    )


# -------------------------------------------------------------------------------------------- what to expect


def expect(question: Question, deployed: Deployment, result: Result, seconds: float) -> dict[str, Any]:
    """Extend what the twin saw to a day: a load that drains looks the same every hour, one that does not piles up."""
    mapping = deployed.delivery_mapping
    assert mapping and mapping.maximum_concurrency  # noqa: S101, PT018
    exact = needed_concurrency(question, mapping.batch_size, overhead(Platform()))
    capacity = question.capacity * min(1.0, mapping.maximum_concurrency / exact)
    growth = max(0.0, question.orders - capacity)
    delivered_per_day = min(question.orders, capacity) * DAY_S
    cost = result.cost_usd_per_1000_orders
    return {
        "simulated_hours": round(seconds / 3600, 3),
        "utilisation": round(question.orders / question.capacity, 3),
        "p50_delay_s": result.p50_delay_s if not growth else None,
        "p95_delay_s": result.p95_delay_s if not growth else None,
        "delay_after_a_day_s": round(growth * DAY_S / capacity) if growth else None,
        "backlog": result.max_backlog if not growth else None,
        "backlog_after_a_day": round(growth * DAY_S) if growth else None,
        "delivered_per_day": round(delivered_per_day),
        "cost_usd_per_day": None if cost is None else round(cost / 1000 * question.orders * DAY_S, 2),
        "calls_in_flight_by_littles_law": round(question.calls * question.mean_latency, 2),
        "mean_executions": _mean_executions(result, seconds),
        "billed_seconds_per_order": result.billed_seconds_per_order,
    }


def _mean_executions(result: Result, seconds: float) -> float | None:
    """Return the executions that were busy on average: billed seconds for each second (Little's law again)."""
    billed = result.billed_seconds_per_order
    return None if billed is None else round(billed * result.accepted / seconds, 2)
