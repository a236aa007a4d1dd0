"""The real stack on this machine, in both variants, for the integration tests.

One emulator serves all tests of a session, so run them in one process (no pytest-xdist).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack import VARIANTS, EmulatorSettings, RunningEmulator, Stack

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
