"""The watchdog, woken by nothing but its schedule, whose minute is short here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import VARIANTS, EmulatorSettings, RunningEmulator
from tests.integration.deployed_circuit import QUICK, Circuit
from tests.integration.deployed_hub import Hub, eventually, order

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MINUTE = 3.0


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    settings = EmulatorSettings(
        alarm_seconds=1.0, metric_seconds=1.0, mapping_change_seconds=0.5, schedule_minute_seconds=MINUTE
    )
    with RunningEmulator.start(settings) as emulator:
        yield Hub(emulator.deploy("watched", VARIANTS["flow-control"] | QUICK))


@pytest.fixture
def circuit(hub: Hub) -> Circuit:
    """A circuit that is closed before the test."""
    circuit = Circuit(hub)
    circuit.closes()
    return circuit


def repaired(circuit: Circuit, reason: str) -> None:
    """Wait until the watchdog has started a machine, and the circuit is closed again."""
    eventually(
        lambda: circuit.item.get("cause") == "watchdog" and circuit.item.get("reason") == reason,
        within=10 * MINUTE,
        what=f"the watchdog mends it; {circuit.item}, {circuit.mapping}",
    )
    circuit.closes()


def test_a_machine_that_died_is_replaced(circuit: Circuit, hub: Hub) -> None:
    hub.switch_courier("outage")
    leader = circuit.start("open", reason="it is going to die")
    eventually(lambda: circuit.mapping[0] == "Disabled", within=10, what="the mapping is off")
    circuit.machines.stop_execution(executionArn=leader)
    order_ids = hub.place(*(order() for _ in range(3)))
    hub.switch_courier("healthy")
    repaired(circuit, "it is going to die")
    hub.delivered(order_ids, within=60)


def test_a_circuit_that_is_broken_is_resumed(circuit: Circuit, hub: Hub) -> None:
    """A task failed in spite of its retries: the item says so, and nobody runs."""
    hub.dynamodb.put_item(
        TableName=circuit.outputs["DeliveryTableName"],
        Item={
            "pk": {"S": "circuit#courier"},
            "state": {"S": "broken"},
            "version": {"N": "70"},
            "reason": {"S": "torn"},
        },
    )
    repaired(circuit, "torn")


def test_a_mapping_that_somebody_switched_off_is_switched_on(circuit: Circuit) -> None:
    circuit.functions.update_event_source_mapping(UUID=circuit.outputs["DeliveryMappingId"], Enabled=False)
    repaired(circuit, "the circuit is closed, and the mapping is off")


def test_a_concurrency_that_a_deployment_left_behind_is_corrected(circuit: Circuit) -> None:
    mapping = circuit.outputs["DeliveryMappingId"]
    circuit.functions.update_event_source_mapping(UUID=mapping, ScalingConfig={"MaximumConcurrency": 2})
    assert circuit.mapping[1] == 2
    eventually(lambda: circuit.mapping == ("Enabled", 3), within=10 * MINUTE, what="it is corrected")
