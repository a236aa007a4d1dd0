from __future__ import annotations

import pytest

from hub.pacing import Limits
from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.courier import Courier, TokenBucket
from loadtest.twin.measure import Measure
from loadtest.twin.scenario import Outage
from loadtest.twin.settings import CourierSettings

TIMEOUT, RETRY_AFTER = 5.0, 1.0
SETTINGS = CourierSettings(Limits(10, 10), TIMEOUT, 0.0, (1.0, 1.0), 7, True, RETRY_AFTER)

Answers = list[tuple[float, int | None, float | None]]


class Rig:
    """A courier that takes a second for each call, and three orders for it."""

    def __init__(self, settings: CourierSettings = SETTINGS, *outages: Outage) -> None:
        self.clock = Clock()
        self.measure = Measure(self.clock, 60, None)
        for _ in range(3):
            self.measure.arrived(accepted=True)
        platform = Platform(gateway_latency=0.0)
        self.courier = Courier(self.clock, settings, None, platform, outages, 1, self.measure)
        self.answers: Answers = []

    def call(self, order: int = 0) -> None:
        self.courier.call(order, lambda status, wait: self.answers.append((self.clock.now, status, wait)))

    def after(self, seconds: float) -> Answers:
        self.clock.run(until=seconds)
        return self.answers


def test_a_token_bucket_lets_the_burst_pass_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(Limits(10, 5))
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(0.09)
    assert bucket.take(0.11)
    assert not bucket.take(0.12)
    assert sum(bucket.take(100.0) for _ in range(20)) == 5, "a long rest fills the bucket, and no more"


def test_a_token_bucket_never_lets_more_pass_than_rate_and_burst() -> None:
    bucket = TokenBucket(Limits(10, 10))
    assert sum(bucket.take(index / 190) for index in range(190 * 60)) in (609, 610)


def test_an_answer_takes_the_couriers_time() -> None:
    rig = Rig()
    rig.call()
    assert rig.after(10) == [(1.0, 201, None)]
    assert list(rig.measure.delays) == [1.0]


def test_calls_beyond_the_usage_plan_are_refused_at_once_with_a_retry_after() -> None:
    rig = Rig()
    for _ in range(11):
        rig.call()
    assert rig.after(0.5) == [(0.0, 429, RETRY_AFTER)]
    assert (rig.measure.calls, rig.measure.throttled) == (11, 1)


@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        ("outage", (10.0, 500, None)),
        ("unavailable", (10.0, 503, 1)),
        ("throttle", (10.0, 429, 1)),
        ("refuse", (10.0, 422, None)),
        ("hang", (15.0, None, None)),
        ("slow", (15.0, 201, None)),
    ],
)
def test_an_outage_has_a_beginning_an_end_and_a_mode(mode: str, answer: tuple[float, int | None, float | None]) -> None:
    rig = Rig(SETTINGS, Outage(10.0, 20.0, mode))
    rig.clock.after(8.9, rig.call, 0)
    rig.clock.after(10.0, rig.call, 1)
    rig.clock.after(20.0, rig.call, 2)
    assert rig.after(60) == [(9.9, 201, None), answer, (21.0, 201, None)]


@pytest.mark.parametrize(("honours", "duplicates"), [(True, 0), (False, 1)])
def test_an_answer_that_comes_too_late_leaves_an_order_delivered(honours: bool, duplicates: int) -> None:
    late = CourierSettings(Limits(10, 10), TIMEOUT, 0.0, (6.0, 6.0), 7, honours, RETRY_AFTER)
    rig = Rig(late)
    rig.call()
    assert rig.after(5.5) == [(5.0, None, None)]
    assert rig.measure.count()["delivered"] == 0
    rig.clock.after(5.0, rig.call)
    rig.after(30)
    assert rig.measure.count()["delivered"] == 1
    assert list(rig.measure.delays) == [6.0]
    assert rig.measure.duplicates == duplicates


def test_the_same_order_meets_the_same_courier() -> None:
    fickle = CourierSettings(Limits(1000, 1000), TIMEOUT, 0.5, (0.0, 2.0), 7, True, RETRY_AFTER)

    def answers() -> Answers:
        rig = Rig(fickle)
        for order in (0, 1, 2, 0, 1, 2):
            rig.call(order)
        return rig.after(10)

    assert answers() == answers()
    assert {status for _, status, _ in answers()} == {201, 500}
