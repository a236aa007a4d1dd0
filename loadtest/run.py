"""One run: send the load, wait until the stack has drained, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest import executions, logs, measure, target
from loadtest.artillery import Load
from loadtest.ledger import SentOrder
from loadtest.measure import Measurement
from loadtest.profiles import LAMBDA_ASYNC_RETRY_WAIT, Profile
from loadtest.progress import Snapshot
from loadtest.target import DeployedStack

SQS_SETTLES_S = 60.0
"""The figures of a queue are right a minute after its last change (SQS API, GetQueueAttributes)."""

RECENT_S = 60.0

Show = Callable[[Snapshot], None]


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds.

    Attributes:
        poll_s: Time between two looks at the stack.
        drain_s: Longest wait for the stack to drain after the load.
        async_retry_wait_s: Longest wait of Lambda before a retry of an asynchronous invocation.
        log_delay_s: How long the last lines of a log take to appear.
    """

    poll_s: float = 5.0
    drain_s: float = 1800.0
    async_retry_wait_s: float = max(LAMBDA_ASYNC_RETRY_WAIT)
    log_delay_s: float = 20.0


@dataclass(frozen=True)
class Run:
    """A run's measurement, and whether artillery's thresholds were met."""

    measurement: Measurement
    thresholds_met: bool


@dataclass(frozen=True)
class Situation:
    """What is left to do for the accepted orders at one moment."""

    snapshot: Snapshot
    unaccounted: int
    """Accepted orders that are neither delivered, nor dead letters, nor spent."""
    messages: int
    """Messages in any work queue."""

    @property
    def settled(self) -> bool:
        """Whether every accepted order has met its fate and nothing is left in a queue."""
        return self.unaccounted == 0 and self.messages == 0


class Observer:
    """Looks at a stack again and again while orders pass through it."""

    def __init__(self, stack: DeployedStack, load: Load) -> None:
        self._stack = stack
        self._load = load
        self._logs = logs.FunctionLog(stack, "DeliveryFunctionName", begin=time.time())
        self._spent_after = measure.attempts_of(stack)
        self._dead_before = self._dead()

    def look(self, stage: str, share: float | None = None) -> Situation:
        """Count orders and messages now; without a share, it is that of the orders accounted for."""
        sent = self._load.sent()
        accepted = {order.order_id for order in sent if order.accepted}
        delivered = accepted & target.courier_orders(self._stack).keys()
        on_the_way = sum(target.messages(self._stack, target.DELIVERY_WORK_QUEUES).values())
        aside = sum(target.messages(self._stack, target.SIDE_WORK_QUEUES).values())
        dead = self._dead() - self._dead_before
        reports = logs.parse_invocations(self._logs.read(logs.REPORTS), set())
        recent = [i for i in reports if i.end > time.time() - RECENT_S]
        spent = self._spent(sent, reports) - delivered
        unaccounted = max(0, len(accepted) - len(delivered) - dead - len(spent))
        accounted_share = 1 - unaccounted / max(1, len(accepted))
        return Situation(
            snapshot=Snapshot(
                stage=stage,
                share=accounted_share if share is None else share,
                sent=len(sent),
                accepted=len(accepted),
                delivered=len(delivered),
                queued=on_the_way,
                concurrency=executions.peak(executions.concurrency(recent)),
            ),
            unaccounted=unaccounted,
            messages=on_the_way + aside,
        )

    def _dead(self) -> int:
        return sum(target.messages(self._stack, target.DELIVERY_DEAD_LETTER_QUEUES).values())

    def _spent(self, sent: Sequence[SentOrder], reports: Sequence[executions.Invocation]) -> set[str]:
        if self._spent_after is None:
            return set()
        statuses = logs.parse_statuses(self._logs.read(logs.RECORDS))
        return measure.spent_orders(sent, executions.attempts(statuses, reports), self._spent_after)


def run(stack: DeployedStack, profile: Profile, seed: int, limits: Limits, show: Show) -> Run:
    """Send a load to a stack and count what became of it.

    Args:
        stack: A deployed stack with the courier simulator.
        profile: What to send.
        seed: The same seed sends the same orders. A stack that has seen them knows them again, and
            delivers none of them twice.
        limits: How long to wait.
        show: Called at every look at the stack.

    Raises:
        ArtilleryError: If the load was not sent.
    """
    load = Load.start(stack, profile, seed)
    try:
        observer = Observer(stack, load)
        while load.running:
            show(observer.look("sending", load.share(profile)).snapshot)
            time.sleep(limits.poll_s)
        thresholds_met = load.finish()
    finally:
        load.stop()
    drain = wait_until_drained(stack, observer, limits, show)
    time.sleep(limits.log_delay_s)
    measurement = measure.summarise(measure.collect(stack, load.sent()), drain_s=drain.seconds, drained=drain.ended)
    return Run(measurement, thresholds_met)


@dataclass(frozen=True)
class Drain:
    """How the wait for the stack to drain ended, and after how many seconds."""

    seconds: float
    ended: bool


def wait_until_drained(stack: DeployedStack, observer: Observer, limits: Limits, show: Show) -> Drain:
    """Wait until every accepted order has met its fate, or nothing can happen any more.

    Nothing can happen any more when the queues are empty and no order was delivered for longer than
    an order can stay out of sight: between two asynchronous attempts and inside an invocation, or
    for as long as the figures of SQS need to settle.
    """
    timeout = float(target.function_configuration(stack, "DeliveryFunctionName")["Timeout"])
    quiet_s = timeout + limits.async_retry_wait_s
    if measure.attempts_of(stack) is None:
        quiet_s = SQS_SETTLES_S
    begin = last_change = time.monotonic()
    before: tuple[int, int] | None = None
    while True:
        situation = observer.look("draining")
        show(situation.snapshot)
        now = time.monotonic()
        state = (situation.unaccounted, situation.messages)
        if state != before:
            before, last_change = state, now
        quiet = situation.messages == 0 and now - last_change > quiet_s
        if situation.settled or quiet:
            return Drain(now - begin, ended=True)
        if now - begin > limits.drain_s:
            return Drain(now - begin, ended=False)
        time.sleep(limits.poll_s)
