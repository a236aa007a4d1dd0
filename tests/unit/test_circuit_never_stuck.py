"""No order of alarms, crashes, takeovers, deployments, failing services and answers leaves the circuit stuck.

The machine is its real definition, state by state (``states_language``), in a simulated world (``circuit_world``).
"""

from __future__ import annotations

from itertools import count
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub.circuit import LEAST_CONCURRENCY, State
from local.translated import template_yaml
from tests.unit.circuit_world import DEFINITION, FULL, ORDERS_PER_EXECUTION, ROUNDS_PER_EXECUTION, Fault, World
from tests.unit.states_language import Data, Execution

HOUR = 3600.0
MAXIMUM_RECEIVES = 100
"""Of template.yaml's Mappings, Receives."""
ACTIONS = [
    "getItem",
    "updateItem",
    "getEventSourceMapping",
    "updateEventSourceMapping",
    "receiveMessage",
    "sendMessage",
    "deleteMessage",
    "delivery",
    "circuit",
    "describeAlarms",
    "stopExecution",
    "startExecution",
]
ERRORS = ["States.Timeout", "Lambda.ServiceException", "Lambda.TooManyRequestsException", "Something.Unforeseen"]


class Circuit(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    @initialize(seed=st.integers(), all_die=st.booleans())
    def deployed(self, seed: int, all_die: bool) -> None:
        self.world = World(Random(seed))
        self.all_die = all_die
        self.version = 0
        self.orders = 0

    @rule()
    def courier_fails(self) -> None:
        self.world.healthy = False

    @rule()
    def courier_recovers(self) -> None:
        self.world.healthy, self.world.alarm = True, False

    @precondition(lambda self: not self.world.healthy)
    @rule(delivered=st.booleans())
    def alarm_fires(self, delivered: bool) -> None:
        self.world.alarm = True
        if delivered:
            self.world.start("open", "alarm")

    @rule()
    def alarm_flaps(self) -> None:
        self.world.start("open", "alarm")
        self.world.start("open", "alarm")

    @rule(action=st.sampled_from(["open", "probe", "close", "resume"]))
    def somebody_acts(self, action: str) -> None:
        self.world.start(action, "person")

    @rule(answer=st.sampled_from(["healthy", "sick", "nothing"]))
    def health_check_answers(self, answer: str) -> None:
        self.world.health_check = answer

    @rule(kind=st.sampled_from(["order", "poison"]))
    def order_comes(self, kind: str) -> None:
        self.orders += 1
        self.world.place(f"{kind}-{self.orders}")

    @rule(enabled=st.booleans(), concurrency=st.sampled_from([LEAST_CONCURRENCY, FULL]))
    def deployment_or_person_sets_the_mapping(self, enabled: bool, concurrency: int) -> None:
        self.world.change = None
        self.world.enabled, self.world.concurrency = enabled, concurrency

    @rule(
        action=st.sampled_from(ACTIONS),
        error=st.sampled_from(ERRORS),
        times=st.integers(1, 20),
        after=st.booleans(),
    )
    def service_fails(self, action: str, error: str, times: int, after: bool) -> None:
        self.world.faults[action] = Fault(error, times, after)

    @precondition(lambda self: self.world.running)
    @rule(data=st.data())
    def machine_crashes(self, data: st.DataObject) -> None:
        self.world.crash(data.draw(st.sampled_from(sorted(self.world.running))))

    @precondition(lambda self: self.world.running)
    @rule(data=st.data(), steps=st.integers(1, 25))
    def machine_goes_on(self, data: st.DataObject, steps: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.running)))
        for _ in range(steps):
            if name in self.world.running:
                self.world.step(name)

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds, watched=True)

    @rule()
    def watchdog_looks(self) -> None:
        self.world.watch()

    @invariant()
    def at_most_one_machine_leads(self) -> None:
        """Any other one was stopped before its successor's claim, unless StopExecution failed."""
        if hasattr(self, "world"):
            assert self.world.leaders - self.world.survivors <= {self.world.owner}

    @invariant()
    def versions_only_grow(self) -> None:
        if hasattr(self, "world"):
            assert self.world.version >= self.version
            self.version = self.world.version

    @invariant()
    def no_order_is_lost(self) -> None:
        if hasattr(self, "world"):
            assert self.world.lost() == set()

    def teardown(self) -> None:
        """Whatever has happened: when the services and the courier are well again, the circuit closes by itself."""
        if not hasattr(self, "world"):
            return
        self.courier_recovers()
        self.world.faults.clear()
        self.world.health_check = "nothing"
        if self.all_die:
            for name in list(self.world.running):
                self.world.crash(name)
        self.world.run(HOUR, watched=True)
        self.is_closed()
        assert self.world.lost() == set()
        self.courier_stays_away()

    def is_closed(self) -> None:
        """Item, mapping and machines agree."""
        world = self.world
        assert world.state is State.CLOSED, f"stuck in {world.item}"
        assert world.mapping == "Enabled", "closed, and the mapping is off"
        assert world.concurrency == FULL, "closed, and the mapping is slow"
        assert not world.running, "closed, and a machine runs"
        assert world.watch() is None, "closed, and the watchdog has something to mend"

    def courier_stays_away(self) -> None:
        """And when the courier fails for ever and orders wait, the circuit stays open, led by one machine."""
        world = self.world
        world.healthy, world.alarm = False, True
        for number in range(3):
            world.place(f"order-at-the-end-{number}")
        world.start("open", "alarm")
        world.run(HOUR, watched=True)
        assert world.state in (State.OPEN, State.HALF_OPEN)
        assert world.mapping == "Disabled"
        for _ in range(60):  # it may be handing over just now
            if world.leaders == {world.owner} == set(world.running):
                return
            world.run(1, watched=True)
        raise AssertionError(f"led by {world.leaders}, owned by {world.owner}, and {set(world.running)} run")


Circuit.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestCircuit = Circuit.TestCase


def test_of_three_overlapping_takeovers_one_machine_is_left() -> None:
    """Whatever the order in which three takeovers take their first steps, one leads, and nobody else lives."""
    for seed in range(200):
        random, world = Random(seed), World()
        world.start("open", "person")
        world.run(5)
        for action in ("close", "probe", "open"):
            world.start(action, "person")
        for _ in range(40):
            world.step(random.choice(sorted(world.running)))
            assert world.leaders <= {world.owner}
        world.run(HOUR, watched=True)
        assert world.state is State.CLOSED
        assert not world.survivors


@pytest.mark.parametrize("orders", [1, 50])
def test_a_day_of_outage_sends_nothing_to_the_dead_letter_queue(orders: int) -> None:
    """Each probe that failed is a fresh copy, so no message comes near its last receive, and none grows old."""
    world = World()
    world.healthy = False
    for number in range(orders):
        world.place(f"order-{number}")
    world.start("open", "alarm")
    most = 0
    for _ in range(24 * 60):
        world.run(60, watched=True)
        most = max([most, *(message.receives for message in world.queue)])
    probes = world.calls["delivery"]
    assert most <= 2 < MAXIMUM_RECEIVES
    assert world.lost() == set()
    assert 24 * HOUR / 300 < probes <= 2 * 24 * HOUR / 150 + 20, "two in each round, at the longest wait"
    handovers = [execution for execution in world.ended if execution.result == "HandedOver"]
    assert len(handovers) > probes / ORDERS_PER_EXECUTION / 2, "and no execution's history grows without end"
    assert {execution.result for execution in world.ended} <= {"HandedOver", "NotNeeded"}
    world.healthy = True
    world.run(0.2 * HOUR, watched=True)
    assert world.state is State.CLOSED


def test_an_execution_that_never_hands_over_too_late_fits_its_history() -> None:
    """25,000 entries (Step Functions developer guide, "Quotas"): a state has five at most."""
    world = World()
    world.healthy, world.alarm = False, True
    for number in range(5):
        world.place(f"order-{number}")
    world.start("open", "alarm")
    world.run(12 * HOUR, watched=True)
    longest = max(len(execution.visited) for execution in world.ended)
    assert longest / ORDERS_PER_EXECUTION * 300 * 5 < 25_000


def test_an_execution_whose_ramps_fail_hands_over_before_its_history_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round whose ramp fails at its last look writes most, the more the longer the mapping takes to change."""
    monkeypatch.setattr("tests.unit.circuit_world.MAPPING_CHANGE_S", 6.0)
    world, looks = World(), count(1)
    for number in range(1000):
        world.place(f"order-{number}")

    def fail_last(_execution: Execution, _arguments: Data) -> Data:
        return {"MetricAlarms": [{"StateValue": "OK" if next(looks) % 4 else "ALARM"}] * 2}

    monkeypatch.setattr(world, "_describeAlarms", fail_last)
    world.start("open", "alarm")
    world.run(12 * HOUR, watched=True)
    longest = max(
        sum(5 if DEFINITION["States"][name]["Type"] == "Task" else 2 for name in execution.visited)
        for execution in world.ended
        if execution.result == "HandedOver"
    )
    rounds = template_yaml().document["Resources"]["CircuitBreaker"]["Properties"]["DefinitionSubstitutions"][
        "RoundsPerExecution"
    ]
    assert longest / ROUNDS_PER_EXECUTION * rounds < 25_000 * 0.6, "the rest is for retries, and for a slower mapping"


def test_people_are_told_that_a_closed_circuit_opened_whoever_looked_first() -> None:
    """A person who probes, or the watchdog who closes, may find an outage that nobody was told of."""
    for action in ("probe", "close"):
        world = World()
        world.healthy, world.alarm = False, True
        for number in range(3):
            world.place(f"order-{number}")
        world.start(action, "person")
        world.run(600)
        assert world.messages == ["open"], f"{action}: once, and not for each round"
        world.start("probe", "person")
        world.run(600)
        assert world.messages == ["open"], "who takes over an open circuit calls nobody again"


def test_a_failed_order_that_cannot_be_put_back_does_not_close_the_circuit() -> None:
    """It is hidden, so the queue looks empty; but all that is known of the courier is that it has just failed."""
    world = World()
    world.healthy = False
    world.place("order")
    world.faults["sendMessage"] = Fault("Something.Unforeseen", 1, after=False)
    world.start("open", "alarm")
    while not world.calls["sendMessage"]:
        world.run(1)
    world.run(1)
    assert world.state is State.OPEN


@pytest.mark.parametrize("given", [{"cause": 5}, {"cause": {"by": "me"}}, {"cause": "person", "version": "7"}])
def test_an_input_that_is_refused_stops_nobody(given: dict[str, object]) -> None:
    world = World()
    world.healthy = False
    world.place("order")
    leader = world.start("open", "alarm")
    world.run(60)
    world.start("close", given["cause"], given.get("version"))
    world.run(1)
    assert [execution.result for execution in world.ended] == ["RefuseInput"]
    assert world.leaders == {leader}


@pytest.mark.parametrize("version", ["1763742508123456", "12345678901234567890", "-7", "0.1234567890123456789"])
def test_a_version_that_somebody_wrote_does_not_keep_the_machine_from_its_claim(version: str) -> None:
    """JSONata writes numbers with 15 digits, so a longer version is compared as it was read, and begins anew."""
    world = World()
    world.item = {"state": {"S": "open"}, "version": {"N": version}}
    assert world.watch() is not None
    world.run(10)
    assert len(world.leaders) == 1
    world.run(HOUR, watched=True)
    assert world.state is State.CLOSED


def test_a_courier_that_comes_back_is_asked_again_soon() -> None:
    """A round with a healthy answer in it does not lengthen the wait; a relapse does."""
    world = World()
    world.healthy = False
    for number in range(30):
        world.place(f"order-{number}")
    world.start("open", "alarm")
    world.run(600, watched=True)
    assert int(world.item["failures"]["N"]) >= 3
    before = world.calls["delivery"]
    answers = iter([True, False, False])
    delivery = world._delivery
    world._delivery = lambda execution, arguments: (  # type: ignore[method-assign]
        setattr(world, "healthy", next(answers, False)),
        delivery(execution, arguments),
    )[1]
    while world.calls["delivery"] < before + 3:
        world.run(1, watched=True)
    world.run(5)
    assert world.item["failures"]["N"] == "0"


def test_every_task_of_the_definition_is_simulated() -> None:
    resources = {state["Resource"].rpartition(":")[2] for state in DEFINITION["States"].values() if "Resource" in state}
    assert resources - {"invoke"} | {"delivery", "circuit"} == set(ACTIONS)
