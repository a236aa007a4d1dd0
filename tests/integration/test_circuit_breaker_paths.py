"""Every path of the circuit breaker's machine, in the emulator's interpreter of its language.

test_circuit_breaker.py runs it with the real functions and a real courier; here functions and failures are scripted, so
that a path takes a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from local.stack import EmulatorSettings, RunningEmulator
from tests.integration.deployed_hub import eventually
from tests.integration.scripted_circuit import Event, Functions, Reply, ScriptedCircuit, healthy, sick
from tests.state_machines import CIRCUIT_BREAKER, State

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

type Make = Callable[..., ScriptedCircuit]

LOST = {"Throw": {"Error": "DynamoDb.ConditionalCheckFailedException", "Cause": "somebody else was faster"}}
STATES: dict[str, State] = yaml.safe_load(CIRCUIT_BREAKER.read_text())["States"]
FATAL = [
    name for name, state in STATES.items() if any(catcher["Next"] == "MarkBroken" for catcher in state.get("Catch", []))
]
WRITES = [
    name for name, state in STATES.items() if any(catcher["Next"] == "Superseded" for catcher in state.get("Catch", []))
]
HARMLESS = [
    name
    for name, state in STATES.items()
    if state["Type"] == "Task"
    and name not in [*FATAL, "ReadCircuit", "ClaimCircuit", "MarkBroken", "AnnounceBroken", "TryOrder", "CheckHealth"]
]
"""Tasks without which the machine goes on."""


def failure(error: str = "Something.Unforeseen") -> dict[str, Any]:
    """A task that fails with an error at each attempt."""
    return {"Throw": {"Error": error, "Cause": "it was told to"}}


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    settings = EmulatorSettings(alarm_seconds=3600, metric_seconds=3600, mapping_change_seconds=0.1)
    with RunningEmulator.start(settings) as emulator:
        functions = Functions(emulator)
        yield functions
        functions.stop()


@pytest.fixture(scope="module")
def visited() -> set[str]:
    """The states that some execution of some test entered."""
    return set()


@pytest.fixture
def make(functions: Functions, visited: set[str]) -> Iterator[Make]:
    """Make circuits."""
    made: list[ScriptedCircuit] = []

    def one(**substitutions: object) -> ScriptedCircuit:
        made.append(ScriptedCircuit(functions, substitutions))
        return made[-1]

    yield one
    for circuit in made:
        for execution in circuit.executions():
            visited.update(circuit.visited(execution))
        circuit.close()


@pytest.fixture
def circuit(make: Make) -> ScriptedCircuit:
    """A circuit whose mapping is off, so that orders wait until the machine takes one."""
    circuit = make()
    switch_off(circuit)
    return circuit


def switch_off(circuit: ScriptedCircuit) -> None:
    circuit.lambdas.update_event_source_mapping(UUID=circuit.mapping_id, Enabled=False)
    eventually(lambda: circuit.mapping[0] == "Disabled", within=5, what="the mapping is off")


def closed(circuit: ScriptedCircuit) -> None:
    """See that item and mapping agree that the circuit is closed."""
    assert (circuit.item["state"], circuit.item["failures"], circuit.mapping) == ("closed", "0", ("Enabled", 3))


def test_an_outage_from_alarm_to_closed(make: Make) -> None:
    circuit = make()
    circuit.wait = lambda _: (circuit.place("one", "two", "three"), {"seconds": 10})[1]
    assert circuit.run("open", cause="alarm") == ("SUCCEEDED", "closed")
    assert [told["state"] for told in circuit.told] == ["open", "half-open", "ramping", "closed"]
    assert len(circuit.probed) == 2, "as many as have to be healthy in a row"
    closed(circuit)


def test_a_relapse_in_the_ramp_opens_it_again_with_the_longer_wait(circuit: ScriptedCircuit) -> None:
    circuit.alarm("ALARM")
    states: list[tuple[str, str]] = []

    def wait(_event: Event) -> Reply:
        states.append((circuit.item["state"], circuit.mapping[0]))
        if len(states) == 2:
            circuit.alarm("OK")
        return {"seconds": 10}

    circuit.wait = wait
    assert circuit.run("close") == ("SUCCEEDED", "closed")
    assert states == [("open", "Disabled")] * 2
    assert circuit.failures == [1, 2], "the rounds that failed, from which the wait follows"
    closed(circuit)


def test_a_relapse_with_one_alarm_is_none(circuit: ScriptedCircuit) -> None:
    circuit.cloudwatch.set_alarm_state(AlarmName=f"{circuit.name}-rate", StateValue="ALARM", StateReason="test")
    assert circuit.run("close") == ("SUCCEEDED", "closed")
    assert circuit.failures == []


def test_rounds_that_fail_lengthen_the_wait_and_one_healthy_answer_shortens_it(circuit: ScriptedCircuit) -> None:
    answers = iter([sick, sick, sick, sick, healthy, sick, sick, healthy, healthy])
    circuit.place("one", "two", "three")
    circuit.deliver = lambda event: next(answers)(event)
    assert circuit.run("open") == ("SUCCEEDED", "closed")
    assert circuit.failures == [0, 1, 2, 0]


def test_one_sick_answer_between_healthy_ones_does_not_end_a_round(circuit: ScriptedCircuit) -> None:
    answers = iter([sick, healthy, sick, healthy, sick, healthy, healthy])
    circuit.place("one", "two", "three", "four")
    circuit.deliver = lambda event: next(answers)(event)
    assert circuit.run("open") == ("SUCCEEDED", "closed")
    assert circuit.failures == [0]
    assert len(circuit.probed) == 7


def stop_after(circuit: ScriptedCircuit, rounds: int) -> None:
    """Open the circuit, let some rounds fail, and stop the machine in the wait after the last one."""
    circuit.wait = lambda event: {"seconds": 10 if event["failures"] < rounds else 3000}
    execution = circuit.start("open")
    eventually(lambda: len(circuit.failures) == rounds + 1, within=40, what=f"{rounds} rounds have failed")
    circuit.machines.stop_execution(executionArn=execution)


def test_a_failed_probe_is_a_fresh_copy(circuit: ScriptedCircuit) -> None:
    circuit.place("order-1234567890")
    circuit.deliver = sick
    stop_after(circuit, rounds=2)
    [message] = circuit.waiting()
    assert message["Body"] == "order-1234567890"
    assert message["MessageAttributes"]["trace"]["StringValue"] == "order-1234"
    assert message["Attributes"]["ApproximateReceiveCount"] == "1", "by this test"


@pytest.mark.parametrize("reply", [None, {"sleep": 4}], ids=["crash", "time-out"])
def test_a_function_that_dies_in_a_probe_says_sick_and_the_order_keeps_its_receives(
    circuit: ScriptedCircuit, reply: Reply
) -> None:
    circuit.place("order")
    circuit.deliver = lambda _: dict(reply) if reply else None
    stop_after(circuit, rounds=1)
    [message] = circuit.waiting()
    assert message["Attributes"]["ApproximateReceiveCount"] == "1", "by this test"


def test_an_order_that_is_not_settled_says_sick(circuit: ScriptedCircuit) -> None:
    """Refused by the courier for good, and by the dead-letter queue, too: tried again and again, it is a flood."""
    circuit.place("order")
    circuit.deliver = lambda event: {**(sick(event) or {}), "verdict": "nothing"}
    stop_after(circuit, rounds=1)
    assert len(circuit.probed) == 2
    assert [message["Body"] for message in circuit.waiting()] == ["order"]


def test_an_order_as_large_as_the_hub_takes_goes_there_and_back(circuit: ScriptedCircuit) -> None:
    order = json.dumps({"text": '"' * 59_000}) + "€"
    assert len(order.encode()) > 118_000
    circuit.place(order)
    circuit.deliver = lambda event: sick(event) if len(circuit.probed) < 3 else healthy(event)
    circuit.health = "healthy"
    assert circuit.run("open") == ("SUCCEEDED", "closed")
    assert set(circuit.probed) == {order}


@pytest.mark.parametrize("state", ["TakeOrder", "TryOrder"])
def test_an_order_that_does_not_fit_into_an_execution_is_left_alone(circuit: ScriptedCircuit, state: str) -> None:
    """It comes back when its visibility timeout ends, and says nothing: 300 of them hand over."""
    circuit.place(*(f"order-{number}" for number in range(3)))
    machine = circuit.fails(**{state: failure("States.DataLimitExceeded")})
    if state == "TryOrder":
        circuit.health = "healthy"
        assert circuit.run("open", machine=machine) == ("SUCCEEDED", "closed"), "then none is there to be tried"
        assert circuit.probed == []
        return
    execution = circuit.start("open", machine=machine)
    assert circuit.ended(execution)[1] in ("handed over", "Circuit.Superseded")
    assert circuit.visited(execution).count("TakeOrder") == 300


@pytest.mark.parametrize("state", ["TryOrder", "CheckHealth"])
def test_a_probe_or_health_check_that_fails_says_sick(circuit: ScriptedCircuit, state: str) -> None:
    if state == "TryOrder":
        circuit.place("order")
    circuit.wait = lambda event: {"seconds": 10 if event["failures"] < 2 else 3000}
    execution = circuit.start("open", machine=circuit.fails(**{state: failure("States.Timeout")}))
    eventually(lambda: circuit.failures == [0, 1, 2], within=20, what="two rounds have failed")
    circuit.machines.stop_execution(executionArn=execution)
    assert len(circuit.waiting()) == (state == "TryOrder")


def test_poison_counts_neither_way(circuit: ScriptedCircuit) -> None:
    circuit.place("poison", "poison", "poison", "one", "two")
    circuit.deliver = lambda event: (
        healthy(event) if circuit.probed[-1] != "poison" else {"verdict": "nothing", "batchItemFailures": []}
    )
    assert circuit.run("open") == ("SUCCEEDED", "closed")
    assert circuit.failures == [0]
    assert circuit.probed.count("poison") <= 3


@pytest.mark.parametrize(("health", "failures"), [("nothing", [0]), ("healthy", [0]), ("sick", [0, 1, 2])])
def test_with_an_empty_queue_the_health_check_decides(
    circuit: ScriptedCircuit, health: str, failures: list[int]
) -> None:
    circuit.health = health

    def wait(_event: Event) -> Reply:
        if len(circuit.failures) == 3:
            circuit.health = "healthy"
        return {"seconds": 1}

    circuit.wait = wait
    assert circuit.run("open") == ("SUCCEEDED", "closed")
    assert circuit.failures == failures
    assert circuit.probed == []


@pytest.mark.parametrize(
    ("bound", "answer"),
    [({"RoundsPerExecution": 2}, sick), ({"OrdersPerExecution": 3}, None)],
    ids=["rounds", "orders"],
)
def test_an_execution_hands_over_before_its_history_is_full(
    make: Make, bound: dict[str, object], answer: Callable[[Event], Reply] | None
) -> None:
    circuit = make(**bound)
    switch_off(circuit)
    circuit.place(*(f"order-{number}" for number in range(8)))
    settled: dict[str, Any] = {"verdict": "nothing", "batchItemFailures": []}
    circuit.deliver = lambda event: (
        healthy(event) if len(circuit.executions()) > 2 else answer(event) if answer else settled
    )
    execution = circuit.start("open")
    eventually(lambda: circuit.item.get("state") == "closed", within=60, what=f"closed, {circuit.item}")
    first, second, last = reversed(circuit.executions())
    assert first == execution
    for former in (first, second):
        assert circuit.ended(former) in (("SUCCEEDED", "handed over"), ("ABORTED", "Circuit.Superseded"))
        assert circuit.visited(former)[-2:] in (["HandOver", "HandedOver"], ["CountRounds", "HandOver"])
    assert circuit.ended(last) == ("SUCCEEDED", "closed")
    assert circuit.item["cause"] == "handover"
    assert circuit.item["reason"] == "test", "the first one's"
    if answer:
        assert circuit.failures == [0, 1, 2, 3, 4], "the waits go on growing"


@pytest.mark.parametrize("state", FATAL)
def test_a_task_that_fails_in_spite_of_its_retries_leaves_the_circuit_broken_until_the_watchdog_resumes(
    make: Make, state: str
) -> None:
    circuit = make(RoundsPerExecution=1) if state == "HandOver" else make()
    if state in ("HandOver", "ToOpen"):
        circuit.health = "sick"
    action = "open" if state in ("DisableMapping", "LookAtMapping", "ToHalfOpen", "HandOver", "ToOpen") else "probe"
    status, error = circuit.run(action, machine=circuit.fails(**{state: failure()}))
    assert (status, error) == ("FAILED", "Circuit.Broken")
    assert circuit.item["state"] == "broken"
    assert circuit.told[-1]["state"] == "broken"
    assert circuit.told[-1]["trouble"] == "Something.Unforeseen: it was told to"
    circuit.health = "healthy"
    assert circuit.run("resume", cause="watchdog", version=int(circuit.item["version"]))[1] in ("closed", "handed over")
    eventually(lambda: circuit.item["state"] == "closed", within=30, what="closed")
    closed(circuit)


@pytest.mark.parametrize("state", ["MarkBroken", "AnnounceBroken"])
def test_not_even_the_trouble_can_be_told(circuit: ScriptedCircuit, state: str) -> None:
    machine = circuit.fails(LookAtMapping=failure(), **{state: failure()})
    assert circuit.run("open", machine=machine) == ("FAILED", "Circuit.Broken")
    assert circuit.item["state"] == ("open" if state == "MarkBroken" else "broken")
    assert circuit.run("resume", version=int(circuit.item["version"])) == ("SUCCEEDED", "closed")


@pytest.mark.parametrize("state", WRITES)
def test_who_has_lost_the_circuit_changes_nothing_more(circuit: ScriptedCircuit, state: str) -> None:
    circuit.health = "sick" if state == "ToOpen" else "nothing"
    failing = {state: LOST} | ({"LookAtMapping": failure()} if state == "MarkBroken" else {})
    assert circuit.run("open", machine=circuit.fails(**failing)) == ("SUCCEEDED", "superseded")
    told = [event["state"] for event in circuit.told]
    assert "closed" not in told
    assert "broken" not in told


@pytest.mark.parametrize("state", HARMLESS)
def test_without_these_tasks_the_circuit_closes_all_the_same(circuit: ScriptedCircuit, state: str) -> None:
    circuit.place("one", "two", "three")
    answers = iter([sick])
    circuit.deliver = lambda event: next(answers, healthy)(event)
    circuit.put(owner={"S": "arn:aws:states:eu-west-1:000000000000:execution:gone:gone"})
    status, result = circuit.run("open", machine=circuit.fails(**{state: failure()}))
    assert (status, result) == ("SUCCEEDED", "closed")


@pytest.mark.parametrize("state", ["ReadCircuit", "ClaimCircuit"])
def test_an_item_out_of_reach_is_an_error_and_nothing_is_changed(circuit: ScriptedCircuit, state: str) -> None:
    assert circuit.run("open", machine=circuit.fails(**{state: failure()})) == ("FAILED", "Circuit.Unclaimed")
    assert circuit.item == {}
    assert circuit.told == []


@pytest.mark.parametrize("given", [{"reason": ""}, {"reason": 5}, {"action": "shut"}, {"cause": 5}])
def test_an_input_without_action_or_reason_is_refused(circuit: ScriptedCircuit, given: dict[str, Any]) -> None:
    execution = circuit.machines.start_execution(
        stateMachineArn=circuit.machine, input=json.dumps({"action": "open", "reason": "test"} | given)
    )["executionArn"]
    assert circuit.ended(execution)[0] == "FAILED"
    assert circuit.item == {}


def test_a_mapping_that_never_changes_is_trouble(circuit: ScriptedCircuit) -> None:
    machine = circuit.fails(LookAtMapping={"Return": {"State": "Updating"}})
    assert circuit.run("open", machine=machine) == ("FAILED", "Circuit.Broken")
    assert circuit.told[-1]["trouble"] == "the mapping stays Updating and not Disabled"


def test_of_two_claims_one_is_repeated_after_another_look(circuit: ScriptedCircuit) -> None:
    """The machine meets a version that it did not read, and reads again."""
    circuit.put(version={"N": "7"}, state={"S": "closed"})
    configured = {"ClaimCircuit": {"0": LOST}}
    circuit.functions.configure(
        {
            "stepfunctions._sfn_mock_config": {
                "StateMachines": {circuit.name: {"TestCases": {"once": {"ClaimCircuit": "ClaimCircuit"}}}},
                "MockedResponses": configured,
            }
        }
    )
    execution = circuit.start("open", machine=f"{circuit.machine}#once")
    assert circuit.ended(execution) == ("SUCCEEDED", "closed")
    assert circuit.visited(execution).count("ReadCircuit") == 2


@pytest.mark.parametrize(
    "item",
    [
        {"version": {"S": "seven"}},
        {"version": {"N": "1763742508123456"}},
        {"state": {"S": "what is this"}, "version": {"N": "3"}},
        {"owner": {"N": "5"}},
    ],
    ids=["version", "long version", "state", "owner"],
)
def test_whatever_was_written_to_the_item_the_circuit_closes(
    circuit: ScriptedCircuit, item: dict[str, dict[str, str]]
) -> None:
    circuit.put(**item)
    assert circuit.run("resume") == ("SUCCEEDED", "closed")
    closed(circuit)


@pytest.mark.parametrize("fraction", ["0.5", "2.5"])
def test_seconds_with_a_fraction_are_rounded_up(make: Make, fraction: str) -> None:
    circuit = make(RampSeconds=fraction, ProbeWaitMax=fraction)
    switch_off(circuit)
    assert circuit.run("open", machine=circuit.fails(PlanWait=failure())) == ("SUCCEEDED", "closed")


def test_three_takeovers_leave_one_machine(circuit: ScriptedCircuit) -> None:
    circuit.health = "sick"
    circuit.wait = lambda _: {"seconds": 1000}
    first = circuit.start("open")
    eventually(lambda: circuit.failures, within=10, what="the first one waits")
    others = [circuit.start("open") for _ in range(3)]
    eventually(lambda: circuit.executions("RUNNING") == [circuit.item["owner"]], within=20, what="one leads")
    assert circuit.ended(first) == ("ABORTED", "Circuit.Superseded")
    assert circuit.item["owner"] in others
    circuit.health = "healthy"
    assert circuit.run("probe") == ("SUCCEEDED", "closed")


def test_who_comes_too_late_is_not_needed(circuit: ScriptedCircuit) -> None:
    circuit.put(state={"S": "open"}, version={"N": "7"}, owner={"S": "somebody"})
    assert circuit.run("open", cause="alarm") == ("SUCCEEDED", "not needed")
    for action in ("open", "close", "resume"):
        assert circuit.run(action, cause="watchdog", version=6) == ("SUCCEEDED", "not needed")
    assert circuit.item["version"] == "7"


def test_every_state_was_visited(request: pytest.FixtureRequest, visited: set[str]) -> None:
    """By the tests above; the last one of the file."""
    here = [item for item in request.session.items if item.path == request.path]
    if len({getattr(item, "originalname", "") for item in here}) < sum(name.startswith("test_") for name in globals()):
        pytest.skip("only some of the paths were run")
    assert STATES.keys() - visited == set(), "nobody visits these states"
