"""The circuit breaker's machine in a real interpreter of its language, with real functions, queues and HTTP.

The schedule's minute is long here, so that no watchdog comes between; it is invoked where it is wanted.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from local.stack import VARIANTS, EmulatorSettings, RunningEmulator
from tests.integration.deployed_circuit import QUICK, Circuit
from tests.integration.deployed_hub import Hub, eventually, order

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub of its own, in which alarms are evaluated every second."""
    settings = EmulatorSettings(
        alarm_seconds=1.0, metric_seconds=1.0, mapping_change_seconds=0.5, schedule_minute_seconds=3600.0
    )
    with RunningEmulator.start(settings) as emulator:
        yield Hub(emulator.deploy("circuit", VARIANTS["flow-control"] | QUICK))


@pytest.fixture
def circuit(hub: Hub) -> Iterator[Circuit]:
    """A circuit that is closed before the test, and after it."""
    circuit = Circuit(hub)
    circuit.closes()
    yield circuit
    hub.switch_courier("healthy")
    if circuit.item["state"] != "closed":
        circuit.start("close")
    circuit.closes()


def test_an_outage_opens_it_and_a_recovery_closes_it(circuit: Circuit, hub: Hub) -> None:
    hub.switch_courier("outage")
    order_ids = hub.place(*(order() for _ in range(40)))
    circuit.reaches("open", "half-open", within=40)
    eventually(lambda: circuit.mapping[0] == "Disabled", within=20, what="the mapping is off")
    eventually(lambda: int(circuit.item.get("failures", 0)) >= 2, within=40, what="probes fail")
    assert len(circuit.running) == 1
    hub.switch_courier("healthy")
    circuit.closes()
    hub.delivered(order_ids, within=90)
    assert hub.waiting("DeliveryDeadLetterQueueUrl") == 0


def test_an_alarm_that_flaps_starts_one_machine(circuit: Circuit, hub: Hub) -> None:
    hub.switch_courier("outage")
    hub.place(order())
    executions = [circuit.start("open", cause="alarm") for _ in range(4)]
    circuit.reaches("open", "half-open")
    eventually(lambda: len(circuit.running) == 1, within=20, what="one machine runs")
    ended = [circuit.hub.ended(execution, within=60) for execution in executions if execution not in circuit.running]
    assert {json.loads(end["output"])["result"] for end in ended} == {"not needed"}


def test_an_empty_queue_closes_into_the_ramp(circuit: Circuit) -> None:
    execution = circuit.start("open")
    assert json.loads(circuit.hub.ended(execution, within=90)["output"])["result"] == "closed"


def test_poison_and_refused_probes_do_not_keep_it_open(circuit: Circuit, hub: Hub) -> None:
    circuit.start("open")
    circuit.reaches("open")
    queue = circuit.outputs["DeliveryQueueUrl"]
    hub.sqs.send_message(QueueUrl=queue, MessageBody="poison")
    refused = order()
    refused["delivery_address"] = refused["delivery_address"] | {"country": "AQ"}
    hub.place(refused)
    order_ids = hub.place(*(order() for _ in range(4)))
    circuit.closes()
    hub.delivered(order_ids, within=60)
    hub.dead_letters("DeliveryDeadLetterQueueUrl", 2)


def test_a_failed_probe_goes_back_with_all_its_receives_and_attributes(circuit: Circuit, hub: Hub) -> None:
    circuit.start("open")
    circuit.reaches("open")
    eventually(lambda: circuit.mapping[0] == "Disabled", within=20, what="the mapping is off")
    hub.switch_courier("outage")
    [order_id] = hub.place(order())
    eventually(lambda: hub.calls([order_id]).get(order_id, 0) >= 3, within=60, what="the order is tried")
    circuit.reaches(
        "open"
    )  # its probe is over: a machine that is stopped with an order in its hand hides it for longer
    circuit.machines.stop_execution(executionArn=circuit.running[0])
    assert hub.waiting("DeliveryQueueUrl") >= 1, "it was never gone"
    circuit.start("close")
    hub.switch_courier("healthy")
    circuit.closes()
    hub.delivered([order_id], within=60)


@pytest.mark.parametrize("state", ["open", "half-open", "ramping"])
def test_a_machine_that_dies_is_replaced(circuit: Circuit, state: str) -> None:
    circuit.start({"open": "open", "half-open": "probe", "ramping": "close"}[state])
    circuit.reaches(state)
    [leader] = eventually(lambda: circuit.running, within=10, what="a machine runs")
    circuit.machines.stop_execution(executionArn=leader)
    assert circuit.watch() == "resume"
    circuit.closes()


def test_a_mapping_that_somebody_switched_off_is_switched_on(circuit: Circuit) -> None:
    circuit.functions.update_event_source_mapping(UUID=circuit.outputs["DeliveryMappingId"], Enabled=False)
    eventually(lambda: circuit.mapping[0] == "Disabled", within=10, what="the mapping is off")
    assert circuit.watch() == "close"
    circuit.closes()


def test_a_concurrency_that_a_deployment_left_behind_is_corrected(circuit: Circuit) -> None:
    mapping = circuit.outputs["DeliveryMappingId"]
    circuit.functions.update_event_source_mapping(UUID=mapping, ScalingConfig={"MaximumConcurrency": 2})
    eventually(lambda: circuit.mapping == ("Enabled", 2), within=10, what="the concurrency is low")
    assert circuit.watch() == "set-concurrency"
    circuit.closes()


def test_a_person_closes_it_in_the_middle_of_an_outage_and_the_former_machine_is_stopped(
    circuit: Circuit, hub: Hub
) -> None:
    hub.switch_courier("outage")
    hub.place(order())
    former = circuit.start("open")
    circuit.reaches("open", "half-open")
    hub.switch_courier("healthy")
    execution = circuit.start("close")
    assert circuit.hub.ended(former, within=60)["status"] == "ABORTED"
    assert json.loads(circuit.hub.ended(execution, within=60)["output"])["result"] == "closed"
    assert circuit.item["reason"] == "test: close"
    assert circuit.item["cause"] == "person"


@pytest.mark.parametrize(
    "given", [{"action": "open"}, {"action": "shut", "reason": "why"}, {"action": "open", "reason": " "}]
)
def test_an_input_without_action_or_reason_is_refused(circuit: Circuit, given: dict[str, str]) -> None:
    execution = circuit.hub.start("CircuitBreakerArn", given)
    assert circuit.hub.ended(execution, within=60)["status"] == "FAILED"
    assert circuit.item["state"] == "closed"


def test_a_person_reads_and_closes_it_from_the_command_line(circuit: Circuit, hub: Hub) -> None:
    def by_hand(*arguments: str) -> subprocess.CompletedProcess[str]:
        return hub.command("local.circuit", *arguments)

    assert "mapping        Enabled, MaximumConcurrency 3" in by_hand("status").stdout
    refused = by_hand("open", "--reason", " ")
    assert refused.returncode == 2
    assert "say why" in refused.stderr
    assert by_hand("open", "--reason", "they move house").returncode == 0
    circuit.reaches("open")
    assert "they move house" in by_hand("status").stdout
    assert by_hand("close", "--reason", "they have moved").returncode == 0
    circuit.closes()
    assert circuit.item["reason"] == "they have moved"
