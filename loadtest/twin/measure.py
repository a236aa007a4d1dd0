"""What happened: counted while it happens, in buckets of ten seconds: memory grows with time and orders only."""

from __future__ import annotations

from array import array
from collections import deque
from statistics import median

from loadtest.twin.clock import Clock

BUCKET_S = 10.0
_DELIVERED, _DEAD, _LOST, _RECORDED = 1, 2, 4, 8


class Saturation:
    """Finds the longest stretch of time in which at least some orders wait, and what is delivered in it."""

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._since: float | None = None
        self.suspended = False
        """Whether the courier is in an outage, so that its limit is not what it was."""
        self._delivered = 0
        self.longest = (0.0, 0)
        """Its seconds, and deliveries in it."""

    def observe(self, now: float, backlog: int) -> None:
        """Take note of how many orders wait."""
        if backlog >= self._waiting and not self.suspended:
            if self._since is None:
                self._since, self._delivered = now, 0
        elif self._since is not None:
            self.interrupt(now)

    def deliver(self) -> None:
        """Take note of a delivery."""
        self._delivered += 1

    def suspend(self, now: float) -> None:
        """Leave a stretch out from now on, because the courier's limit is not what it was."""
        self.interrupt(now)
        self.suspended = True

    def resume(self) -> None:
        """Look again."""
        self.suspended = False

    def interrupt(self, now: float) -> None:
        """End a stretch."""
        if self._since is not None:
            self.longest = max(self.longest, (now - self._since, self._delivered))
            self._since = None


class Measure:
    """Keeps the books of one simulation.

    Args:
        clock: The time.
        saturating_orders: As many waiting orders mean that not the load limits delivery.
        recovered_at: When the last outage ends; None without one.
    """

    def __init__(self, clock: Clock, saturating_orders: int, recovered_at: float | None) -> None:
        self._clock = clock
        self._recovered_at = recovered_at
        self.accepted_at = array("d")
        self.fates = bytearray()
        self.delays = array("d")
        self.sent = 0
        self.unsettled = 0
        self.max_backlog = 0
        self.last_settled = 0.0
        self.duplicates = 0
        self.calls = 0
        self.throttled = 0
        self.records = 0
        """Orders handed to invocations of the delivery function."""
        self.succeeded = 0
        self.failed = 0
        self.peak = 0
        self.peak_account = 0
        self.peak_calls = 0
        self.peak_calls_recovered = 0
        self.answers = {"delivered": 0, "unhealthy": 0}
        self.circuit = "closed"
        self.saturation = Saturation(saturating_orders)
        self.series: dict[str, list[float | int | str | None]] = {name: [] for name in SERIES}
        self._running = self._running_account = 0
        self._peak = self._peak_account = self._peak_calls = 0
        self._recent: deque[float] = deque()
        self._edge = BUCKET_S
        self._open_bucket()

    # ------------------------------------------------------------------------------------------------ orders

    def arrived(self, *, accepted: bool) -> int:
        """Count an order of the shop, and return its number."""
        self._roll()
        self.sent += 1
        self._arrivals += 1
        if not accepted:
            return -1
        self.accepted_at.append(self._clock.now)
        self.fates.append(0)
        self.unsettled += 1
        self.max_backlog = max(self.max_backlog, self.unsettled)
        self.saturation.observe(self._clock.now, self.unsettled)
        return len(self.fates) - 1

    def taken(self, order: int, at: float, *, again: bool) -> None:
        """The courier took an order; a second time it is a duplicate, if the courier does not know it again."""
        self._roll()
        if self.fates[order] & _DELIVERED:
            self.duplicates += again
            return
        delay = at - self.accepted_at[order]
        self.delays.append(delay)
        self._delays.append(delay)
        self._delivered += 1
        self.saturation.deliver()
        self._settle(order, _DELIVERED)

    def record(self, order: int) -> None:
        """The hub has recorded that the courier took an order, and will not ask again."""
        self.fates[order] |= _RECORDED

    def recorded(self, order: int) -> bool:
        """Whether the hub knows that the courier took an order."""
        return bool(self.fates[order] & _RECORDED)

    def dead(self, order: int) -> None:
        """An order went to a dead-letter queue."""
        self._settle(order, _DEAD)

    def settled(self, order: int) -> bool:
        """Whether an order has met its fate."""
        return bool(self.fates[order] & (_DELIVERED | _DEAD | _LOST))

    def lost(self, order: int) -> None:
        """An order is gone: nobody will try it again, and nobody is told."""
        self._settle(order, _LOST)

    def _settle(self, order: int, fate: int) -> None:
        now = self._clock.now
        if not self.settled(order):
            self.unsettled -= 1
            self.last_settled = now
            self.saturation.observe(now, self.unsettled)
        self.fates[order] |= fate

    def count(self) -> dict[str, int]:
        """Return what became of the accepted orders; each counts once."""
        fates = {"delivered": 0, "dead_letters": 0, "lost": 0, "waiting": 0}
        for fate, number in enumerate(_histogram(self.fates)):
            if fate & _DELIVERED:
                fates["delivered"] += number
            elif fate & _DEAD:
                fates["dead_letters"] += number
            elif fate & _LOST:
                fates["lost"] += number
            else:
                fates["waiting"] += number
        return fates

    # ----------------------------------------------------------------------------------- calls and invocations

    def called(self, *, throttled: bool) -> None:
        """Count a call to the courier."""
        self._roll()
        now = self._clock.now
        self.calls += 1
        self._calls += 1
        self.throttled += throttled
        self._throttled += throttled
        recent = self._recent
        recent.append(now)
        while recent[0] <= now - 1.0:
            recent.popleft()
        rate = len(recent)
        self._peak_calls = max(self._peak_calls, rate)
        self.peak_calls = max(self.peak_calls, rate)
        if self._recovered_at is not None and now >= self._recovered_at + 1.0:
            self.peak_calls_recovered = max(self.peak_calls_recovered, rate)

    def answered(self, outcome: str) -> None:
        """Count an answer of the courier on a good day that tells sick from healthy."""
        if outcome in self.answers and not self.saturation.suspended:
            self.answers[outcome] += 1

    def invoked(self, *, success: bool) -> None:
        """Count an invocation of the delivery function that has ended."""
        self._roll()
        if success:
            self.succeeded += 1
            self._succeeded += 1
        else:
            self.failed += 1
            self._failed += 1

    def running(self, executions: int) -> None:
        """Take note of how many executions of the delivery function there are."""
        self._roll()
        self._running = executions
        self._peak = max(self._peak, executions)
        self.peak = max(self.peak, executions)

    def running_account(self, executions: int) -> None:
        """The same for all functions together."""
        self._roll()
        self._running_account = executions
        self._peak_account = max(self._peak_account, executions)
        self.peak_account = max(self.peak_account, executions)

    def turn(self, state: str) -> None:
        """The circuit is in another state."""
        self._roll()
        self.circuit = str(state)

    # ---------------------------------------------------------------------------------------------- buckets

    def finish(self) -> None:
        """Close the last bucket."""
        self.saturation.interrupt(self._clock.now)
        self._roll()
        self._close_bucket()

    def _roll(self) -> None:
        while self._clock.now >= self._edge:
            self._close_bucket()

    def _open_bucket(self) -> None:
        self._arrivals = self._delivered = self._succeeded = self._failed = self._calls = self._throttled = 0
        self._peak_calls = 0
        self._peak, self._peak_account = self._running, self._running_account
        self._delays: list[float] = []

    def _close_bucket(self) -> None:
        values = (
            round(self._edge - BUCKET_S),
            self._arrivals,
            self._delivered,
            self._succeeded,
            self._failed,
            self._peak,
            self._peak_account,
            self.unsettled,
            self._calls,
            self._throttled,
            self._peak_calls,
            round(median(self._delays), 3) if self._delays else None,
            self.circuit,
        )
        for column, value in zip(self.series.values(), values, strict=True):
            column.append(value)
        self._edge += BUCKET_S
        self._open_bucket()


SERIES = {
    "t": "when the ten seconds begin, in seconds since the first moment of the load",
    "arrivals": "orders that the shop sent",
    "delivered": "orders that the courier took",
    "succeeded": "invocations of the delivery function that ended well",
    "failed": "invocations of the delivery function that raised or timed out",
    "concurrency": "most executions of the delivery function at a time",
    "concurrency_of_account": "most executions of all functions at a time, the courier simulator's included",
    "backlog": "accepted orders without a fate, at the end",
    "courier_calls": "calls to the courier",
    "throttled": "of them refused as too many",
    "peak_calls_per_second": "most calls within any second",
    "p50_delay_s": "median delay of the orders that the courier took; null if it took none",
    "circuit": "state of the circuit, at the end",
}
"""Columns of the series, and what they mean."""


def _histogram(fates: bytearray) -> list[int]:
    return [fates.count(fate) for fate in range(16)]
