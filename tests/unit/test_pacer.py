"""The shared pace in DynamoDB: one sequence of slots for all executions, on one clock, item or no item."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from hub.outcomes import Outcome
from hub.pacer import ITEM_KEY, Pacer, ServerClock
from hub.pacing import FLOOR_SHARE, Limits
from tests.unit.test_pacing import Bucket

LIMITS = Limits(rate=10.0, burst=10.0)
ROUND_TRIP_SECONDS = 0.008


class Lost(ClientError):
    """A conditional write that somebody else won."""


class World:
    """True time, and one DynamoDB that keeps it. Executions have clocks and clients of their own."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.3
        self.item: dict[str, Any] | None = None
        self.down = False
        self.writes = 0

    def pacer(self, clock_error: float = 0.0, executions: int = 3) -> Pacer:
        return self.execution(clock_error, executions)[0]

    def execution(self, clock_error: float = 0.0, executions: int = 3) -> tuple[Pacer, Client]:
        client, started = Client(self), self.now
        clock = ServerClock(lambda: self.now + clock_error, lambda: self.now - started)
        pacer = Pacer(
            "table",
            client,  # type: ignore[arg-type]
            LIMITS,
            executions=executions,
            clock=clock,
            monotonic=lambda: self.now - started,
        )
        return pacer, client


class Client:
    """An execution's boto3 client of DynamoDB, as far as the pacer uses one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.meta = self.events = self
        self.exceptions = SimpleNamespace(ConditionalCheckFailedException=Lost)
        self.handlers: dict[str, Callable[..., None]] = {}

    def register(self, event: str, handler: Callable[..., None]) -> None:
        self.handlers[event] = handler

    def exchange(self) -> None:
        """Ask anything: the request takes time, and its answer carries the server's date in whole seconds."""
        if self.world.down:
            raise EndpointConnectionError(endpoint_url="https://dynamodb")
        self.handlers["before-send.dynamodb"](request=None)
        self.world.now += ROUND_TRIP_SECONDS / 2
        headers = {"date": formatdate(int(self.world.now), usegmt=True)}
        self.world.now += ROUND_TRIP_SECONDS / 2
        self.handlers["response-received.dynamodb"](response_dict={"headers": headers}, parsed_response={})

    def get_item(self, **_: Any) -> dict[str, Any]:
        self.exchange()
        return {"Item": dict(self.world.item)} if self.world.item else {}

    def put_item(self, **request: Any) -> dict[str, Any]:
        self.exchange()
        there = self.world.item
        if there and "revision" in there and there["revision"] != request["ExpressionAttributeValues"][":known"]:
            raise Lost({"Error": {"Code": "ConditionalCheckFailedException"}, "Item": dict(there)}, "PutItem")  # type: ignore[typeddict-unknown-key]
        self.world.item = request["Item"]
        self.world.writes += 1
        return {}


@pytest.fixture
def world() -> World:
    return World()


def absolute(world: World, waits: list[float]) -> list[float]:
    return [world.now + wait for wait in waits]


def test_executions_share_one_sequence_of_slots(world: World) -> None:
    first, second, third = world.pacer(), world.pacer(), world.pacer()
    slots = [
        slot for pacer in (first, second, third, first, second) for slot in absolute(world, pacer.reserve(10, 30.0))
    ]
    ahead = [slot for slot in slots if slot > world.now]
    assert len(ahead) >= 45
    assert all(later - earlier == pytest.approx(0.1, abs=0.001) for earlier, later in itertools.pairwise(ahead))


def test_a_reservation_costs_one_write(world: World) -> None:
    pacer = world.pacer()
    pacer.reserve(10, 30.0)
    before = world.writes
    pacer.reserve(10, 30.0)
    assert world.writes == before + 1


def test_the_loser_of_a_write_reserves_after_the_winner(world: World) -> None:
    winner, loser = world.pacer(), world.pacer()
    loser.reserve(1, 30.0)
    taken = absolute(world, winner.reserve(10, 30.0))
    assert absolute(world, loser.reserve(10, 30.0))[0] == pytest.approx(taken[-1] + 0.1, abs=0.001)


def test_a_refusal_slows_every_execution_down_and_makes_it_wait(world: World) -> None:
    refused, other = world.pacer(), world.pacer()
    other.reserve(1, 30.0)
    refused.report(Outcome.THROTTLED, 7.0)
    world.now += 1.1
    assert other.pause() == pytest.approx(5.9, abs=0.05), "the execution that was not refused waits as well"
    waits = other.reserve(2, 30.0)
    assert waits[0] == pytest.approx(5.9, abs=0.05)
    assert waits[1] - waits[0] == pytest.approx(1 / 7, abs=0.001), "and at 0.7 of the rate"


def test_deliveries_are_reported_with_the_next_reservation(world: World) -> None:
    pacer = world.pacer()
    pacer.report(Outcome.THROTTLED, None)
    rate = float(world.item["rate"]["N"])  # type: ignore[index]
    writes = world.writes
    for _ in range(10):
        pacer.report(Outcome.DELIVERED, None)
    assert world.writes == writes
    pacer.reserve(1, 30.0)
    assert float(world.item["rate"]["N"]) == pytest.approx(rate + 10 * 0.005 * 10.0)  # type: ignore[index]


@pytest.mark.parametrize("broken", [{}, {"revision": {"N": "5"}}, {"revision": {"S": "x"}, "rate": {"S": "fast"}}])
def test_a_broken_item_is_mended_at_the_lowest_rate(world: World, broken: dict[str, Any]) -> None:
    world.item = {"pk": {"S": ITEM_KEY}} | broken
    waits = world.pacer().reserve(10, 60.0)
    assert len(waits) == 10
    assert waits[-1] - waits[-2] == pytest.approx(1 / (LIMITS.rate * FLOOR_SHARE), abs=0.01)
    assert set(world.item or {}) >= {"next_slot", "rate", "slowed_at", "paused_until", "revision"}


def test_an_item_that_vanishes_is_made_anew(world: World) -> None:
    pacer = world.pacer()
    pacer.reserve(1, 30.0)
    world.item = None
    assert len(pacer.reserve(1, 30.0)) == 1
    assert world.item is not None


def test_without_the_item_each_execution_keeps_to_its_share(world: World) -> None:
    world.down = True
    pacers = [world.pacer(executions=3) for _ in range(3)]
    ends = world.now + 30.0
    calls = sorted(slot for pacer in pacers for _ in range(4) for slot in absolute(world, pacer.reserve(10, 30.0)))
    bucket = Bucket(LIMITS.rate, LIMITS.burst, filled_at=calls[0])
    assert all(bucket.take(call) for call in calls), "the flood gate stays shut"
    assert len([call for call in calls if call < ends]) > 80, "and delivery goes on"


def test_the_item_is_used_again_when_it_is_back(world: World) -> None:
    world.down = True
    pacer = world.pacer()
    pacer.reserve(1, 30.0)
    world.down = False
    pacer.reserve(1, 30.0)
    assert world.item is None, "not at once, or every batch would pay for the time-outs"
    world.now += 6.0
    pacer.reserve(1, 30.0)
    assert world.item is not None


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize(
    ("clock_errors", "refusals"),
    [((0.0, 0.0, 0.0), 0), ((-1.0, 0.0, 1.0), 2), ((1.0, -1.0, -1.0), 2), ((-0.5, -1.0, 0.5), 2), ((1.0, 1.0, 0.0), 2)],
)
def test_clocks_a_second_off_neither_overrun_the_courier_nor_waste_its_time(
    world: World, clock_errors: tuple[float, float, float], refusals: int, phase: float
) -> None:
    """Three executions whose clocks disagree, in saturation for two minutes of true time.

    As in the function, a batch reserves its slots with one write, each call makes two more requests to the table (the
    order's item, before and after), and the next batch begins when the last call has ended.
    """
    world.now += phase
    executions = [world.execution(error) for error in clock_errors]
    began = world.now
    agenda: list[tuple[float, int, int]] = [(began + 0.3 * number, number, 0) for number in range(len(executions))]
    calls: list[float] = []
    while agenda[0][0] < began + 120.0:
        world.now, number, to_call = heapq.heappop(agenda)
        pacer, client = executions[number]
        if to_call:
            calls.append(world.now)
            client.exchange()
            client.exchange()
            continue
        slots = absolute(world, pacer.reserve(10, 20.0))
        for slot in slots:
            heapq.heappush(agenda, (slot, number, 1))
        heapq.heappush(agenda, (max(slots) + 1.5, number, 0))
    bucket = Bucket(LIMITS.rate, LIMITS.burst, filled_at=began)
    refused = sum(not bucket.take(call) for call in sorted(calls))
    assert refused <= refusals, "but for a call or two while the first answers come in, none is refused"
    made = len([call for call in calls if began + 10.0 <= call < began + 110.0])
    assert made >= 0.98 * 100.0 * LIMITS.rate


def test_the_servers_clock_is_bounded_ever_more_closely() -> None:
    now = [0.0]
    clock = ServerClock(lambda: now[0] + 100.0 + 0.9, lambda: now[0])  # the truth is now + 100; ours is 0.9 s ahead

    def ask() -> float:
        sent = now[0]
        now[0] += 0.004
        clock.observe(formatdate(int(now[0] + 100.0), usegmt=True), sent)
        now[0] += 0.004
        return abs(clock.now() - (now[0] + 100.0))

    errors = []
    for _ in range(30):
        now[0] += 0.37
        errors.append(ask())
    assert max(errors) < 0.65, "one answer bounds the error to half of its second, and the round trip"
    assert errors[-1] < 0.05


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_readable_date_teaches_nothing(date: str | None) -> None:
    clock = ServerClock(lambda: 50.0, lambda: 0.0)
    clock.observe(date, 0.0)
    assert clock.now() == 50.0


def test_a_clock_that_is_set_is_learned_anew() -> None:
    shift = [0.0]
    clock = ServerClock(lambda: 1000.0, lambda: 0.0)
    observe: Callable[[], None] = lambda: clock.observe(formatdate(1000 + shift[0], usegmt=True), 0.0)  # noqa: E731
    observe()
    shift[0] = 60.0
    observe()
    assert clock.now() == pytest.approx(1060.5, abs=0.6)
