"""The pace that all executions share: one DynamoDB item, and the clock that it is kept by.

The arithmetic is in ``pacing``. If the item cannot be read or written, each execution falls back to its own share of
the courier's limit: delivery never stops for want of the item, and never runs without a pace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from email.utils import parsedate_to_datetime
from threading import Lock, local
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from hub.instrument import logger
from hub.measures import PACE_MENDED, PACE_UNAVAILABLE
from hub.outcomes import Outcome
from hub.pacing import Limits, Pace, reserve, slow_down, sound, speed_up

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

ITEM_KEY = "pace#courier"

# Every loser of a conditional write knows the winner's state and tries again with it: of n executions the last one wins
# after n tries. Some more, for those that come in between.
_FURTHER_WRITE_ATTEMPTS = 10
_PAUSE_CHECK_SECONDS = 1.0
# After a failure the item is left alone for a while, so that its timeouts are not paid for every batch.
_ITEM_REST_SECONDS = 5.0


class ServerClock:
    """The time by DynamoDB's clock, so that all executions mean the same moment by the same number.

    Execution environments may disagree on the time; the service that keeps the item is the one party they all talk to.
    Its answers carry a Date header in whole seconds, so each answer bounds the difference of the two clocks to about a
    second, and together they bound it ever more closely. The environment's own clock is believed while it keeps within
    the bounds; one that does not is taken for the middle between them.

    Args:
        wall_clock: The environment's time, in seconds since the epoch.
        monotonic: A clock that never steps, in seconds.
    """

    def __init__(
        self, wall_clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._least = float("-inf")
        self._most = float("inf")
        self._thread = local()

    def watch(self, client: DynamoDBClient) -> None:
        """Learn from every answer that a boto3 client gets, whatever it is asked for."""

        def before_send(**_: Any) -> None:
            self._thread.sent = self._monotonic()

        def response_received(response_dict: Mapping[str, Any] | None = None, **_: Any) -> None:
            if response_dict:
                self.observe(response_dict["headers"].get("date"), self._thread.sent)

        client.meta.events.register("before-send.dynamodb", before_send)
        client.meta.events.register("response-received.dynamodb", response_received)

    def observe(self, date: str | None, sent: float) -> None:
        """Learn from an answer.

        Args:
            date: Its Date header; ignored if it is missing or unreadable.
            sent: When the request was sent, on the monotonic clock.
        """
        try:
            server = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        # When the server wrote the header, its clock stood in [server, server + 1), and ours in [sent, received].
        least, most = server - self._monotonic(), server + 1.0 - sent
        self._least, self._most = max(self._least, least), min(self._most, most)
        if self._least > self._most:  # a clock was set: what was learned before is void
            self._least, self._most = least, most

    def now(self) -> float:
        """Return the server's time, in seconds since the epoch."""
        difference = self._wall_clock() - self._monotonic()
        if not self._least <= difference <= self._most:
            difference = (self._least + self._most) / 2
        return self._monotonic() + difference


class Pacer:
    """Reserves slots for calls to the courier, and learns from the answers. Threads may share it.

    Args:
        table: The table with the item.
        client: A boto3 client of DynamoDB. Its timeouts bound how long the item can hold up a batch.
        limits: What the courier allows.
        executions: How many executions may call at a time; without the item, each takes its share of the limit.
        clock: The time by the item's keeper.
        monotonic: A clock that never steps, in seconds, for pauses within this execution.
    """

    def __init__(
        self,
        table: str,
        client: DynamoDBClient,
        limits: Limits,
        *,
        executions: int,
        clock: ServerClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._client = client
        self._limits = limits
        self._share = Limits(limits.rate / executions)
        self._write_attempts = executions + _FURTHER_WRITE_ATTEMPTS
        self._clock = clock or ServerClock()
        self._clock.watch(client)
        self._monotonic = monotonic
        self._lock = Lock()
        self._pace: Pace | None = None
        self._revision: AttributeValueTypeDef | None = None
        self._read_at = self._failed_at = float("-inf")
        self._local = Pace(0.0, self._share.rate)
        self._deliveries = 0

    def reserve(self, calls: int, within: float) -> list[float]:
        """Reserve slots for up to ``calls`` calls that begin within some seconds.

        Returns:
            For each slot, how many seconds from now it begins; 0 for one that has begun. Fewer than ``calls`` if no
            more fit into the time.
        """
        with self._lock:
            deliveries, self._deliveries = self._deliveries, 0

            def move(pace: Pace, now: float) -> tuple[list[float], Pace]:
                pace = speed_up(pace, self._limits, deliveries=deliveries)
                return reserve(pace, self._limits, calls=calls, now=now, until=now + within)

            slots = self._change(move)
            now = self._clock.now()
            if slots is None:
                slots, self._local = reserve(self._local, self._share, calls=calls, now=now, until=now + within)
        return [max(0.0, slot - now) for slot in slots]

    @property
    def rate(self) -> float:
        """Calls a second at present, as far as this execution knows."""
        return (self._pace or self._local).rate

    def report(self, outcome: Outcome, retry_after: float | None) -> None:
        """Learn from an answer: a refusal at once and for every execution, a delivery with the next reservation."""
        with self._lock:
            if outcome is Outcome.DELIVERED:
                self._deliveries += 1
                self._local = speed_up(self._local, self._share, deliveries=1)
            elif outcome is Outcome.THROTTLED:
                wait = retry_after or 0.0
                self._local = slow_down(self._local, self._share, now=self._clock.now(), retry_after=wait)
                self._change(lambda pace, now: (True, slow_down(pace, self._limits, now=now, retry_after=wait)))

    def pause(self) -> float:
        """Return for how many seconds nobody may call, because the courier asked some execution to wait.

        The item is read again when what is known of it is more than a second old.
        """
        with self._lock:
            if self._monotonic() - self._read_at > _PAUSE_CHECK_SECONDS:
                self._pace = None
                self._change(lambda pace, _now: (True, pace))
            until = max(self._pace.paused_until if self._pace else 0.0, self._local.paused_until)
            return max(0.0, until - self._clock.now())

    def _change[Result](self, move: Callable[[Pace, float], tuple[Result, Pace]]) -> Result | None:
        """Change the shared pace by compare-and-set; None, and a metric, if the item is out of reach."""
        if self._monotonic() - self._failed_at < _ITEM_REST_SECONDS:
            return None
        try:
            for _ in range(self._write_attempts):
                pace = self._pace or self._read()
                now = self._clock.now()
                result, moved = move(sound(pace, self._limits, now), now)
                if moved == pace or self._write(moved):
                    return result
            reason = f"{self._write_attempts} conditional writes lost"
        except (BotoCoreError, ClientError) as error:
            reason = f"{type(error).__name__}: {error}"
        self._pace = None
        self._failed_at = self._monotonic()
        PACE_UNAVAILABLE.add()
        logger.error("pace unavailable, keeping to this execution's share", reason=reason, rate=self._share.rate)
        return None

    def _read(self) -> Pace:
        answer = self._client.get_item(TableName=self._table, Key={"pk": {"S": ITEM_KEY}}, ConsistentRead=True)
        return self._learn(answer.get("Item"))

    def _write(self, pace: Pace) -> bool:
        """Write the pace if nobody else has since it was read; if somebody has, learn theirs and return False."""
        revision: AttributeValueTypeDef = {"S": uuid4().hex}
        try:
            self._client.put_item(
                TableName=self._table,
                Item={"pk": {"S": ITEM_KEY}, "revision": revision}
                | {name: {"N": f"{value:.6f}"} for name, value in asdict(pace).items()},
                ConditionExpression="attribute_not_exists(revision) OR revision = :known",
                ExpressionAttributeValues={":known": self._revision or {"S": "none"}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            refusal: Mapping[str, Any] = error.response
            self._learn(refusal.get("Item"))
            # It may have been our own write that won: the SDK repeats a request whose answer was lost.
            return self._revision == revision
        self._pace, self._revision, self._read_at = pace, revision, self._monotonic()
        return True

    def _learn(self, item: Mapping[str, Any] | None) -> Pace:
        """Take over the item's state. A missing or broken item is a pace that starts now, at the floor if broken."""
        self._read_at = self._monotonic()
        self._revision = item.get("revision") if item else None
        try:
            values = {field.name: float(item[field.name]["N"]) for field in fields(Pace)} if item else None
            self._pace = Pace(**values) if values else Pace(self._clock.now(), self._limits.rate)
        except (KeyError, TypeError, ValueError):
            PACE_MENDED.add()
            logger.error("the item of the pace is broken; starting again at the lowest rate", item=item)
            self._pace = Pace(self._clock.now(), self._limits.floor)
        return self._pace
