from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from loadtest.twin.clock import Clock
from loadtest.twin.constants import Platform
from loadtest.twin.functions import Account, AsynchronousInvocation, Done, Function
from loadtest.twin.mapping import Mapping
from loadtest.twin.queue import Message, Queue
from loadtest.twin.settings import FunctionSettings, MappingSettings, QueueSettings

INSTANT = Platform(mapping_latency=0.0, cold_start=0.0, async_latency=0.0)
VISIBILITY = 60.0


class Rig:
    """A queue, a mapping and a function that takes some seconds for each batch."""

    def __init__(
        self,
        settings: MappingSettings,
        *,
        seconds: float = 1.0,
        platform: Platform = INSTANT,
        reserved: int | None = None,
        fail: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.clock = Clock()
        self.batches: list[tuple[float, list[int]]] = []
        self.most = 0
        self.seconds = seconds
        self.fail = fail
        self.queue = Queue(
            self.clock,
            QueueSettings("Queue", VISIBILITY, 1e6, None),
            platform,
            dead_letter=lambda _: None,
            expire=lambda _: None,
        )
        self.function = Function(
            self.clock, Account(1000), FunctionSettings("Function", 30.0, 512, reserved), platform, self.watch
        )
        self.mapping = Mapping(self.clock, self.queue, self.function, self.handle, settings, platform)

    def watch(self, executions: int) -> None:
        self.most = max(self.most, executions)

    def handle(self, batch: list[Message], done: Done) -> None:
        self.batches.append((self.clock.now, [message.order for message in batch]))
        self.clock.after(self.seconds, self.end, batch, done)

    def end(self, batch: list[Message], done: Done) -> None:
        success = not self.fail(batch[0].receives)
        if success:
            self.queue.delete(len(batch))
        done(success)

    def send(self, number: int) -> None:
        for order in range(number):
            self.queue.send(order)


def test_no_more_batches_than_the_cap_run_at_a_time() -> None:
    rig = Rig(MappingSettings(2, 0.0, 3))
    rig.send(40)
    rig.clock.run(until=100)
    assert rig.most == 3
    assert sum(len(orders) for _, orders in rig.batches) == 40
    assert rig.queue.size == 0


def test_without_a_cap_it_starts_with_five_and_adds_three_hundred_a_minute() -> None:
    rig = Rig(MappingSettings(1, 0.0, None), seconds=120.0)
    rig.send(2000)
    rig.clock.run(until=0.5)
    assert rig.most == 5
    rig.clock.run(until=60.5)
    assert 295 <= rig.most <= 305


def test_it_never_exceeds_the_ceiling() -> None:
    rig = Rig(MappingSettings(1, 0.0, None), seconds=5000.0, platform=Platform(mapping_ceiling=50, cold_start=0.0))
    rig.send(200)
    rig.clock.run(until=600)
    assert rig.most == 50


def test_a_batch_waits_for_its_window_unless_it_is_full() -> None:
    rig = Rig(MappingSettings(4, 2.0, 10))
    rig.clock.run(until=1)
    rig.queue.send(7)
    rig.clock.run(until=10)
    rig.send(4)
    rig.clock.run(until=20)
    assert rig.batches == [(3.0, [7]), (10.0, [0, 1, 2, 3])]


def test_a_batch_that_fails_comes_back_whole_after_the_visibility_timeout() -> None:
    rig = Rig(MappingSettings(10, 0.0, 2), fail=lambda receives: receives == 1)
    rig.queue.send(5)
    rig.clock.run(until=VISIBILITY + 5)
    assert rig.batches == [(0.0, [5]), (VISIBILITY, [5])]
    assert rig.queue.size == 0


def test_a_throttled_batch_comes_back_too() -> None:
    rig = Rig(MappingSettings(1, 0.0, 5), reserved=1, seconds=10.0)
    rig.send(2)
    rig.clock.run(until=200)
    assert rig.most == 1
    assert [at for at, _ in rig.batches] == [0.0, VISIBILITY]


def test_a_disabled_mapping_reads_nothing_until_it_is_enabled() -> None:
    rig = Rig(MappingSettings(10, 0.0, 2))
    rig.mapping.enabled = False
    rig.queue.send(5)
    rig.clock.run(until=50)
    assert rig.batches == []
    rig.mapping.enabled = True
    rig.mapping.poll()
    rig.clock.run(until=60)
    assert rig.batches == [(50.0, [5])]


# ---------------------------------------------------------------------------------------------- functions


def function(clock: Clock, platform: Platform = INSTANT, *, limit: int = 1000, **settings: object) -> Function:
    given = FunctionSettings("Function", 30.0, 512, **settings)  # type: ignore[arg-type]
    return Function(clock, Account(limit), given, platform)


def test_an_environment_starts_cold_is_warm_then_and_is_forgotten() -> None:
    clock = Clock()
    tried = function(clock, Platform(cold_start=2.0, environment_idle=100.0))
    assert tried.begin() == 2.0
    tried.end(0.0)
    assert tried.begin() == 0.0
    assert tried.begin() == 2.0, "the second of two at a time needs an environment of its own"
    tried.end(0.0)
    tried.end(0.0)
    clock.run(until=101)
    assert tried.begin() == 2.0


def test_billed_time_is_rounded_up_to_milliseconds() -> None:
    clock = Clock()
    tried = function(clock)
    tried.begin()
    clock.run(until=0.0101)
    assert tried.end(0.0) == 0.011


def test_reserved_concurrency_is_a_cap_and_a_promise() -> None:
    clock = Clock()
    account = Account(10)
    reserved = Function(clock, account, FunctionSettings("A", 30.0, 512, 4), INSTANT)
    other = Function(clock, account, FunctionSettings("B", 30.0, 512), INSTANT)
    assert [other.begin() for _ in range(7)] == [0.0] * 6 + [None]
    assert [reserved.begin() for _ in range(5)] == [0.0] * 4 + [None]


def test_no_more_environments_start_in_ten_seconds_than_the_platform_allows() -> None:
    clock = Clock()
    tried = function(clock, Platform(environments_per_10_s=2, cold_start=0.0))
    assert [tried.begin() for _ in range(3)] == [0.0, 0.0, None]
    clock.run(until=10.0)
    assert tried.begin() == 0.0


class Asynchronous:
    """A function that is invoked asynchronously and fails some times."""

    def __init__(self, failures: int, platform: Platform = INSTANT, *, limit: int = 1000, **settings: object) -> None:
        self.clock = Clock()
        self.attempts: list[float] = []
        self.given_up: list[int] = []
        self.failures = failures
        self.invocation = AsynchronousInvocation(
            self.clock,
            function(self.clock, platform, limit=limit, **settings),
            self.handle,
            platform,
            Random(1),
            ended=lambda _: None,
            give_up=self.given_up.append,
        )

    def handle(self, _order: int, done: Done) -> None:
        self.attempts.append(self.clock.now)
        done(len(self.attempts) > self.failures)


def test_errors_are_tried_again_after_one_and_two_minutes_and_then_the_event_is_given_up() -> None:
    tried = Asynchronous(failures=3)
    tried.invocation.submit(8)
    tried.clock.run(until=1000)
    assert tried.attempts == [0.0, 60.0, 180.0]
    assert tried.given_up == [8]
    assert tried.invocation.pending == 0


def test_a_retry_that_succeeds_ends_it() -> None:
    tried = Asynchronous(failures=1)
    tried.invocation.submit(8)
    tried.clock.run(until=1000)
    assert tried.attempts == [0.0, 60.0]
    assert tried.given_up == []


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3)])
def test_the_function_says_how_often(retries: int, attempts: int) -> None:
    tried = Asynchronous(failures=9, async_retries=retries)
    tried.invocation.submit(8)
    tried.clock.run(until=1000)
    assert len(tried.attempts) == attempts


def test_a_throttled_event_waits_ever_longer_and_is_no_error() -> None:
    tried = Asynchronous(failures=0, limit=0)
    tried.invocation.submit(8)
    tried.clock.run(until=5 * 3600)
    assert tried.given_up == []
    tried.clock.run(until=7 * 3600)
    assert tried.given_up == [8], "an event is kept for six hours"
    assert tried.attempts == []
