"""No order of alarms, crashes, deployments and answers leaves the circuit stuck.

A model of item, mapping and machines: each state of the machine that touches the world is a step, any of which a crash,
another machine, a deployment or the watchdog may precede. Its decisions are those of ``hub.circuit`` and of
``statemachines/circuit_breaker.asl.yaml``, which tests/integration/test_circuit_breaker.py runs for real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub.circuit import LEAST_CONCURRENCY, STALE_SECONDS, Observation, Repair, State, diagnose, ramp_step

FULL = 8
PROBES = 2


@dataclass
class Item:
    """The circuit's item."""

    state: State = State.CLOSED
    version: int = 0
    owner: int = 0
    changed_at: float = float("-inf")


@dataclass
class World:
    """What machines and the watchdog share."""

    item: Item = field(default_factory=Item)
    enabled: bool = True
    concurrency: int = FULL
    healthy: bool = True
    alarm: bool = False
    orders: bool = True
    now: float = 0.0
    running: dict[int, Iterator[None]] = field(default_factory=dict)
    names: Iterator[int] = field(default_factory=lambda: count(1))
    history: list[int] = field(default_factory=list)
    """The versions that were written."""

    def start(self, action: str, cause: str, version: int | None = None) -> None:
        """Start a machine."""
        name = next(self.names)
        self.running[name] = machine(self, name, action, cause, version)

    def step(self, name: int) -> None:
        """Let a machine go on to its next state."""
        if next(self.running[name], StopIteration) is StopIteration:
            self.running.pop(name, None)

    def transition(self, name: int, state: State) -> bool:
        """Write the item on the condition that the machine still owns it."""
        if self.item.owner != name:
            return False
        self.item = replace(self.item, state=state, version=self.item.version + 1, changed_at=self.now)
        self.history.append(self.item.version)
        return True


def machine(world: World, me: int, action: str, cause: str, seen: int | None) -> Iterator[None]:
    """The state machine: one yield before each state that reads or changes the world."""
    while True:
        yield
        found = world.item
        if action == "open" and cause != "person" and found.state is not State.CLOSED:
            return
        if action == "resume" and seen is not None and seen != found.version:
            return
        ramping = action == "close" or (action == "resume" and found.state in (State.CLOSED, State.RAMPING))
        phase = State.RAMPING if ramping else State.HALF_OPEN if action == "probe" else State.OPEN
        yield
        if world.item.version == found.version:
            world.item = Item(phase, found.version + 1, me, world.now)
            world.history.append(world.item.version)
            break
    yield
    if found.owner != me:
        world.running.pop(found.owner, None)
    while True:
        if phase is not State.RAMPING:
            yield from _switch_off(world)
        if phase is State.OPEN:
            yield
            if not world.transition(me, State.HALF_OPEN):
                return
            yield from _switch_off(world)
        if phase is not State.RAMPING:
            successes = 0
            while successes < PROBES:
                yield
                if not world.orders:
                    break
                if not world.healthy:
                    break
                successes += 1
            if world.orders and successes < PROBES:
                yield
                if not world.transition(me, State.OPEN):
                    return
                phase = State.OPEN
                continue
            yield
            if not world.transition(me, State.RAMPING):
                return
        relapsed = False
        for number in count():
            step = ramp_step(number, concurrency=FULL, rate=10.0)
            yield
            world.enabled, world.concurrency = True, step.concurrency
            yield
            relapsed = world.alarm
            if relapsed or step.full:
                break
            yield
            if not world.transition(me, State.RAMPING):
                return
        yield
        if not world.transition(me, State.OPEN if relapsed else State.CLOSED):
            return
        if not relapsed:
            return
        phase = State.OPEN


def _switch_off(world: World) -> Iterator[None]:
    yield
    while world.enabled:
        world.enabled = False
        yield


class Circuit(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    @initialize(all_die=st.booleans())
    def deployed(self, all_die: bool) -> None:
        self.world = World()
        self.all_die = all_die

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

    @rule(action=st.sampled_from(["open", "probe", "close"]))
    def somebody_acts(self, action: str) -> None:
        self.world.start(action, "person")

    @rule(there=st.booleans())
    def orders_come_and_go(self, there: bool) -> None:
        self.world.orders = there

    @rule(enabled=st.booleans(), concurrency=st.sampled_from([LEAST_CONCURRENCY, FULL]))
    def deployment_sets_the_mapping(self, enabled: bool, concurrency: int) -> None:
        self.world.enabled, self.world.concurrency = enabled, concurrency

    @precondition(lambda self: self.world.running)
    @rule(data=st.data())
    def machine_crashes(self, data: st.DataObject) -> None:
        self.world.running.pop(data.draw(st.sampled_from(sorted(self.world.running))))

    @precondition(lambda self: self.world.running)
    @rule(data=st.data(), steps=st.integers(1, 25))
    def machine_goes_on(self, data: st.DataObject, steps: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.running)))
        for _ in range(steps):
            if name in self.world.running:
                self.world.step(name)

    @rule()
    def a_minute_passes(self) -> None:
        self.world.now += STALE_SECONDS
        self.watchdog_looks()

    @rule()
    def watchdog_looks(self) -> None:
        world = self.world
        found = diagnose(
            Observation(
                state=world.item.state,
                age=world.now - world.item.changed_at,
                owned=world.item.owner in world.running,
                mapping="Enabled" if world.enabled else "Disabled",
                concurrency=world.concurrency,
                full_concurrency=FULL,
                alarm=world.alarm,
            )
        )
        match found:
            case (Repair.SET_CONCURRENCY, _):
                world.concurrency = FULL
            case (Repair.RESUME, _):
                world.start("resume", "watchdog", world.item.version)
            case (repair, _):
                world.start(repair, "watchdog")

    @invariant()
    def one_machine_owns_the_circuit(self) -> None:
        """Every write to the item raised the version by one, and was the owner's or made its writer the owner."""
        world = getattr(self, "world", None)
        if world is not None:
            assert world.history == sorted(set(world.history))

    def teardown(self) -> None:
        """Whatever has happened: when the courier is well and nothing more happens, the circuit closes by itself."""
        if not hasattr(self, "world"):
            return
        self.courier_recovers()
        if self.all_die:
            self.world.running.clear()
        self.settle()
        assert self.world.item.state is State.CLOSED, "stuck"
        assert self.world.enabled, "closed, and the mapping is off"
        assert self.world.concurrency == FULL, "closed, and the mapping is slow"
        assert not self.world.running
        self.courier_stays_away()

    def settle(self) -> None:
        """Let machines end, and the watchdog look, a few times."""
        for _ in range(8):
            self.world.now += 2 * STALE_SECONDS
            self.watchdog_looks()
            for _ in range(300):
                for name in list(self.world.running):
                    if name in self.world.running:
                        self.world.step(name)

    def courier_stays_away(self) -> None:
        """And when the courier fails for ever and orders wait, the circuit stays open, led by one machine."""
        self.world.healthy, self.world.orders, self.world.alarm = False, True, True
        self.world.start("open", "alarm")
        for _ in range(50):
            for name in list(self.world.running):
                self.world.step(name)
        assert self.world.item.state in (State.OPEN, State.HALF_OPEN)
        assert not self.world.enabled
        assert len(self.world.running) == 1


Circuit.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestCircuit = Circuit.TestCase
