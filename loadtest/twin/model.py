"""The model: every part of one variant, connected as template.yaml connects it, and run to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from loadtest.executions import LEAST_RESULTS, percentile
from loadtest.twin.arrivals import moments
from loadtest.twin.breaker import Alarms, CircuitBreaker
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform, Sizes
from loadtest.twin.courier import Courier, TokenBucket
from loadtest.twin.delivery import BufferedDelivery, DirectDelivery, PacedDelivery
from loadtest.twin.fluid import drain_seconds
from loadtest.twin.functions import Account, AsynchronousInvocation, Done, Function
from loadtest.twin.mapping import Handler, Mapping
from loadtest.twin.measure import BUCKET_S, Measure
from loadtest.twin.price import Work, bill
from loadtest.twin.queue import Message, Queue
from loadtest.twin.result import Result
from loadtest.twin.scenario import Scenario
from loadtest.twin.settings import QueueSettings, deployment, prices

_BUCKETS_PER_MINUTE = round(60 / BUCKET_S)
_WRITES_PER_ATTEMPT = 2
"""The idempotency item: in progress before the call, completed or deleted after it."""
_WRITES_PER_BATCH = 1
"""The pace."""


def simulate(scenario: Scenario) -> Result:
    """Run a scenario in virtual time. The same scenario gives the same result.

    Raises:
        SettingError: There is no such variant or parameter, or a value is not allowed.
    """
    return Model(scenario).run()


class Model:
    """One hub, with its shop and its courier."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.deployment = deployment(scenario.variant, scenario.parameters)
        self.clock = Clock()
        recovered_at = max((outage.end for outage in scenario.outages), default=None)
        self.measure = Measure(self.clock, self.deployment.saturating_orders, recovered_at)
        self.account = Account(scenario.platform.account_concurrency, self.measure.running_account)
        self.queues: list[Queue] = []
        self.functions: list[Function] = []
        self.published = 0
        self._load_over = False
        self._ingest()
        self._sales()
        self.delivery = self._function("delivery", self.measure.running)
        slow_api = self.deployment.slow_api
        self.courier = Courier(
            self.clock,
            self.deployment.courier,
            Function(self.clock, self.account, slow_api, scenario.platform) if slow_api else None,
            scenario.platform,
            scenario.outages,
            scenario.seed,
            self.measure,
        )
        self.asynchronous: AsynchronousInvocation | None = None
        self.delivery_queue: Queue | None = None
        self.paced: PacedDelivery | None = None
        self.breaker: CircuitBreaker | None = None
        self._deliver()

    # ------------------------------------------------------------------------------------------------ building

    def _random(self, purpose: str) -> Random:
        """Make a stream of random numbers; a part that draws more of its own changes no other's."""
        return Random(f"{self.scenario.seed}/{purpose}")

    def _function(self, name: str, watch: Any = lambda _: None) -> Function:
        function = Function(self.clock, self.account, getattr(self.deployment, name), self.scenario.platform, watch)
        self.functions.append(function)
        return function

    def _queue(self, settings: QueueSettings, *, books: bool) -> Queue:
        """Make a queue; if an order's fate is decided in it, the books are told of dead letters and losses."""
        told = (self.measure.dead, self.measure.lost) if books else (_nothing, _nothing)
        queue = Queue(self.clock, settings, self.scenario.platform, dead_letter=told[0], expire=told[1])
        self.queues.append(queue)
        return queue

    def _mapping(self, queue: Queue, function: Function, handler: Handler, settings: Any, ended: Any) -> Mapping:
        return Mapping(self.clock, queue, function, handler, settings, self.scenario.platform, ended)

    def _ingest(self) -> None:
        self._throttle = TokenBucket(self.deployment.ingest)
        self._ingest_queue = self._queue(self.deployment.ingest_queue, books=True)
        notification = self._function("notification")
        self._mapping(self._ingest_queue, notification, self._notify, self.deployment.notification_mapping, _nothing)

    def _sales(self) -> None:
        self._sales_queue = self._queue(self.deployment.sales_queue, books=False)
        sales = self._function("sales")
        self._mapping(self._sales_queue, sales, self._sell, self.deployment.sales_mapping, _nothing)

    def _deliver(self) -> None:
        """Build the delivery path of the variant."""
        deployment, platform = self.deployment, self.scenario.platform
        if deployment.paced:
            self._deliver_paced()
            return
        direct = DirectDelivery(
            self.clock, self.courier, deployment, platform, self._random("waits inside invocations"), self.measure
        )
        if deployment.delivery_queue and deployment.delivery_mapping:
            queue = self.delivery_queue = self._queue(deployment.delivery_queue, books=True)
            self._mapping(
                queue, self.delivery, BufferedDelivery(direct, queue), deployment.delivery_mapping, self._ended
            )
            return
        self.asynchronous = AsynchronousInvocation(
            self.clock,
            self.delivery,
            direct,
            platform,
            self._random("asynchronous throttles"),
            ended=self._ended,
            give_up=self.measure.dead if deployment.delivery.dead_letters else self.measure.lost,
        )

    def _deliver_paced(self) -> None:
        deployment, platform = self.deployment, self.scenario.platform
        assert deployment.delivery_queue and deployment.delivery_mapping and deployment.circuit  # noqa: S101, PT018
        queue = self.delivery_queue = self._queue(deployment.delivery_queue, books=True)
        alarms = Alarms(self.clock, deployment.circuit, platform)
        self.paced = PacedDelivery(
            self.clock,
            self.courier,
            queue,
            deployment,
            platform,
            self._random("backoff"),
            self.measure,
            alarms.observe,
        )
        mapping = self._mapping(queue, self.delivery, self.paced, deployment.delivery_mapping, self._ended)
        self.breaker = CircuitBreaker(
            self.clock,
            deployment.circuit,
            platform,
            alarms,
            mapping,
            queue,
            self.delivery,
            self.paced,
            self._random("probe waits"),
            self.measure,
        )

    # ------------------------------------------------------------------------------------------- what happens

    def _load(self) -> Any:
        """Send the orders of the shop."""
        for moment in moments(self.scenario.profile, self.scenario.arrivals, self._random("arrivals")):
            yield self.clock.timeout(max(0.0, moment - self.clock.now))
            accepted = self._throttle.take(self.clock.now)
            order = self.measure.arrived(accepted=accepted)
            if accepted:
                self._ingest_queue.send(order)
        yield self.clock.timeout(max(0.0, self.scenario.profile.duration_s - self.clock.now))
        self._load_over = True

    def _notify(self, batch: list[Message], done: Done) -> None:
        self.clock.after(self.scenario.platform.notification_seconds, self._notified, batch, done)

    def _notified(self, batch: list[Message], done: Done) -> None:
        self.published += len(batch)
        self._ingest_queue.delete(len(batch))
        done(True)
        self.clock.after(self.scenario.platform.bus_latency, self._routed, batch)

    def _routed(self, batch: list[Message]) -> None:
        """Hand events of the bus to the targets of its rules."""
        take = self.asynchronous.submit if self.asynchronous else self.delivery_queue.send  # type: ignore[union-attr]
        for message in batch:
            take(message.order)
            self._sales_queue.send(message.order)

    def _sell(self, batch: list[Message], done: Done) -> None:
        self.clock.after(self.scenario.platform.sales_seconds_per_order * len(batch), self._sold, batch, done)

    def _sold(self, batch: list[Message], done: Done) -> None:
        self._sales_queue.delete(len(batch))
        done(True)

    def _ended(self, success: bool) -> None:
        self.measure.invoked(success=success)

    # ------------------------------------------------------------------------------------------------- running

    def run(self) -> Result:
        """Send the load, and go on until nothing is on its way any more, or the horizon is reached."""
        self.clock.process(self._load())
        for outage in self.scenario.outages:
            self.clock.after(outage.begin, self.measure.saturation.suspend, outage.begin)
            self.clock.after(outage.end, self.measure.saturation.resume)
        over = self.clock.event()
        self.clock.process(self._referee(over))
        self.clock.run(until=over)
        self.measure.finish()
        return self._result()

    def _referee(self, over: Any) -> Any:
        """Look at the end of every ten seconds whether it is all over."""
        horizon = self.scenario.horizon
        last = self._patience() if horizon is None else horizon
        while self.clock.now < last and (horizon is not None or not self._settled()):
            yield self.clock.timeout(min(BUCKET_S, last - self.clock.now))
        for queue in self.queues:
            queue.expire_all()
        over.succeed()

    def _patience(self) -> float:
        """Return when every message has expired, and every asynchronous event is given up, at the latest."""
        longest = max(queue.settings.retention for queue in self.queues)
        ends = [self.scenario.profile.duration_s, *(outage.end for outage in self.scenario.outages)]
        return max(ends) + 2 * longest + self.scenario.platform.async_event_age

    def _settled(self) -> bool:
        return (
            self._load_over
            and not self.account.running
            and not any(queue.size for queue in self.queues)
            and not (self.asynchronous and self.asynchronous.pending)
            and (self.breaker is None or self.breaker.state == "closed")
        )

    # --------------------------------------------------------------------------------------------- the result

    def _result(self) -> Result:
        measure = self.measure
        fates = measure.count()
        accepted = len(measure.fates)
        invocations = self.delivery.invocations
        delays = sorted(measure.delays)
        costs = self._costs()
        per_thousand = 1000 / accepted if accepted else None
        minutes = _minutes(measure.series["succeeded"], measure.series["failed"])
        return Result(
            scenario=self._described(),
            orders=measure.sent,
            accepted=accepted,
            **fates,
            duplicates=measure.duplicates,
            peak_concurrency=measure.peak,
            peak_concurrency_of_account=measure.peak_account,
            worst_minute_success=_rounded(
                min((good / (good + bad) for good, bad in minutes if good + bad >= LEAST_RESULTS), default=None)
            ),
            max_failed_per_minute=max((bad for _, bad in minutes), default=0),
            p50_delay_s=_rounded(percentile(delays, 0.5)),
            p95_delay_s=_rounded(percentile(delays, 0.95)),
            max_backlog=measure.max_backlog,
            drain_s=round(max(0.0, measure.last_settled - self.scenario.profile.duration_s), 1),
            fluid_limit_drain_s=drain_seconds(self.scenario.profile, self._capacity(), self.scenario.outages),
            goodput_ratio=self._goodput(),
            throttled_share=_share(measure.throttled, measure.calls),
            courier_calls=measure.calls,
            peak_calls_per_second=measure.peak_calls,
            peak_calls_per_second_recovered=measure.peak_calls_recovered if self.scenario.outages else None,
            invocations=invocations,
            billed_seconds_per_order=_share(self.delivery.billed, accepted),
            cost_usd_per_1000_orders=None if per_thousand is None else _rounded(sum(costs.values()) * per_thousand, 6),
            costs_usd_per_1000_orders=None
            if per_thousand is None
            else {service: round(cost * per_thousand, 6) for service, cost in costs.items()},
            time_to_open_s=self._after_outages("begin", self.breaker.disabled_at if self.breaker else []),
            time_to_recover_s=self._after_outages("end", self.breaker.closed_at if self.breaker else []),
            series=measure.series,
        )

    def _described(self) -> dict[str, Any]:
        scenario = self.scenario
        return {
            "variant": scenario.variant,
            "profile": asdict(scenario.profile),
            "seed": scenario.seed,
            "parameters": dict(scenario.parameters),
            "outages": [asdict(outage) for outage in scenario.outages],
            "arrivals": scenario.arrivals,
            "horizon_s": scenario.horizon,
            "assumed": {
                name: value for name, value in vars(scenario.platform).items() if value != getattr(Platform, name)
            },
        }

    def _capacity(self) -> float:
        """Return the deliveries a second that the courier allows."""
        return self.deployment.courier.limits.rate * (1 - self.deployment.courier.failure_rate)

    def _goodput(self) -> float | None:
        seconds, delivered = self.measure.saturation.longest
        answers = self.measure.answers
        answered = sum(answers.values())
        if not seconds or not answers["delivered"]:
            return None
        return _rounded(delivered / seconds / (self.deployment.courier.limits.rate * answers["delivered"] / answered))

    def _after_outages(self, edge: str, moments: Sequence[float]) -> float | None:
        """Return the longest time from an edge of an outage to the first of some moments after it."""
        waits: list[float] = []
        for outage in self.scenario.outages:
            since = getattr(outage, edge)
            if after := [moment for moment in moments if moment >= since]:
                waits.append(after[0] - since)
        return round(max(waits), 1) if waits else None

    def _costs(self) -> dict[str, float]:
        """Return the bill, by service."""
        paced, breaker, measure = self.paced, self.breaker, self.measure
        told = sum(measure.count()[fate] for fate in ("delivered", "dead_letters"))
        work = Work(
            functions=self.functions,
            gateway_requests=measure.sent,
            queue_requests=sum(queue.requests for queue in self.queues),
            bus_events=self.published + told + (breaker.announcements if breaker else 0),
            table_writes=self.published
            + (paced.attempts * _WRITES_PER_ATTEMPT + paced.batches * _WRITES_PER_BATCH if paced else 0),
            table_reads=breaker.looks if breaker else 0,
            transitions=breaker.transitions if breaker else 0,
            records=measure.records + 2 * self.published,
        )
        return bill(work, prices(), Sizes())


def _nothing(*_: Any) -> None:
    pass


def _minutes(good: Sequence[Any], bad: Sequence[Any]) -> list[tuple[int, int]]:
    """Add the buckets of each minute up."""
    starts = range(0, len(good), _BUCKETS_PER_MINUTE)
    return [
        (sum(good[start : start + _BUCKETS_PER_MINUTE]), sum(bad[start : start + _BUCKETS_PER_MINUTE]))
        for start in starts
    ]


def _share(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
