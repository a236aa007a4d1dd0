"""The circuit of a deployed hub, as its watchers see it."""

from __future__ import annotations

import json
from typing import Any

from local.circuit import read_item
from tests.integration.conftest import FAST
from tests.integration.deployed_hub import Hub, eventually

QUICK = FAST | {
    "CircuitProbeWaitMin": "2",
    "CircuitProbeWaitMax": "3",
    "CircuitRampSeconds": "1",
    "CircuitMinimumCalls": "10",
}


class Circuit:
    """The circuit of a deployed hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.outputs = hub.stack.outputs
        self.machines = hub.machines
        self.functions = hub.stack.client("lambda")

    @property
    def item(self) -> dict[str, str]:
        """The circuit's item as text."""
        return read_item(self.outputs, self.hub.dynamodb)

    @property
    def mapping(self) -> tuple[str, int]:
        """State and MaximumConcurrency of the mapping."""
        mapping = self.functions.get_event_source_mapping(UUID=self.outputs["DeliveryMappingId"])
        return mapping["State"], mapping["ScalingConfig"]["MaximumConcurrency"]

    def start(self, action: str, **more: Any) -> str:
        """Start the machine as a person does."""
        given = {"action": action, "reason": f"test: {action}", "cause": "person"} | more
        return self.hub.start("CircuitBreakerArn", given)

    def reaches(self, *states: str, within: float = 60) -> None:
        """Wait until the circuit is in one of some states."""
        eventually(lambda: self.item["state"] in states, within=within, what=f"{states}; {self.item} {self.mapping}")

    def closes(self, within: float = 90) -> None:
        """Wait until item, mapping and machine agree that the circuit is closed."""
        sound = ("closed", ("Enabled", 3), [])
        eventually(
            lambda: (self.item["state"], self.mapping, self.running) == sound,
            within=within,
            what=f"closed; {self.item}, {self.mapping}, {self.running}",
        )

    @property
    def running(self) -> list[str]:
        """The executions that run."""
        answer = self.machines.list_executions(
            stateMachineArn=self.outputs["CircuitBreakerArn"], statusFilter="RUNNING"
        )
        return [execution["executionArn"] for execution in answer["executions"]]

    def watch(self) -> str | None:
        """Let the watchdog look once."""
        answer = self.functions.invoke(
            FunctionName=self.outputs["CircuitFunctionName"],
            Payload=json.dumps({"action": "watch", "state_machine_arn": self.outputs["CircuitBreakerArn"]}),
        )
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        repair: str | None = payload["repair"]
        return repair
