"""The real stack on this machine, in both variants, for the integration tests.

Each worker of pytest-xdist has an emulator of its own: tests switch their courier's mode and wait for its queues.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import VARIANTS, EmulatorSettings, RunningEmulator, Stack
from tests.integration.deployed_hub import Hub

ASYNC_RETRY_SECONDS = 1.0
FAST = {
    "CourierRate": "50",
    "CourierBurst": "50",
    "SimulatorFailureRate": "0",
    "SimulatorLatencyMin": "0",
    "SimulatorLatencyMax": "0.05",
    "CourierTimeout": "2",
}
"""A courier that is quick and does not fail, unless a test switches its mode."""


@pytest.fixture(scope="session")
def emulator() -> Iterator[RunningEmulator]:
    """Start an emulator whose retries, metrics and alarms take a second instead of a minute."""
    settings = EmulatorSettings(async_retry_base_seconds=ASYNC_RETRY_SECONDS, alarm_seconds=0.5, metric_seconds=0.5)
    with RunningEmulator.start(settings) as running:
        yield running


@pytest.fixture(scope="session")
def stacks(emulator: RunningEmulator) -> dict[str, Stack]:
    """Deploy both variants side by side with SAM."""
    return emulator.deploy_all({variant: VARIANTS[variant] | FAST for variant in VARIANTS})


@pytest.fixture(scope="session")
def flow_control_stack(stacks: dict[str, Stack]) -> Stack:
    """Give the variant with flow control."""
    return stacks["flow-control"]


@pytest.fixture(scope="session")
def no_flow_control_stack(stacks: dict[str, Stack]) -> Stack:
    """Give the published first build."""
    return stacks["no-flow-control"]


@pytest.fixture(scope="session")
def hub(flow_control_stack: Stack) -> Hub:
    """Give the hub with flow control."""
    return Hub(flow_control_stack)


@pytest.fixture(params=["flow_control_stack", "no_flow_control_stack"], ids=["flow-control", "no-flow-control"])
def either(request: pytest.FixtureRequest) -> Hub:
    """Give the hub in each variant."""
    return Hub(request.getfixturevalue(request.param))
