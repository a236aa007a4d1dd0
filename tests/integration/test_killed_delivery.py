"""A delivery process that dies in the middle of a batch, on the local stack."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from local.stack import RunningEmulator, Stack
from tests.integration.deployed_hub import Hub, eventually, order

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def test_the_delivery_process_is_killed_in_the_middle_of_a_batch(
    flow_control_stack: Stack, emulator: RunningEmulator
) -> None:
    hub = Hub(flow_control_stack)
    queue = {"QueueUrl": hub.stack.outputs["DeliveryQueueUrl"]}
    usual = hub.sqs.get_queue_attributes(**queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    hub.sqs.set_queue_attributes(**queue, Attributes={"VisibilityTimeout": "8"})  # to save the test three minutes
    try:
        hub.switch_courier("hang")
        order_ids = hub.place(*(order() for _ in range(10)))
        eventually(lambda: len(hub.calls(order_ids)) >= 5, within=30, what="the batch is being called for")
        assert kill_delivery(emulator) > 0, "a delivery was running"
        hub.switch_courier("healthy")
        hub.delivered(order_ids, within=120)
    finally:
        hub.sqs.set_queue_attributes(**queue, Attributes=usual)


def kill_delivery(emulator: RunningEmulator) -> int:
    """Kill the execution environments of DeliveryFunction, and return how many there were."""
    killed = 0
    for template in psutil.Process(emulator.pid).children():  # each function's environments are forks of its template
        for environment in template.children():
            try:
                if (Path(environment.cwd()) / "queued.py").exists():
                    environment.kill()
                    killed += 1
            except psutil.NoSuchProcess:
                continue
    return killed
